"""What the gateway remembers of events that it did not accept, so that their sender can be told once more.

They never reach the log, so this is all there is of them: the newest ids, in memory, of this process.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from datetime import datetime

import msgspec

from penstock.gateway.answer import EventVerdict
from penstock.kernel.event import Verdict
from penstock.kernel.ports.siblings import NotAccepted

IDS_MAX = 10_000
# Of one request: a client that sends everything twice costs a look at a hundred events a request, not at each.
EVENTS_PER_REQUEST_MAX = 100
REASON_CHARS_MAX = 300


class RecentVerdicts:
    """The newest `ids_max` ids with something else than accepted. Implements `GatewayMemory`; safe from any thread."""

    def __init__(self, ids_max: int = IDS_MAX) -> None:
        self._ids_max = ids_max
        self._known: OrderedDict[tuple[str, str], NotAccepted] = OrderedDict()
        self._lock = threading.Lock()

    def note(self, tenant: str, events: Sequence[EventVerdict], now: datetime) -> None:
        """Remember the last `EVENTS_PER_REQUEST_MAX` of a request's events that were not accepted."""
        if not events:
            return
        with self._lock:
            for event in events[-EVENTS_PER_REQUEST_MAX:]:
                if event.transaction_id is not None:
                    key = (tenant, event.transaction_id)
                    self._known[key] = _with(self._known.pop(key, None), event, now)
            while len(self._known) > self._ids_max:
                self._known.popitem(last=False)

    def not_accepted(self, tenant: str, transaction_id: str) -> NotAccepted | None:
        with self._lock:
            return self._known.get((tenant, transaction_id))


def _with(known: NotAccepted | None, event: EventVerdict, now: datetime) -> NotAccepted:
    known = known or NotAccepted(0, 0, 0, "", now)
    return msgspec.structs.replace(
        known,
        duplicates=known.duplicates + (event.verdict is Verdict.DUPLICATE),
        conflicts=known.conflicts + (event.verdict is Verdict.CONFLICT),
        rejected=known.rejected + (event.verdict is Verdict.REJECTED),
        reason=event.reason[:REASON_CHARS_MAX],
        at=now,
    )
