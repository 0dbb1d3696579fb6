"""What has become of the events so far: counts that add up, the newest receipts, the events that were refused."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from datetime import datetime

import msgspec

from penstock.client.answer import Answer

REFUSALS_KEPT = 1_000


class Stats(msgspec.Struct, frozen=True):
    """sent + recovered = accepted + duplicates + conflicts + rejected + pending, as far as no answer is under way.

    `sent`: events that `send` took. `recovered`: events that an earlier life left in the spool. `retries`: requests
    that were sent again. `last_error`: why the last try failed, None once one has succeeded.
    """

    sent: int
    recovered: int
    accepted: int
    duplicates: int
    conflicts: int
    rejected: int
    pending: int
    retries: int
    last_error: str | None


class Refusal(msgspec.Struct, frozen=True):
    """An event that was not counted as it is, because `verdict`: `rejected`, or `conflict` with an earlier one's body.

    `number` counts the client's events from 0, those recovered from the spool first. `event` is its JSON text.
    """

    number: int
    transaction_id: str | None
    verdict: str
    reason: str
    event: bytes


class Tally:
    """Counts answers, from any thread. `on_refused` is called for one refusal at a time, in the delivering thread."""

    def __init__(self, on_refused: Callable[[Refusal], None] | None) -> None:
        self._lock = threading.Lock()
        self._calling = threading.Lock()
        self._on_refused = on_refused
        self._counts = {"accepted": 0, "duplicates": 0, "conflicts": 0, "rejected": 0, "retries": 0}
        self._last_error: str | None = None
        self._receipts: dict[int, int] = {}
        self._duplicates_at: datetime | None = None
        self._refused: deque[Refusal] = deque(maxlen=REFUSALS_KEPT)

    def answered(self, first: int, events: Sequence[bytes], answer: Answer, at: datetime) -> None:
        """Count an answer, given `at` by the server's clock, and tell of what was refused."""
        refusals = [
            Refusal(first + each.index, each.transaction_id, each.verdict, each.reason, events[each.index])
            for each in answer.events
            if each.verdict != "duplicate"
        ]
        with self._lock:
            self._counts["accepted"] += answer.accepted
            self._counts["duplicates"] += answer.duplicate
            self._counts["conflicts"] += answer.conflict
            self._counts["rejected"] += answer.rejected
            self._last_error = None
            for receipt in answer.receipts:
                known = self._receipts.get(receipt.partition, -1)
                self._receipts[receipt.partition] = max(known, receipt.offset)
            if answer.duplicate:
                self._duplicates_at = at
            self._refused.extend(refusals)
        if self._on_refused is not None:
            with self._calling:
                for refusal in refusals:
                    self._on_refused(refusal)

    def retried(self, error: str) -> None:
        with self._lock:
            self._counts["retries"] += 1
            self._last_error = error

    def stats(self, sent: int, recovered: int, pending: int) -> Stats:
        with self._lock:
            return Stats(sent=sent, recovered=recovered, pending=pending, last_error=self._last_error, **self._counts)

    def refused(self, verdict: str) -> list[Refusal]:
        """The newest refusals with that verdict, at most `REFUSALS_KEPT` of both together."""
        with self._lock:
            return [refusal for refusal in self._refused if refusal.verdict == verdict]

    def receipts(self) -> dict[int, int]:
        """By partition, the greatest offset at which an accepted event is durable."""
        with self._lock:
            return dict(self._receipts)

    def duplicates_at(self) -> datetime | None:
        """When, by the server's clock, it last said duplicate: such an event has no receipt here."""
        with self._lock:
            return self._duplicates_at
