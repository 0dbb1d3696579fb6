"""The log as its writers and its one reader meet it. It is called from the event loop and is asynchronous."""

from __future__ import annotations

from typing import Protocol

import msgspec

from penstock.kernel.record import Kind, LogIdentity, LogRecord


class Appended(msgspec.Struct, frozen=True):
    """The receipt of an append: the record is durable at `offset` of `partition`."""

    partition: int
    offset: int
    appended_at_us: int


class EventLog(Protocol):
    """A partitioned, durable, append-only log. Offsets of a partition are contiguous from 0."""

    @property
    def identity(self) -> LogIdentity:
        """Fixed for the life of the log."""
        ...

    async def append(self, partition: int, kind: Kind, stamped_at_us: int, payload: bytes) -> Appended:
        """Return once the record is durable. Raise `LogUnavailable` where that is not known: it may still appear."""
        ...

    async def read(self, partition: int, start: int, bytes_max: int, wait_ms: int) -> list[LogRecord]:
        """Durable records from offset `start` on, in order, at least one if any appears within `wait_ms`, else none.

        Stops before `bytes_max` of payload is exceeded, but always returns one whole record. A record whose bytes were
        damaged raises `LogDamaged`; an offset below the log's start raises `LogTrimmed`.
        """
        ...

    async def bounds(self, partition: int) -> tuple[int, int]:
        """The first offset that is still there and the offset that the next record will get."""
        ...

    async def trim(self, partition: int, before: int) -> None:
        """Forget records below offset `before`. Idempotent."""
        ...

    async def close(self) -> None:
        """Wait for appends under way, then let go of files or connections. Idempotent."""
        ...


class LogDamaged(Exception):
    """A record's bytes are not what was appended. Never skipped: the owner stops and names the offset."""


class LogTrimmed(Exception):
    """The offset asked for is below the log's start."""
