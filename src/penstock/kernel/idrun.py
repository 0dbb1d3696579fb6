"""A run of ids: sorted rows of (first half, second half, body hash), behind a filter that says "maybe".

A look-up costs a run one or two words of its filter for an id that is not there; for one that may be, the filter also
tells within some twenty rows where it would stand. Whatever a filter says, equality is all 128 bits. Nothing here
reads a file, and nothing is done id by id: the same search serves rows in memory and rows that are mapped.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Protocol

import numpy as np
import numpy.typing as npt

from penstock.kernel.identity import BodyHashes, Identities

IdRows = npt.NDArray[np.uint64]  # shape (n, 3): the two halves of the identity and the body's hash
Places = npt.NDArray[np.int64]  # row numbers, of a batch or of a run
Words = npt.NDArray[np.uint64]

MERGED_RUNS_MIN = 4
MERGED_SIZE_RATIO_MAX = 2

_BLOCK_BITS = 128
_BITS_PER_ID = 12
_START_SHIFT = 1  # every other block has a start
_HALF = np.uint64(32)


class Asked:
    """A batch to look up, in the order of the ids' first halves, with what every filter needs of it."""

    def __init__(self, high: Words, low: Words, bodies: BodyHashes) -> None:
        self.high, self.low, self.bodies = high, low, bodies

    def __len__(self) -> int:
        return len(self.high)

    @cached_property
    def prefix(self) -> Words:
        return self.high >> _HALF

    @cached_property
    def masks(self) -> tuple[Words, Words]:
        return _masks(self.low)


class IdRun(Protocol):
    """Ids that are looked up together, wherever they are kept."""

    def __len__(self) -> int:
        """How many ids of days that are not dropped."""
        ...

    def find(self, asked: Asked) -> tuple[Places, Places]:
        """Which of the batch are here, and which are here with another body. Of days that are not dropped."""
        ...

    def drop_before(self, day: int) -> None:
        """Forget the ids of earlier days."""
        ...


class SortedRun(IdRun, Protocol):
    """A run that can be read in order, to be written or merged."""

    @property
    def counts(self) -> Mapping[int, int]:
        """How many rows of which day there are, dropped or not."""
        ...

    def places(self, high: Words) -> Places:
        """The first row, for each of `high`, whose first half is not below it."""
        ...

    def read(self, start: int, end: int) -> tuple[IdRows, Places]:
        """The rows from `start` to `end`, exclusive, and the day of each."""
        ...


