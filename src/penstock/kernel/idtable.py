"""The open table of a set of ids: the newest ones, by linear probing, before they are sorted into a run."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from penstock.kernel.identity import BodyHashes, Identities
from penstock.kernel.idrun import Asked, IdRows, Places, Run, joined

_EMPTY = np.int32(-1)


class Table:
    """At most half full. Ids are given once: the caller has looked."""

    def __init__(self) -> None:
        self._bits = 12
        self._slots = np.full(1 << self._bits, _EMPTY, np.int32)
        self._rows: IdRows = np.empty((1 << 11, 3), np.uint64)
        self.count = 0

    def find(self, asked: Asked) -> tuple[Places, Places]:
        """Which of the batch are here, and which are here with another body."""
        flat, slots = self._rows.reshape(-1), self._slots
        todo = np.arange(len(asked))
        slot = self._first_slot(asked.high)
        found, conflict = [], []
        while len(todo):
            held = slots[slot]
            met = np.flatnonzero(held != _EMPTY)
            todo, slot, at = todo[met], slot[met], 3 * held[met].astype(np.int64)
            same = (flat[at] == asked.high[todo]) & (flat[at + 1] == asked.low[todo])
            hits = todo[same]
            found.append(hits)
            conflict.append(hits[flat[at[same] + 2] != asked.bodies[hits]])
            todo, slot = todo[~same], (slot[~same] + 1) & (len(slots) - 1)
        return joined(found), joined(conflict)

    def add(self, ids: Identities, bodies: BodyHashes) -> None:
        """Add ids that are neither here nor twice among themselves."""
        end = self.count + len(ids)
        if end > len(self._rows):
            self._grow(end)
        self._rows[self.count : end, :2] = ids
        self._rows[self.count : end, 2] = bodies
        self._place(np.arange(self.count, end, dtype=np.int32))
        self.count = end

    def to_run(self, day: int) -> Run:
        return Run.sort(day, self._rows[: self.count])

    def _first_slot(self, high: npt.NDArray[np.uint64]) -> Places:
        """By the leading bits: ids in order meet the slots in order, which the processor's caches like."""
        return (high >> np.uint64(64 - self._bits)).astype(np.int64)

    def _grow(self, end: int) -> None:
        capacity = 1 << (end - 1).bit_length()
        self._bits = capacity.bit_length()  # twice as many slots
        self._rows = np.concatenate([self._rows[: self.count], np.empty((capacity - self.count, 3), np.uint64)])
        self._slots = np.full(1 << self._bits, _EMPTY, np.int32)
        self._place(np.arange(self.count, dtype=np.int32))

    def _place(self, rows: npt.NDArray[np.int32]) -> None:
        slot = self._first_slot(self._rows[rows, 0])
        while len(rows):
            free = self._slots[slot] == _EMPTY
            self._slots[slot[free]] = rows[free]  # of several that want one slot, the last stays
            stays = self._slots[slot] == rows
            rows, slot = rows[~stays], (slot[~stays] + 1) & (len(self._slots) - 1)
