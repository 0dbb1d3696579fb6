"""One record of the event log, and the marker that says how far a partition has been folded."""

from __future__ import annotations

from enum import IntEnum
from hashlib import blake2b
from itertools import accumulate

import msgspec

from penstock.kernel.window import from_us

GATEWAY_STAMP_SLACK_US = 5 * 60 * 1_000_000
US_PER_DAY = 86_400_000_000


class Kind(IntEnum):
    """What a record's payload is."""

    CHUNK = 1
    TICK = 2  # no payload: gives an idle partition a clock
    CONTROL = 3
    FOREIGN = 4  # nothing of ours: somebody else wrote to the log. Never appended
    SEAL = 5  # the last record of a partition that takes no more; what comes behind it says nothing


class LogIdentity(msgspec.Struct, frozen=True):
    """What makes an offset mean something: the log's id, its partition count, and the key of its identities.

    A log may follow sealed ones, whose partition counts `sealed` tells, oldest first. The numbers of partitions go on
    from log to log, so that a number means one partition for ever; the key stays the same.
    """

    log_id: str
    partitions: int
    hash_key: bytes
    sealed: tuple[int, ...] = ()

    @property
    def first(self) -> int:
        """The number of this log's first partition: those below are of sealed logs."""
        return sum(self.sealed)

    @property
    def end(self) -> int:
        """How many partitions there are, those of sealed logs too."""
        return self.first + self.partitions

    @property
    def own(self) -> range:
        """The numbers of this log's partitions."""
        return range(self.first, self.end)

    @property
    def logs(self) -> tuple[range, ...]:
        """The partitions of every log, oldest first, this one last."""
        ends = accumulate((*self.sealed, self.partitions))
        return tuple(range(end - count, end) for end, count in zip(ends, (*self.sealed, self.partitions), strict=True))


class LogRecord(msgspec.Struct, frozen=True, gc=False):
    """A durable record. `stamped_at_us` is the gateway's clock, `appended_at_us` the log's; both microseconds UTC."""

    partition: int
    offset: int
    kind: Kind
    stamped_at_us: int
    appended_at_us: int
    payload: bytes

    @property
    def clock_us(self) -> int:
        """What this record says of the log clock; a partition's clock is the running maximum (DESIGN.md section 3)."""
        return min(self.appended_at_us, self.stamped_at_us + GATEWAY_STAMP_SLACK_US)

    def digest(self) -> bytes:
        """16 bytes that name this record's content: a marker carries them, so that another log is refused."""
        state = blake2b(digest_size=16)
        state.update(self.kind.to_bytes(1, "big") + self.stamped_at_us.to_bytes(8, "big"))
        state.update(self.appended_at_us.to_bytes(8, "big") + self.payload)
        return state.digest()


class Marker(msgspec.Struct, frozen=True):
    """How far `partition` is folded and flushed. `offset` is the last record folded, -1 for none."""

    partition: int
    offset: int
    log_id: str
    partitions: int
    digest: bytes
    clock_us: int

    @property
    def clock_day(self) -> int:
        """Days since the epoch of the log clock."""
        return self.clock_us // US_PER_DAY

    def __str__(self) -> str:
        return f"partition {self.partition} at offset {self.offset}, log clock {from_us(self.clock_us).isoformat()}"


# One offset per partition, in partition order: "as of what" a figure is. Older ones say nothing of later logs.
Vector = tuple[int, ...]


def covers(newer: Vector, older: Vector) -> bool:
    """Whether `newer` has seen everything that `older` has. Two vectors may be incomparable."""
    return len(newer) == len(older) and all(a >= b for a, b in zip(newer, older, strict=True))
