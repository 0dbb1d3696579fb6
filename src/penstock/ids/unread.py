"""A run of ids that only the usage store has yet: every batch is asked for there, until files stand for its days.

So an owner that takes a partition over folds at once, however many ids there are. To ask costs about as much for one id
as for ten thousand, so it is no state to stay in.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from penstock.ids.segment import Position
from penstock.kernel.idrun import Asked, Places, Run, rows_of
from penstock.kernel.ports.fold_store import IdSource, Stretch

NOWHERE: Places = np.empty(0, np.int64)


class Unread:
    """The ids of one partition accepted after `start` and up to `end`; `counts` says about how many on which day."""

    def __init__(
        self, source: IdSource, partition: int, start: Position, end: Position, counts: Mapping[int, int]
    ) -> None:
        self.start, self.end = start, end
        self.source, self._partition = source, partition
        self._counts = dict(counts)

    def __len__(self) -> int:
        return sum(self._counts.values())

    def find(self, asked: Asked) -> tuple[Places, Places]:
        if not self._counts:
            return NOWHERE, NOWHERE
        stretch = stretch_of(self.start, self.end)
        ids, bodies = self.source.known(self._partition, stretch, np.column_stack([asked.high, asked.low]))
        return Run.sort(self.end.day, rows_of(ids, bodies)).find(asked) if len(ids) else (NOWHERE, NOWHERE)

    def drop_before(self, day: int) -> None:
        self._leave(Position(day, -1))

    def oldest(self) -> tuple[Position, Position]:
        """The stretch that ends with the first day that has ids."""
        return self.start, Position(min(self._counts), self.end.offset)

    def read_through(self, end: Position) -> None:
        """Forget what a file stands for now: all up to `end`, the end of a day."""
        self._leave(end)
        self._counts.pop(end.day, None)

    def _leave(self, place: Position) -> None:
        self.start = max(self.start, place)
        self._counts = {day: count for day, count in self._counts.items() if day >= place.day}


def stretch_of(start: Position, end: Position) -> Stretch:
    """What was accepted after `start` and up to `end`, as the usage store is asked for it."""
    return Stretch(start.day, end.offset, start.offset, end.day)
