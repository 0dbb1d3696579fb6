"""The set of identities that a partition has seen: exact, vectorised, in day generations.

A batch is looked up with a handful of array operations a run and no Python statement per id. New ids go into an open
table; a full one becomes a sorted run, and runs of a day are merged, so that a look-up meets few of them. What is more
than memory should hold is handed over to whoever keeps runs in files, and comes back as runs like any other. A
generation is dropped when the caller says so: between two records, never at a flush (DESIGN.md section 4). Equality is
all 128 bits; fewer only place an id.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

import numpy as np
import numpy.typing as npt

from penstock.kernel.event import Verdict
from penstock.kernel.identity import BodyHashes, Identities
from penstock.kernel.idrun import Asked, IdRun, Places, Run, Words, newest_to_merge, rows_of
from penstock.kernel.idtable import Table

Verdicts = npt.NDArray[np.uint8]

TABLE_IDS_MAX = 1 << 19


class IdSet:
    """Identities with the hash of the body they came with, by the day on which they were accepted.

    `settled` are runs that somebody else keeps; `unsettled` are this set's own.
    """

    def __init__(self, settled: Iterable[IdRun] = (), unsettled: Iterable[Run] = ()) -> None:
        self._table = Table()
        self._table_day: int | None = None
        self._runs: list[Run] = list(unsettled)
        self._settled: list[IdRun] = list(settled)
        self._first_day: int | None = None

    def __len__(self) -> int:
        return self.unsettled + sum(map(len, self._settled))

    @property
    def unsettled(self) -> int:
        """How many ids are neither settled nor handed over to be."""
        return self._table.count + sum(map(len, self._runs))

    @property
    def unsettled_day(self) -> int | None:
        """The oldest day of those."""
        days = [run.day for run in self._runs]
        if self._table.count and self._table_day is not None:
            days.append(self._table_day)
        return min(days, default=None)

    def probe(self, ids: Identities, bodies: BodyHashes) -> Verdicts:
        """A `Verdict` per id: ACCEPTED for the first of a new one, else DUPLICATE, or CONFLICT for another body.

        Repeats inside the batch are judged against the batch's first. Remembers nothing: see `add`.
        """
        verdicts = np.zeros(len(ids), np.uint8)
        if not len(ids):
            return verdicts
        high, low = np.ascontiguousarray(ids[:, 0]), np.ascontiguousarray(ids[:, 1])
        order = _order(high, low)
        asked = Asked(high[order], low[order], bodies[order])
        judged = _within(asked)
        parts: list[Table | IdRun] = [self._table, *self._runs, *self._settled]
        for part in parts:
            found, conflict = part.find(asked)
            judged[found] = Verdict.DUPLICATE
            judged[conflict] = Verdict.CONFLICT
        verdicts[order] = judged
        return verdicts

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

    def restore(self, day: int, ids: Identities, bodies: BodyHashes) -> None:
        """Put a whole generation back, as it was read from a store. Ids are distinct."""
        if len(ids):
            self._runs.append(Run.sort(day, rows_of(ids, bodies)))

    def drop_before(self, day: int) -> None:
        """Forget every generation of an earlier day."""
        if self._table_day is not None and self._table_day < day:
            self._seal()
        self._first_day = day
        self._runs = [run for run in self._runs if run.day >= day]
        for run in self._settled:
            run.drop_before(day)
        self._settled = [run for run in self._settled if len(run)]

    def drop_oldest_run(self) -> None:
        """Forget the oldest sorted run: for a window that is bounded by memory, not exact by age."""
        if self._runs:
            self._runs.remove(min(self._runs, key=lambda run: run.day))

    def hand_over(self) -> tuple[Run, ...]:
        """All that is unsettled, as runs that stay in the set, unchanged, until `replace` takes them out."""
        self._seal()
        runs = tuple(self._runs)
        self._settled += runs
        self._runs = []
        return runs

    def replace(self, runs: Collection[IdRun], by: IdRun) -> None:
        """Let one run stand for some settled ones that hold the same ids."""
        if self._first_day is not None:
            by.drop_before(self._first_day)  # days that went while it was made
        kept = [run for run in self._settled if not any(run is old for old in runs)]
        self._settled = [*kept, by] if len(by) else kept

    def _seal(self) -> None:
        """Turn the table into a run of its day; merge runs of like size, so that few remain."""
        if not self._table.count:
            return
        assert self._table_day is not None
        self._runs.append(self._table.to_run(self._table_day))
        self._table = Table()
        of_day = [run for run in self._runs if run.day == self._table_day]
        newest = of_day[len(of_day) - newest_to_merge([len(run) for run in of_day]) :]
        if newest:
            self._runs = [run for run in self._runs if run not in newest]
            self._runs.append(Run.merge(newest))


def _order(high: Words, low: Words) -> Places:
    """The order by id in which equal ones keep theirs; a stable sort of both halves would take five times as long."""
    order = np.argsort(high)
    ordered = high[order]
    tied = np.flatnonzero(ordered[1:] == ordered[:-1])
    if len(tied):
        members = np.union1d(tied, tied + 1)
        rows = order[members]
        order[members] = rows[np.lexsort((rows, low[rows], high[rows]))]
    return order


def _within(asked: Asked) -> Verdicts:
    """Judge sorted ids against the first of their own batch."""
    judged = np.zeros(len(asked), np.uint8)
    first = np.ones(len(asked), bool)
    np.logical_or(asked.high[1:] != asked.high[:-1], asked.low[1:] != asked.low[:-1], out=first[1:])
    if first.all():
        return judged
    first_body = asked.bodies[np.maximum.accumulate(np.where(first, np.arange(len(asked)), 0))]
    judged[~first] = Verdict.DUPLICATE
    judged[~first & (asked.bodies != first_body)] = Verdict.CONFLICT
    return judged
