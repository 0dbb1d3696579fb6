"""The set of identities that a partition has seen: exact, vectorised, in day generations.

A batch is looked up with a handful of array operations and no Python statement per id. New ids go into an
open-addressing table (`_Table`); a full table becomes a sorted run (`_Run`), and small runs of a day are merged, so
that a look-up meets few of them. A generation is dropped whole, when the caller says so: between two records, never
at a flush (DESIGN.md section 4). Equality is all 128 bits; 64 of them place an id.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from penstock.kernel.event import Verdict
from penstock.kernel.identity import BodyHashes, Identities

Verdicts = npt.NDArray[np.uint8]
Found = npt.NDArray[np.bool_]

TABLE_IDS_MAX = 1 << 19
_EMPTY = np.int32(-1)


class _Table:
    """Up to `TABLE_IDS_MAX` ids by linear probing, at most half full. Ids are given once: the caller has looked."""

    def __init__(self) -> None:
        self._bits = 12
        self._slots = np.full(1 << self._bits, _EMPTY, np.int32)
        self._ids = np.empty((1 << 11, 2), np.uint64)
        self._bodies = np.empty(1 << 11, np.uint64)
        self.count = 0

    def find(self, ids: Identities, bodies: BodyHashes) -> tuple[Found, Found]:
        """For each id: is it here, and is it here with another body."""
        found = np.zeros(len(ids), bool)
        conflict = np.zeros(len(ids), bool)
        mask = np.uint64(len(self._slots) - 1)
        todo = np.arange(len(ids))
        slot = ids[:, 0] & mask
        while len(todo):
            held = self._slots[slot.astype(np.intp)]
            met = held != _EMPTY
            todo, slot, held = todo[met], slot[met], held[met]
            same = (self._ids[held, 0] == ids[todo, 0]) & (self._ids[held, 1] == ids[todo, 1])
            hits = todo[same]
            found[hits] = True
            conflict[hits] = self._bodies[held[same]] != bodies[hits]
            todo, slot = todo[~same], (slot[~same] + np.uint64(1)) & mask
        return found, conflict

    def add(self, ids: Identities, bodies: BodyHashes) -> None:
        """Add ids that are neither here nor twice among themselves."""
        end = self.count + len(ids)
        if end > len(self._ids):
            self._grow(end)
        self._ids[self.count : end] = ids
        self._bodies[self.count : end] = bodies
        self._place(np.arange(self.count, end, dtype=np.int32))
        self.count = end

    def _grow(self, end: int) -> None:
        capacity = 1 << (end - 1).bit_length()
        self._ids = np.concatenate([self._ids[: self.count], np.empty((capacity - self.count, 2), np.uint64)])
        self._bodies = np.concatenate([self._bodies[: self.count], np.empty(capacity - self.count, np.uint64)])
        self._slots = np.full(2 * capacity, _EMPTY, np.int32)
        self._place(np.arange(self.count, dtype=np.int32))

    def _place(self, rows: npt.NDArray[np.int32]) -> None:
        mask = np.uint64(len(self._slots) - 1)
        slot = (self._ids[rows, 0] & mask).astype(np.intp)
        while len(rows):
            free = self._slots[slot] == _EMPTY
            self._slots[slot[free]] = rows[free]  # of several that want one slot, the last stays
            stays = self._slots[slot] == rows
            rows, slot = rows[~stays], (slot[~stays] + 1) & int(mask)

    def to_run(self) -> _Run:
        return _Run.sort(self._ids[: self.count], self._bodies[: self.count])


class _Run:
    """Ids sorted by their first 64 bits."""

    def __init__(self, high: npt.NDArray[np.uint64], low: npt.NDArray[np.uint64], bodies: BodyHashes) -> None:
        self._high, self._low, self._bodies = high, low, bodies

    @classmethod
    def sort(cls, ids: Identities, bodies: BodyHashes) -> _Run:
        order = np.argsort(ids[:, 0], kind="stable")
        return cls(ids[order, 0], ids[order, 1], bodies[order])

    @classmethod
    def merge(cls, runs: Iterable[_Run]) -> _Run:
        parts = list(runs)
        high = np.concatenate([r._high for r in parts])
        order = np.argsort(high, kind="stable")  # timsort: it finds the runs and merges them
        low = np.concatenate([r._low for r in parts])
        bodies = np.concatenate([r._bodies for r in parts])
        return cls(high[order], low[order], bodies[order])

    def __len__(self) -> int:
        return len(self._high)

    def find(self, ids: Identities, bodies: BodyHashes) -> tuple[Found, Found]:
        """As `_Table.find`. Fast when `ids` are sorted by their first half."""
        found = np.zeros(len(ids), bool)
        conflict = np.zeros(len(ids), bool)
        at = np.searchsorted(self._high, ids[:, 0])
        todo = np.arange(len(ids))
        while True:  # more than once only where two ids share 64 bits
            inside = at < len(self._high)
            todo, at = todo[inside], at[inside]
            same = self._high[at] == ids[todo, 0]
            todo, at = todo[same], at[same]
            if not len(todo):
                return found, conflict
            whole = self._low[at] == ids[todo, 1]
            hits = todo[whole]
            found[hits] = True
            conflict[hits] = self._bodies[at[whole]] != bodies[hits]
            todo, at = todo[~whole], at[~whole] + 1


class IdSet:
    """Identities with the hash of the body they came with, by the day on which they were accepted."""

    def __init__(self) -> None:
        self._table = _Table()
        self._table_day: int | None = None
        self._runs: dict[int, list[_Run]] = {}
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def probe(self, ids: Identities, bodies: BodyHashes) -> Verdicts:
        """A `Verdict` per id: ACCEPTED for the first of a new one, else DUPLICATE, or CONFLICT for another body.

        Repeats inside the batch are judged against the batch's first. Remembers nothing: see `add`.
        """
        verdicts = np.zeros(len(ids), np.uint8)
        if not len(ids):
            return verdicts
        order = np.lexsort((ids[:, 1], ids[:, 0]))  # stable: of equal ids the first stays first
        ids, bodies = ids[order], bodies[order]
        judged = self._within(ids, bodies)
        for part in self._parts():
            found, conflict = part.find(ids, bodies)
            judged[found] = Verdict.DUPLICATE
            judged[conflict] = Verdict.CONFLICT
        verdicts[order] = judged
        return verdicts

    @staticmethod
    def _within(ids: Identities, bodies: BodyHashes) -> Verdicts:
        """Judge sorted ids against the first of their own batch."""
        judged = np.zeros(len(ids), np.uint8)
        first = np.ones(len(ids), bool)
        first[1:] = (ids[1:] != ids[:-1]).any(axis=1)
        if first.all():
            return judged
        first_body = bodies[np.maximum.accumulate(np.where(first, np.arange(len(ids)), 0))]
        judged[~first] = Verdict.DUPLICATE
        judged[~first & (bodies != first_body)] = Verdict.CONFLICT
        return judged

    def add(self, day: int, ids: Identities, bodies: BodyHashes) -> None:
        """Remember ids that `probe` called ACCEPTED, in the generation of `day`. Days never go back."""
        if self._table_day != day:
            self._seal()
            self._table_day = day
        for start in range(0, len(ids), TABLE_IDS_MAX):
            part = slice(start, start + TABLE_IDS_MAX)
            if self._table.count + len(ids[part]) > TABLE_IDS_MAX:
                self._seal()
            self._table.add(ids[part], bodies[part])
        self._count += len(ids)

    def restore(self, day: int, ids: Identities, bodies: BodyHashes) -> None:
        """Put a whole generation back, as it was read from a store. Ids are distinct."""
        if len(ids):
            self._runs.setdefault(day, []).append(_Run.sort(ids, bodies))
            self._count += len(ids)

    def drop_before(self, day: int) -> None:
        """Forget every generation of an earlier day."""
        if self._table_day is not None and self._table_day < day:
            self._seal()
        for old in [d for d in self._runs if d < day]:
            self._count -= sum(map(len, self._runs.pop(old)))

    def drop_oldest_run(self) -> None:
        """Forget the oldest sorted run: for a window that is bounded by memory, not exact by age."""
        if self._runs:
            day = min(self._runs)
            self._count -= len(self._runs[day].pop(0))
            if not self._runs[day]:
                del self._runs[day]

    def _parts(self) -> list[_Table | _Run]:
        return [self._table, *(run for runs in self._runs.values() for run in runs)]

    def _seal(self) -> None:
        """Turn the table into a run of its day; merge runs of like size, so that few remain."""
        if not self._table.count:
            return
        assert self._table_day is not None
        runs = self._runs.setdefault(self._table_day, [])
        runs.append(self._table.to_run())
        while len(runs) > 1 and len(runs[-2]) < 2 * len(runs[-1]):
            last = runs.pop()
            runs.append(_Run.merge((runs.pop(), last)))
        self._table = _Table()
