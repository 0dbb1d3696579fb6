"""Who watches a gateway: told of every answer and every append, so that metrics cost the hot path one call each."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from typing import Protocol

from penstock.gateway.answer import IngestAnswer


class Watch(Protocol):
    """Called on the event loop, once per request and once per batch: it must neither wait nor raise."""

    def answered(self, tenant: str, answer: IngestAnswer, body_bytes: int, seconds: float) -> None:
        """A request was answered `seconds` after it was queued. What is not durable is not told."""
        ...

    def appended(self, requests: int, events: int, chunk_bytes: Sequence[int]) -> None:
        """A batch of `requests` became chunks with `events` accepted events, all durable."""
        ...

    def called(self, method: str, status: str) -> None:
        """A gRPC call ended with this status; what its batches became was told by `answered`."""
        ...


class Unwatched:
    """Nobody watches."""

    def answered(self, tenant: str, answer: IngestAnswer, body_bytes: int, seconds: float) -> None:
        """Tells nobody."""

    def appended(self, requests: int, events: int, chunk_bytes: Sequence[int]) -> None:
        """Tells nobody."""

    def called(self, method: str, status: str) -> None:
        """Tells nobody."""


class RejectionKind(Enum):
    """Why an event was rejected, as few words as a metric's label may have."""

    TRANSACTION_ID = "transaction_id"
    CUSTOMER_ID = "customer_id"
    EVENT_TYPE = "event_type"
    TIMESTAMP = "timestamp"
    TOO_OLD = "too_old"
    TOO_FAR_AHEAD = "too_far_ahead"
    PROPERTIES = "properties"
    OVERSIZE = "oversize"
    NESTING = "nesting"
    UNREADABLE = "unreadable"  # syntax, a missing field, a field of another type


_BY_WORDS = (
    ("days ago", RejectionKind.TOO_OLD),
    ("hours ahead", RejectionKind.TOO_FAR_AHEAD),
    ("nested more than", RejectionKind.NESTING),
)
_BY_START = (
    ("transaction_id ", RejectionKind.TRANSACTION_ID),
    ("customer_id ", RejectionKind.CUSTOMER_ID),
    ("event_type ", RejectionKind.EVENT_TYPE),
    ("timestamp ", RejectionKind.TIMESTAMP),
    ("properties have ", RejectionKind.OVERSIZE),
    ("properties ", RejectionKind.PROPERTIES),
)


def kind_of(reason: str) -> RejectionKind:
    """The kind of a rejection, from the reason that its sender is given."""
    for words, kind in _BY_WORDS:
        if words in reason:
            return kind
    for start, kind in _BY_START:
        if reason.startswith(start):
            return kind
    return RejectionKind.UNREADABLE
