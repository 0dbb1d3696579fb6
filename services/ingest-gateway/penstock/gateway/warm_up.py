"""A batch that goes nowhere, before the doors open: what is loaded at first use would hold up the first events."""

from __future__ import annotations

from penstock.gateway.batch import Batch
from penstock.gateway.dedupe import Window
from penstock.gateway.formats import Format, decode_body
from penstock.kernel.record import LogIdentity

_BODY = (
    b'[{"transaction_id": "1", "customer_id": "c", "event_type": "t", "timestamp": "2026-01-01T00:00:00Z",'
    b' "properties": {"n": 1}}]'
)
_NOW_US = 1_767_225_600_000_000  # the event's time


def warm_up(log: LogIdentity) -> Batch:
    """Read, judge and pack one event. The batch is for nobody but a test."""
    batch = Batch(["warm-up"], [decode_body(Format.JSON, _BODY, 1, len(_BODY))], log, _NOW_US, len(_BODY))
    batch.judge(Window(1, 1))
    return batch