class Filter:
    """A Bloom filter of two words an id, in blocks that follow the order of the rows; about 1.7 bytes an id.

    Its second part says at which row every other block begins. Made empty for a number of ids, told them in order by
    `add`, and ready after `finish`.
    """

    def __init__(self, ids: int) -> None:
        self.first: Words = np.zeros(ids * _BITS_PER_ID // _BLOCK_BITS + 1, np.uint64)
        self.second: Words = np.zeros_like(self.first)
        self.starts: npt.NDArray[np.uint32] = np.zeros((len(self.first) >> _START_SHIFT) + 2, np.uint32)

    @classmethod
    def of(cls, rows: IdRows) -> Filter:
        made = cls(len(rows))
        made.add(rows)
        made.finish()
        return made

    @property
    def nbytes(self) -> int:
        return self.first.nbytes + self.second.nbytes + self.starts.nbytes

    def add(self, rows: IdRows) -> None:
        """Add rows in order, none of which is below those that are here."""
        if not len(rows):
            return
        block = self._blocks(rows[:, 0] >> _HALF)
        edges = np.flatnonzero(np.concatenate([[True], block[1:] != block[:-1]]))
        for words, masks in zip((self.first, self.second), _masks(rows[:, 1]), strict=True):
            words[block[edges]] |= np.bitwise_or.reduceat(masks, edges)
        pair = block >> _START_SHIFT
        counts = np.bincount(pair - pair[0])
        self.starts[pair[0] + 1 : pair[0] + 1 + len(counts)] += counts.astype(np.uint32)

    def finish(self) -> None:
        np.cumsum(self.starts, out=self.starts)

    def passing(self, asked: Asked) -> Places:
        """Those of the batch that may be in the run."""
        block = self._blocks(asked.prefix)
        first, second = asked.masks
        maybe = np.flatnonzero((self.first.take(block, mode="clip") & first) == first)
        second = second[maybe]
        passed: Places = maybe[(self.second.take(block[maybe], mode="clip") & second) == second]
        return passed

    def reach(self, prefix: Words) -> tuple[Places, Places]:
        """From which row to which an id would stand, the latter exclusive."""
        pair = self._blocks(prefix) >> _START_SHIFT
        return self.starts.take(pair).astype(np.int64), self.starts.take(pair + 1).astype(np.int64)

    def _blocks(self, prefix: Words) -> Places:
        block = prefix * np.uint64(len(self.first))
        np.right_shift(block, _HALF, out=block)
        return block.view(np.int64)


def _masks(low: Words) -> tuple[Words, Words]:
    """Three bits for each of two words. The lowest bits stay out: they choose the partition."""
    sixes = [(low >> np.uint64(shift)) & np.uint64(63) for shift in (58, 52, 46, 40, 34, 28)]
    bits = [np.uint64(1) << six for six in sixes]
    return bits[0] | bits[1] | bits[2], bits[3] | bits[4] | bits[5]


def lower_bound(flat: Words, high: Words, start: Places, end: Places) -> Places:
    """The first row from `start` on, before `end` or `end` itself, whose first half is not below `high`.

    All halve their distance in step, from the longest one: a few operations for each step, and none of them branches.
    """
    longest = int((end - start).max(initial=0))
    last = len(flat) - 3
    below, probe = 3 * start - 3, np.empty_like(start)  # as places in the line, of the last row known to be below
    met = np.empty_like(high)
    for power in reversed(range(longest.bit_length())):
        step = 3 << power
        np.add(below, step, out=probe)
        np.minimum(probe, last, out=probe)
        flat.take(probe, out=met, mode="clip")
        below += (met < high) * np.int64(step)
    return np.minimum(below // 3 + 1, end)


def first_places(flat: Words, high: Words) -> Places:
    """`lower_bound` over all rows."""
    start = np.zeros(len(high), np.int64)
    return lower_bound(flat, high, start, start + len(flat) // 3)


def search(flat: Words, asked: Asked, places: Places, start: Places, end: Places) -> tuple[Places, Places]:
    """Which of the batch's `places` stand in sorted rows, and at which row; each is looked for in [start, end).

    `flat` is the rows as one line: a gather from that is several times as fast as one from a column.
    """
    at = lower_bound(flat, asked.high[places], start, end)
    found: list[Places] = []
    rows: list[Places] = []
    while True:  # more than once only where two ids share 64 bits
        inside = np.flatnonzero(at < end)
        places, at, end = places[inside], at[inside], end[inside]
        same = np.flatnonzero(flat.take(3 * at) == asked.high[places])
        places, at, end = places[same], at[same], end[same]
        if not len(places):
            return joined(found), joined(rows)
        whole = flat.take(3 * at + 1) == asked.low[places]
        found.append(places[whole])
        rows.append(at[whole])
        places, at, end = places[~whole], at[~whole] + 1, end[~whole]


def conflicts(flat: Words, asked: Asked, found: Places, rows: Places) -> Places:
    """Those of `found` whose body differs from that of the row."""
    differ: Places = found[flat.take(3 * rows + 2) != asked.bodies[found]]
    return differ


def joined(parts: Sequence[Places]) -> Places:
    return np.concatenate(parts) if parts else np.empty(0, np.int64)


class Run:
    """Ids of one day, in memory."""

    def __init__(self, day: int, rows: IdRows) -> None:
        self.day, self.rows = day, rows
        self._flat = rows.reshape(-1)
        self._count = len(rows)

    @classmethod
    def sort(cls, day: int, rows: IdRows) -> Run:
        return cls(day, rows[np.argsort(rows[:, 0])])

    @classmethod
    def merge(cls, runs: Sequence[Run]) -> Run:
        """One run of several of the same day."""
        return cls.sort(runs[0].day, np.concatenate([run.rows for run in runs]))

    def __len__(self) -> int:
        return self._count

    def find(self, asked: Asked) -> tuple[Places, Places]:
        places = self._filter.passing(asked)
        found, rows = search(self._flat, asked, places, *self._filter.reach(asked.prefix[places]))
        return found, conflicts(self._flat, asked, found, rows)

    def drop_before(self, day: int) -> None:
        if self.day < day:
            self._count = 0

    @property
    def counts(self) -> Mapping[int, int]:
        return {self.day: len(self.rows)}

    def places(self, high: Words) -> Places:
        return first_places(self._flat, high)

    def read(self, start: int, end: int) -> tuple[IdRows, Places]:
        return self.rows[start:end], np.full(end - start, self.day, np.int64)

    @cached_property
    def _filter(self) -> Filter:
        return Filter.of(self.rows)


def rows_of(ids: Identities, bodies: BodyHashes) -> IdRows:
    rows: IdRows = np.column_stack([ids, bodies])
    return rows


def newest_to_merge(sizes: Sequence[int]) -> int:
    """How many of the newest runs to make one of, or 0; `sizes` are those of neighbours, oldest first.

    A run joins younger ones that weigh at least half as much: every id is merged a few times in all, and few runs of
    each size stay.
    """
    total = count = 0
    for size in reversed(sizes):
        if count and size > MERGED_SIZE_RATIO_MAX * total:
            break
        total, count = total + size, count + 1
    return count if count >= MERGED_RUNS_MIN else 0
