"""A run of ids: sorted rows of (first half, second half, body hash), behind a filter that says "maybe".

A look-up costs a run one or two words of its filter for an id that is not there; for one that may be, the filter also
tells within some twenty rows where it would stand. Whatever a filter says, equality is all 128 bits. Nothing here
reads a file, and nothing is done id by id: the same search serves rows in memory and rows that are mapped.
"""

from __future__ import annotations

from collections.abc import Sequence
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
_BLOCKS_PER_START = 2
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


class Filter:
    """A Bloom filter of two words an id, in blocks that follow the order of the rows; about 1.7 bytes an id.

    Its second part says at which row every other block begins. Made empty for a number of ids, told them in order by
    `add`, and ready after `finish`.
    """

    def __init__(self, ids: int) -> None:
        self.first: Words = np.zeros(ids * _BITS_PER_ID // _BLOCK_BITS + 1, np.uint64)
        self.second: Words = np.zeros_like(self.first)
        self.starts: npt.NDArray[np.uint32] = np.zeros(len(self.first) // _BLOCKS_PER_START + 2, np.uint32)

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
        pair = block // _BLOCKS_PER_START
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
        return maybe[(self.second.take(block[maybe], mode="clip") & second) == second]

    def reach(self, prefix: Words) -> tuple[Places, Places]:
        """From which row to which an id would stand, the latter exclusive."""
        pair = self._blocks(prefix) // _BLOCKS_PER_START
        return self.starts.take(pair).astype(np.int64), self.starts.take(pair + 1).astype(np.int64)

    def _blocks(self, prefix: Words) -> Places:
        block = prefix * np.uint64(len(self.first))
        np.right_shift(block, _HALF, out=block)
        return block.view(np.int64)


def _masks(low: Words) -> tuple[Words, Words]:
    """Three bits for each of two words. The lowest bits stay out: a partition is chosen by them."""
    one, last = np.uint64(1), np.uint64(63)

    def bits(*shifts: int) -> Words:
        mask = one << (low >> np.uint64(shifts[0]))  # the leading six bits need no cut
        for shift in shifts[1:]:
            mask |= one << ((low >> np.uint64(shift)) & last)
        return mask

    first = bits(58, 52, 46)
    return first, bits(58, 40, 34)


def search(
    flat: Words, asked: Asked, places: Places, start: Places, end: Places
) -> tuple[Places, Places, Places]:
    """Which of the batch's `places` stand in the run's rows, each looked for from row `start` to `end`, exclusive.

    Returns those found, at which rows, and those found with another body. `flat` is the rows as one line.
    """
    high, at = asked.high[places], start
    while (start < end).any():  # `at` becomes the first row that is not below
        middle = (start + end) >> 1
        ...
    return places, at, places


class Run:
    """Ids of one day, in memory."""
