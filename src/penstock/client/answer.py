"""What the server answers to a batch of events, read once: an answer for every event, or why there is none."""

from __future__ import annotations

from collections import Counter
from datetime import datetime

import msgspec

from penstock.client.backoff import parse_retry_after

RETRY_STATUSES = (408, 425, 429)
NEVER_BETTER = 501
PROBLEM_TYPE = "urn:penstock:problem:"
DETAIL_CHARS_MAX = 300


class Reply(msgspec.Struct, frozen=True):
    """An HTTP answer; header names are lower case."""

    status: int
    headers: dict[str, str]
    body: bytes


class Receipt(msgspec.Struct, frozen=True):
    """Where accepted events are durable: once `partition` is folded through `offset`, usage shows them."""

    partition: int
    offset: int


class EventVerdict(msgspec.Struct, frozen=True):
    """An event that was not accepted: `duplicate`, `conflict` (same id, another body; the first stays), `rejected`."""

    index: int
    verdict: str
    reason: str
    transaction_id: str | None = None


class Answer(msgspec.Struct, frozen=True):
    """What became of each event of a request. `events` lists those that were not accepted."""

    accepted: int
    duplicate: int
    conflict: int
    rejected: int
    receipts: tuple[Receipt, ...]
    events: tuple[EventVerdict, ...]

    def is_about(self, events: int) -> bool:
        """Whether it can be the answer to a request of so many events."""
        counts = {"duplicate": self.duplicate, "conflict": self.conflict, "rejected": self.rejected}
        told = Counter(event.verdict for event in self.events)
        places = {event.index for event in self.events if 0 <= event.index < events}
        return (
            told == Counter(counts)
            and len(places) == len(self.events)
            and self.accepted >= 0
            and self.accepted + sum(counts.values()) == events
        )


class NotAcknowledged(Exception):
    """Whether the events are durable is not known, or they are not yet: send them again."""

    def __init__(self, detail: str, retry_after_s: float | None = None) -> None:
        super().__init__(detail)
        self.retry_after_s = retry_after_s


class Unfit(Exception):
    """The request as a whole was refused for what it holds: too large, or one event that breaks its batch-mates."""


class Hopeless(Exception):
    """The server refuses this client, whatever it sends."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status = status


class _Problem(msgspec.Struct):
    type: str = ""
    detail: str = ""


def read_answer(reply: Reply, events: int, now: datetime) -> Answer:
    """The answer to a request of `events` events. Raise `NotAcknowledged`, `Unfit` or `Hopeless` where it is none."""
    if reply.status in (200, 400):
        answer = _decode(reply.body)
        if answer is not None and answer.is_about(events):
            return answer
        if answer is not None:
            raise NotAcknowledged("the answer does not add up to the events that were sent")
    problem = read_problem(reply)
    if reply.status == 413 or (reply.status in (400, 422) and problem.type.startswith(PROBLEM_TYPE)):
        raise Unfit(problem.detail)
    raise_refusal(reply, now)
    raise NotAcknowledged("the answer is not one of Penstock's")


def raise_refusal(reply: Reply, now: datetime) -> None:
    """Raise `NotAcknowledged` or `Hopeless` for a status other than 200."""
    detail = read_problem(reply).detail
    if reply.status in RETRY_STATUSES or (reply.status >= 500 and reply.status != NEVER_BETTER):
        retry_after_s = parse_retry_after(reply.headers.get("retry-after"), now)
        raise NotAcknowledged(f"the server answers {reply.status}: {detail}", retry_after_s)
    if reply.status != 200:
        raise Hopeless(reply.status, detail)


def read_problem(reply: Reply) -> _Problem:
    """The RFC 9457 problem of a reply, or one that quotes the beginning of whatever it is."""
    try:
        return msgspec.json.decode(reply.body, type=_Problem)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return _Problem(detail=reply.body[:DETAIL_CHARS_MAX].decode(errors="replace"))


def _decode(body: bytes) -> Answer | None:
    try:
        return msgspec.json.decode(body, type=Answer)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
