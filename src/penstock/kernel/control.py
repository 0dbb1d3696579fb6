"""Control records: what decides beside events, sent through the log so that only the log decides.

First a row of their owner with an id and a sequence number per subject, then sent to every partition (a correction: to
that of its event); the fold skips a known id and a lower sequence. Source: DESIGN.md section 3.
"""

from __future__ import annotations

import msgspec

from penstock.kernel.layer import Layer
from penstock.kernel.meter import Metric


class MetricDefined(msgspec.Struct, frozen=True, tag="metric_defined"):
    """From this record on, `metric` is folded; what came before it is filled from stored events as of this record."""

    id: str
    subject: str
    sequence: int
    metric: Metric


class MetricArchived(msgspec.Struct, frozen=True, tag="metric_archived"):
    """From this record on, the metric takes no further event; what it counted stays."""

    id: str
    subject: str
    sequence: int
    metric_id: str


class LayerOpened(msgspec.Struct, frozen=True, tag="layer_opened"):
    """From this record on, events of the layer's scope are a backfill's."""

    id: str
    subject: str
    sequence: int
    layer: Layer


class LayerCommitted(msgspec.Struct, frozen=True, tag="layer_committed"):
    """From this record on, live events of the layer's interval count in it too."""

    id: str
    subject: str
    sequence: int
    layer: Layer


class EventAmended(msgspec.Struct, frozen=True, tag="event_amended"):
    """From this record on, the last event of the id at or below it holds `properties`, and `event_type` where given.

    `customer` and `time_us`, where given, must be the event's own: what differs there is a void and a new event.
    """

    id: str
    sequence: int
    tenant: str
    transaction_id: str
    properties: msgspec.Raw
    event_type: str | None = None
    customer: str | None = None
    time_us: int | None = None

    @property
    def subject(self) -> str:
        return self.transaction_id


class EventVoided(msgspec.Struct, frozen=True, tag="event_voided"):
    """From this record on, the last event of the id at or below it counts nowhere. Its id stays known."""

    id: str
    sequence: int
    tenant: str
    transaction_id: str

    @property
    def subject(self) -> str:
        return self.transaction_id


Correction = EventAmended | EventVoided
Control = MetricDefined | MetricArchived | LayerOpened | LayerCommitted | EventAmended | EventVoided
# What every partition knows, and so those of the log that follows a sealed one must know from their beginning.
CARRIED_OVER = (MetricDefined, MetricArchived, LayerOpened, LayerCommitted)

_DECODER = msgspec.json.Decoder(Control)


def encode_control(control: Control) -> bytes:
    return msgspec.json.encode(control)


def decode_control(payload: bytes) -> Control:
    control: Control = _DECODER.decode(payload)
    return control
