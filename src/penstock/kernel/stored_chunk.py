"""A large log record that is stored as it is: its payload, and beside it what became of each of its events.

Rows in a sorted table cost the engine two microseconds an event, the record's own bytes a quarter of that (ADR 14 says
which reads pay). Which form a record has is a function of the record alone, so a replay stores it in the same one.
"""

from __future__ import annotations

import msgspec
import numpy as np
import numpy.typing as npt

from penstock.kernel.chunk import Chunk
from penstock.kernel.event import KEPT_OUTCOMES
from penstock.kernel.stored import StoredEvents
from penstock.kernel.window import BASE_WINDOW_US

# A record of fewer events is stored as rows. Part of what a stored prefix means: to change it is to store anew.
WHOLE_EVENTS_MIN = 256
# A record with more customers than this says "any of them": its list would not help to leave it out.
LISTED_CUSTOMERS_MAX = 256


class StoredChunk(msgspec.Struct, frozen=True):
    """The record at `offset`. `tenants`, `customers` and `windows` let a reader leave it unread.

    `outcomes` has an `Outcome` per event, `day` is the log clock's, `windows` are the base windows of its events, by
    number since the epoch; `customers` is empty where there are too many to list.
    """

    day: int
    offset: int
    payload: bytes
    outcomes: npt.NDArray[np.uint8]
    tenants: list[str]
    customers: list[str]
    windows: list[int]

    @classmethod
    def of(cls, day: int, offset: int, payload: bytes, chunk: Chunk, outcomes: npt.NDArray[np.uint8]) -> StoredChunk:
        """`chunk` is what `payload` holds."""
        customers = chunk.codes("customer")[1]
        return cls(
            day,
            offset,
            payload,
            outcomes,
            chunk.codes("tenant")[1],
            customers if len(customers) <= LISTED_CUSTOMERS_MAX else [],
            np.unique(chunk.times_us // BASE_WINDOW_US).tolist(),
        )

    def events(self, partition: int) -> StoredEvents:
        """The events that are kept, as rows."""
        chunk = Chunk.decode(self.payload)
        kept = np.flatnonzero(np.isin(self.outcomes, KEPT_OUTCOMES))
        if len(kept) < len(chunk):
            chunk = chunk.take(kept)
        return StoredEvents.of_chunk(
            chunk, partition, np.full(len(kept), self.offset, np.int64), kept, self.outcomes[kept]
        )
