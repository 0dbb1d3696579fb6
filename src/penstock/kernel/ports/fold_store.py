"""What the owner of a partition keeps of its fold. Called from worker threads; synchronous."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple, Protocol

import msgspec

from penstock.kernel.cell import Cell, CellKey
from penstock.kernel.correction import Corrected
from penstock.kernel.identity import BodyHashes, Identities
from penstock.kernel.idset import IdSet
from penstock.kernel.record import Marker
from penstock.kernel.stored import DroppedIds, StoredEvents, StoredIds
from penstock.kernel.stored_chunk import StoredChunk


class Flush(msgspec.Struct, frozen=True):
    """What an owner writes at once: stored events, ids and touched customers, then cells, then the marker."""

    events: tuple[StoredEvents, ...]
    ids: tuple[StoredIds, ...]
    controls: tuple[tuple[int, bytes], ...]  # offset and payload of control records
    touched: frozenset[tuple[str, str]]  # tenant, customer key
    cells: Mapping[CellKey, Cell]
    marker: Marker
    dropped: tuple[DroppedIds, ...] = ()
    chunks: tuple[StoredChunk, ...] = ()  # the records whose events are not in `events`
    corrections: tuple[Corrected, ...] = ()


LAST_DAY = 2**16 - 1


class Stretch(NamedTuple):
    """Ids of one partition by when they were accepted: on days from `since_day` to `until_day`, both included.

    Those of records at or below offset `through`; on the first day only those of records above offset `above`.
    """

    since_day: int
    through: int
    above: int = -1
    until_day: int = LAST_DAY


class IdSource(Protocol):
    """Where the ids of a partition can be read."""

    def ids(self, partition: int, stretch: Stretch) -> Iterator[tuple[int, Identities, BodyHashes]]:
        """The ids of the stretch by generation day, in order of days, each once."""
        ...

    def count_ids(self, partition: int, stretch: Stretch) -> dict[int, int]:
        """About how many ids each day of the stretch has, in order of days; what was flushed twice may count twice."""
        ...

    def known(self, partition: int, stretch: Stretch, asked: Identities) -> tuple[Identities, BodyHashes]:
        """The ids of the stretch that are among `asked`, with their bodies, in any order; perhaps more than once."""
        ...


class FoldStore(IdSource, Protocol):
    """What the one owner of a partition keeps in the usage store. Writing a flush twice, or late, is harmless."""

    def flush(self, flush: Flush) -> None:
        """Write events and whatever else is no cell, then cells, then the marker, each durable before the next.

        Raise `StoreUnavailable` where the outcome is unknown: the owner starts again from the marker.
        """
        ...

    def marker(self, partition: int) -> Marker | None:
        """The partition's newest marker, or None before the first flush."""
        ...

    def controls(self, partition: int, through: int) -> list[tuple[int, bytes]]:
        """Offset and payload of stored control records at or below offset `through`, in log order."""
        ...

    def load_cells(self, keys: Sequence[CellKey]) -> dict[CellKey, Cell]:
        """The stored cells among `keys`, each at its greatest version, whatever the marker says."""
        ...

    def windows(self, partition: int) -> set[int]:
        """The start, in microseconds, of every window of which the partition has a stored cell."""
        ...


class IdShelf(Protocol):
    """Where the owner of a partition keeps what is too much for memory of the ids it has seen.

    A cache of `FoldStore.ids`: whatever is lost or damaged here is read from there. One owner at a time.
    """

    def restore(self, marker: Marker | None, store: IdSource) -> IdSet:
        """The set exactly as of `marker`; from now on the one that `tend` looks after."""
        ...

    def tend(self, ids: IdSet, marker: Marker) -> None:
        """Between two folds: keep memory small. `ids` is exactly as of `marker`, which may yet have to be flushed.

        Does not wait for a disk. Raise `OSError` where ids that were kept are damaged: the owner starts again.
        """
        ...

    def close(self) -> None:
        """Let go of files and threads; what is being written is given up. Idempotent."""
        ...
