"""Why a metric takes an event or not, and why an event was quarantined: in words, for one event at a time. Pure.

Whether it is taken is decided by the same `tally` that counts; the words only say which condition failed.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from penstock.aggregator.extract import read_properties
from penstock.aggregator.fill import cells_of
from penstock.aggregator.tally import NUMERIC
from penstock.kernel.meter import GroupValue, Metric, PropertyFilter
from penstock.kernel.stored import StoredEvents

OUT_OF_RANGE = "holds a number with more than 26 digits before or 12 after the point"
NOT_UTF_8 = "holds bytes that are not UTF-8"


class Reason(msgspec.Struct, frozen=True):
    """Why an event does not count in a metric, or (with no metric) nowhere; `property` where one is to blame."""

    metric_id: str | None
    property: str | None
    reason: str


def refusal(metric: Metric, event: StoredEvents) -> Reason | None:
    """Why `metric`, which looks at events of this type, does not take the event; None where it counts it."""
    if cells_of(metric, [event]):
        return None
    [text] = event.properties
    return unreadable([metric], text) or _unfit(metric, text)


def unreadable(metrics: Iterable[Metric], text: bytes) -> Reason | None:
    """Which property that one of `metrics` reads makes the event unreadable, and why; None where all can be read."""
    for metric in metrics:
        for name in metric.property_names:
            if _is_bad(metric, name, text):
                # With every byte legible, what remains is a number.
                legible = text.decode("utf-8", "replace").encode()
                return Reason(metric.id, name, OUT_OF_RANGE if _is_bad(metric, name, legible) else NOT_UTF_8)
    return None


def _is_bad(metric: Metric, name: str, text: bytes) -> bool:
    properties = read_properties([text], (name,))
    if metric.aggregation in NUMERIC and name == metric.aggregation_key:
        properties.mark_bad_numbers(name)
    return bool(properties.bad[0])


def _unfit(metric: Metric, text: bytes) -> Reason:
    """The first condition that the event does not meet."""
    properties = read_properties([text], metric.property_names)
    for wanted in metric.property_filters:
        [value] = properties.texts(wanted.name)
        if not wanted.matches(value):
            return Reason(metric.id, wanted.name, _why_unmatched(wanted, value))
    assert metric.aggregation_key is not None, "a metric without a key takes whatever passes its filters"
    [value] = properties.texts(metric.aggregation_key)
    return Reason(metric.id, metric.aggregation_key, "is absent" if value is None else "is not a number")


def _why_unmatched(wanted: PropertyFilter, value: GroupValue) -> str:
    if value is None:
        return "is absent"
    if wanted.exists is False:
        return "is present, and the metric takes events without it"
    return "has a value that the metric does not take"
