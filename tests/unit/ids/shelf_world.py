"""A partition as the shelf sees it: a log of batches of ids, a naive account of them, a store, a thread that waits."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future
from pathlib import Path
from typing import Any

import numpy as np

from penstock.ids import run_file, writing
from penstock.ids.shelf import Shelf
from penstock.kernel import idset
from penstock.kernel.event import GENERATIONS_KEPT, Verdict
from penstock.kernel.identity import BodyHashes, Identities
from penstock.kernel.idset import IdSet
from penstock.kernel.ports.fold_store import Stretch
from penstock.kernel.problems import StoreUnavailable
from penstock.kernel.record import US_PER_DAY, Marker

Id = tuple[int, int]
Batch = list[tuple[Id, int]]
LOG_ID = "log-1"
FIRST_DAY = 20_000
MEMORY_IDS_MAX = 4


def tiny(patch: Any) -> None:
    """Limits so small that a handful of ids goes through everything."""
    patch.setattr(idset, "TABLE_IDS_MAX", 4)
    patch.setattr(run_file, "FILTERED_ROWS", 2)
    patch.setattr(run_file, "BLOCK_BYTES", 48)
    patch.setattr(writing, "BLOCK_BYTES", 48)
    patch.setattr(writing, "SLICE_ROWS", 3)


def spread(number: int) -> Id:
    """An id for a number: mostly as even as hashes are, but every third shares its first half with its kind."""
    mixed = (number + 1) * 0x9E3779B97F4A7C15D1342543DE82EF95 % 2**128
    return (7, number) if number % 3 == 0 else (mixed >> 64, mixed % 2**64)


def arrays(batch: Sequence[tuple[Id, int]]) -> tuple[Identities, BodyHashes]:
    ids = np.array([id for id, _ in batch], np.uint64).reshape(-1, 2)
    return ids, np.array([body for _, body in batch], np.uint64)


class Later(Executor):
    """A thread that does nothing until it is told to."""

    def __init__(self) -> None:
        self._waiting: list[tuple[Future[Any], Callable[[], Any]]] = []

    def submit(self, call: Callable[..., Any], /, *args: Any, **named: Any) -> Future[Any]:
        future: Future[Any] = Future()
        self._waiting.append((future, lambda: call(*args, **named)))
        return future

    def finish(self) -> None:
        """Do all that was submitted."""
        for future, call in self._waiting:
            try:
                future.set_result(call())
            except Exception as exc:
                future.set_exception(exc)
        self._waiting = []


class World:
    """What was appended, what of it is known as of a record, and what the store holds of it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.log: list[tuple[int, Batch]] = []
        self.stored: dict[int, Batch] = {}
        self.asked: list[Stretch] = []
        self.is_away = False

    def remembered(self, end: int, day: int) -> dict[Id, int]:
        """The ids of records below offset `end` that are live on `day`, with the body that came first."""
        known: dict[Id, tuple[int, int]] = {}
        for of, batch in self.log[:end]:
            known = {id: (body, seen) for id, (body, seen) in known.items() if seen > of - GENERATIONS_KEPT}
            for id, body in batch:
                known.setdefault(id, (body, of))
        return {id: body for id, (body, seen) in known.items() if seen > day - GENERATIONS_KEPT}

    def marker(self, offset: int) -> Marker | None:
        return Marker(0, offset, LOG_ID, 1, b"", self.log[offset][0] * US_PER_DAY + 5) if offset >= 0 else None

    def ids(self, partition: int, stretch: Stretch) -> Iterator[tuple[int, Identities, BodyHashes]]:
        self._refuse_if_away()
        self.asked.append(stretch)
        live = self._stretch(stretch)
        for day in sorted({day for day, _ in live}):
            yield day, *arrays([row for of, row in live if of == day])

    def count_ids(self, partition: int, stretch: Stretch) -> dict[int, int]:
        return dict(sorted(Counter(day for day, _ in self._stretch(stretch)).items()))

    def known(self, partition: int, stretch: Stretch, asked: Identities) -> tuple[Identities, BodyHashes]:
        self._refuse_if_away()
        wanted = set(map(tuple, asked.tolist()))
        found = [row for _, row in self._stretch(stretch) if row[0] in wanted]
        return arrays(found + found)  # a flush that was written twice

    def _stretch(self, stretch: Stretch) -> list[tuple[int, tuple[Id, int]]]:
        rows = [(self.log[o][0], o, row) for o, batch in sorted(self.stored.items()) for row in batch]
        return [
            (day, row)
            for day, offset, row in rows
            if offset <= stretch.through
            and (day, offset) > (stretch.since_day, stretch.above)
            and day <= stretch.until_day
        ]

    def _refuse_if_away(self) -> None:
        if self.is_away:
            raise StoreUnavailable("no answer")

    def shelf(self, executor: Executor | None = None, log_id: str = LOG_ID, partition: int = 0) -> Shelf:
        return Shelf(self.folder, partition, log_id, MEMORY_IDS_MAX, executor or Later())

    def fold(self, ids: IdSet, offset: int) -> tuple[list[int], list[int]]:
        """What the set says of the record, and what the naive account does; remembers and stores what is new."""
        day, batch = self.log[offset]
        ids.drop_before(day - GENERATIONS_KEPT + 1)
        identities, bodies = arrays(batch)
        verdicts = ids.probe(identities, bodies)
        new = verdicts == Verdict.ACCEPTED
        ids.add(day, identities[new], bodies[new])
        self.stored[offset] = [row for row, is_new in zip(batch, new.tolist(), strict=True) if is_new]
        return verdicts.tolist(), self._expected(offset)

    def _expected(self, offset: int) -> list[int]:
        day, batch = self.log[offset]
        known = self.remembered(offset, day)
        verdicts = []
        for id, body in batch:
            is_new = id not in known
            same = known.setdefault(id, body) == body
            verdicts.append(Verdict.ACCEPTED if is_new else Verdict.DUPLICATE if same else Verdict.CONFLICT)
        return [int(verdict) for verdict in verdicts]
