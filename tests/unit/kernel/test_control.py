"""What is sent through the log to decide comes back as it was sent."""

from __future__ import annotations

import msgspec
import pytest

from penstock.kernel.control import Control, MetricArchived, MetricDefined, decode_control, encode_control
from penstock.kernel.meter import Aggregation, EventTypeFilter, Metric, PropertyFilter

METRIC = Metric(
    id="m",
    tenant="acme",
    name="Ausgehende Wörter",
    aggregation=Aggregation.UNIQUE,
    aggregation_key="user",
    event_types=EventTypeFilter(in_values=("call",), not_in_values=()),
    property_filters=(PropertyFilter("region", exists=True), PropertyFilter("model", in_values=("a", ""))),
    group_keys=("region", "model"),
)


@pytest.mark.parametrize(
    "control",
    [
        MetricDefined(id="1", subject="m", sequence=4, metric=METRIC),
        MetricDefined(id="2", subject="n", sequence=1, metric=Metric("n", "acme", "calls", Aggregation.COUNT)),
        MetricArchived(id="3", subject="m", sequence=5, metric_id="m"),
    ],
)
def test_a_control_record_comes_back_as_it_was_sent(control: Control) -> None:
    assert decode_control(encode_control(control)) == control


def test_a_control_record_has_a_stable_form_in_the_log() -> None:
    assert encode_control(MetricArchived(id="3", subject="m", sequence=5, metric_id="m")) == (
        b'{"type":"metric_archived","id":"3","subject":"m","sequence":5,"metric_id":"m"}'
    )


@pytest.mark.parametrize("payload", [b"", b"{}", b'{"type":"metric_exploded","id":"1"}', b"\xff"])
def test_a_payload_that_is_no_control_record_is_refused(payload: bytes) -> None:
    with pytest.raises((msgspec.DecodeError, UnicodeDecodeError)):
        decode_control(payload)
