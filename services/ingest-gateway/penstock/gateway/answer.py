"""What the gateway answers: how many of a request's events fared how, where they lie in the log, and which did not."""

from __future__ import annotations

import msgspec

from penstock.kernel.event import Verdict


class Receipt(msgspec.Struct, frozen=True):
    """Where accepted events of the request are durable. A record may hold events of other requests too."""

    partition: int
    offset: int


class EventVerdict(msgspec.Struct, frozen=True):
    """An event that was not accepted. `index` is its place in the request; `reason` is for the caller."""

    index: int
    transaction_id: str | None
    verdict: Verdict
    reason: str


class IngestAnswer(msgspec.Struct, frozen=True):
    """accepted + duplicate + conflict + rejected = the events of the request. `events`: all that were not accepted."""

    accepted: int = 0
    duplicate: int = 0
    conflict: int = 0
    rejected: int = 0
    receipts: tuple[Receipt, ...] = ()
    events: tuple[EventVerdict, ...] = ()

    def counts(self) -> dict[Verdict, int]:
        return {
            Verdict.ACCEPTED: self.accepted,
            Verdict.DUPLICATE: self.duplicate,
            Verdict.CONFLICT: self.conflict,
            Verdict.REJECTED: self.rejected,
        }
