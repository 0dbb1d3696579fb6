"""A large log record that is stored as it is: its payload, and beside it what became of each of its events.

Rows in a sorted table cost the engine two microseconds an event, the record's own bytes a quarter of that (ADR 17 says
which reads pay). Which form a record has is a function of the record alone, so a replay stores it in the same one.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np
import numpy.typing as npt

from penstock.kernel.chunk import Chunk
from penstock.kernel.event import COUNTABLE_OUTCOMES, KEPT_OUTCOMES
from penstock.kernel.identity import hash_texts
from penstock.kernel.stored import StoredEvents
from penstock.kernel.window import BASE_WINDOW_US, Span, to_us

# A record of fewer events is stored as rows. Part of what a stored prefix means: to change it is to store anew.
WHOLE_EVENTS_MIN = 256
_HASH_MASK = np.uint64(0xFFFF)


class StoredChunk(msgspec.Struct, frozen=True):
    """The record at `offset`. `tenants`, `customers` and `windows` let a reader leave it unread.

    `outcomes` has an `Outcome` per event, `day` is the log clock's, `windows` are the base windows of its events, by
    number since the epoch, `customers` the `customer_hashes` of their keys.
    """

    day: int
    offset: int
    payload: bytes
    outcomes: npt.NDArray[np.uint8]
    tenants: list[str]
    customers: list[int]
    windows: list[int]

    @classmethod
    def of(cls, day: int, offset: int, payload: bytes, chunk: Chunk, outcomes: npt.NDArray[np.uint8]) -> StoredChunk:
        """`chunk` is what `payload` holds."""
        return cls(
            day,
            offset,
            payload,
            outcomes,
            chunk.codes("tenant")[1],
            customer_hashes(chunk.codes("customer")[1]),
            np.unique(chunk.times_us // BASE_WINDOW_US).tolist(),
        )

    def events(self, partition: int) -> StoredEvents:
        """The events that are kept, as rows."""
        return self._rows(partition, Chunk.decode(self.payload), np.isin(self.outcomes, KEPT_OUTCOMES))

    def events_of(
        self, partition: int, tenant: str, customers: Sequence[str] | None, span: Span | None
    ) -> StoredEvents:
        """As `StoredEvents.of`, but what is not asked for never becomes a row."""
        chunk = Chunk.decode(self.payload)
        wanted = np.isin(self.outcomes, COUNTABLE_OUTCOMES) & _among(chunk, "tenant", (tenant,))
        if customers is not None:
            wanted &= _among(chunk, "customer", customers)
        if span is not None:
            wanted &= (chunk.times_us >= to_us(span.start)) & (chunk.times_us < to_us(span.end))
        return self._rows(partition, chunk, wanted)

    def _rows(self, partition: int, chunk: Chunk, wanted: npt.NDArray[np.bool_]) -> StoredEvents:
        kept = np.flatnonzero(wanted)
        if len(kept) < len(chunk):
            chunk = chunk.take(kept)
        offsets = np.full(len(kept), self.offset, np.int64)
        return StoredEvents.of_chunk(chunk, partition, offsets, kept, self.outcomes[kept])


def customer_hashes(customers: Sequence[str]) -> list[int]:
    """Sixteen bits of each key's hash, distinct: a thousand customers make one look-up in sixty a false hit."""
    return np.unique(hash_texts(customers) & _HASH_MASK).tolist()  # type: ignore[no-any-return]


def _among(chunk: Chunk, column: str, texts: Sequence[str]) -> npt.NDArray[np.bool_]:
    """Which events have one of the texts in a coded column."""
    codes, names = chunk.codes(column)
    wanted = set(texts)
    return np.array([name in wanted for name in names], bool)[codes]
