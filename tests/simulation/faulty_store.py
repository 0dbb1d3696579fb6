"""The usage store as a bad day makes it: every table is one insert, and each may fail, be late, or be done twice.

`Tables` are what is there; an owner writes through its own `Connection`, which ends when the owner is killed.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from operator import itemgetter
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from penstock.aggregator.store.memory import MemoryUsageStore
from penstock.kernel.cell import Cell, CellAnswer, CellKey, CellQuestion
from penstock.kernel.correction import Corrected, as_corrected
from penstock.kernel.event import Outcome
from penstock.kernel.identity import BodyHashes, Identities
from penstock.kernel.ports.fold_store import Flush, Stretch
from penstock.kernel.problems import StoreUnavailable
from penstock.kernel.record import Marker, Vector
from penstock.kernel.stored import StoredEvents
from penstock.kernel.window import Span, to_us
from simulation.event_loop import Died
from simulation.world import HOUR_US, World

INSERT_ORDER = ("events", "chunks", "ids", "dropped", "controls", "corrections", "touched", "cells", "cells", "marker")
NO_MARKER = -1


class Columns:
    """Stored events in log order, read to be filtered."""

    def __init__(self, events: StoredEvents) -> None:
        self.table = events.table
        self._owners = np.asarray(self.table["partition"]).astype(np.int64)
        self._offsets = np.asarray(self.table["offset"]).astype(np.int64)
        self._times_us = events.times_us
        self._is_kept = np.asarray(self.table["outcome"]) != Outcome.QUARANTINED
        self._tenants, self._customers = (np.array(self.table[n].to_pylist(), object) for n in ("tenant", "customer"))

    def places(
        self, tenant: str, customers: tuple[str, ...] | None, span: Span | None, as_of: Vector, partition: int | None
    ) -> npt.NDArray[np.int64]:
        """Which of them are asked for."""
        through = np.full(self._owners.max(initial=0) + 1, -1, np.int64)
        through[: len(as_of)] = as_of[: len(through)]
        keep = self._is_kept & (self._tenants == tenant) & (self._offsets <= through[self._owners])
        if partition is not None:
            keep &= self._owners == partition
        if span is not None:
            keep &= (self._times_us >= to_us(span.start)) & (self._times_us < to_us(span.end))
        at = np.flatnonzero(keep)
        if customers is not None:
            at = at[[name in customers for name in self._customers[at]]] if len(at) else at
        return at

    def hours(self, at: npt.NDArray[np.int64]) -> list[tuple[int, int]]:
        """The hours of events at these places, with how many there are."""
        starts, counts = np.unique(self._times_us[at] // HOUR_US * HOUR_US, return_counts=True)
        return list(zip(starts.tolist(), counts.tolist(), strict=True))


class Tables(MemoryUsageStore):
    """What the store holds, one insert at a time; `check_row` sees every cell and `check_marker` every marker."""

    def __init__(self, check_row: Callable[[CellKey, Cell], None], check_marker: Callable[[Marker], None]) -> None:
        super().__init__()
        self._check_row, self._check_marker = check_row, check_marker
        self._columns: Columns | None = None  # of all stored events, until there are more

    def insert(self, part: Flush) -> None:
        """Write a part of a flush; a marker at `NO_MARKER` is none."""
        for key, cell in part.cells.items():
            self._check_row(key, cell)
        self.flush(part)
        if part.events or part.chunks:
            self._columns = None
        if part.marker.offset == NO_MARKER:
            if self._markers[part.marker.partition].offset == NO_MARKER:
                del self._markers[part.marker.partition]
        else:
            self._check_marker(part.marker)

    def write_fill(self, partition: int, metric: str, cells: Mapping[CellKey, Cell], through_us: int) -> None:
        for key, cell in cells.items():
            self._check_row(key, cell)
        super().write_fill(partition, metric, cells, through_us)

    @property
    def cells(self) -> dict[CellKey, Cell]:
        return self._cells

    def stored_events(self) -> StoredEvents:
        """All of them, in log order."""
        return StoredEvents.concat([rows for _, rows in sorted(self._events.items(), key=itemgetter(0))])

    def read_events(
        self, tenant: str, customers: tuple[str, ...] | None, span: Span | None, as_of: Vector, partition: int | None
    ) -> Iterator[StoredEvents]:
        """As the reference does, but filtered all at once: records here are many and small."""
        if self._columns is None:
            self._columns = Columns(self.stored_events())
        at = self._columns.places(tenant, customers, span, as_of, partition)
        through = {p: offset for p, offset in enumerate(as_of) if partition in (None, p)}
        came = [StoredEvents(self._columns.table.take(pa.array(at)))] if len(at) else []
        yield from as_corrected(came, self._revisions(tenant, customers, span, through))

    def held_corrections(self) -> dict[tuple[int, int], Corrected]:
        return self._corrections

    def event_hours(self, tenant: str, partition: int, through: int) -> list[tuple[int, int]]:
        """As the reference does, all at once too; whatever a correction changes, its event has an hour."""
        if self._columns is None:
            self._columns = Columns(self.stored_events())
        as_of = tuple(through if p == partition else -1 for p in range(partition + 1))
        found = dict(self._columns.hours(self._columns.places(tenant, None, None, as_of, partition)))
        for revision in self._revisions(tenant, None, None, {partition: through}):
            hour_us = revision.time_us // HOUR_US * HOUR_US
            found[hour_us] = found.get(hour_us, 0) + 1
        return sorted(found.items())

    def power_cut(self) -> None:
        """Nothing is lost: an insert is on disk before it is acknowledged."""


class Connection:
    """What an owner has of the store: a `FoldStore`, and the events that a fill reads."""

    def __init__(self, world: World, tables: Tables) -> None:
        self._world, self._tables = world, tables
        self.is_cut = False

    def flush(self, flush: Flush) -> None:
        for name, part in self._parts(flush):
            self._insert(name, part)
            self._world.pause(self._world.plan.pause_share)

    def _insert(self, name: str, part: Flush) -> None:
        self._refuse_if_cut()
        world = self._world
        if not world.fault(world.plan.insert_fault_share):
            self._tables.insert(part)
            return
        fate = world.chance.choice(["killed before", "killed after", "lost", "unheard", "late", "twice"])
        world.tell(f"insert {name} of {part.marker.partition}: {fate}")
        if fate in ("killed after", "unheard", "twice"):
            self._tables.insert(part)
        if fate in ("late", "twice"):
            world.at(world.now_us + world.chance.randrange(1, world.plan.days * HOUR_US), self._again(part))
        if fate.startswith("killed"):
            self.is_cut = True
        self._refuse_if_cut()
        if fate != "twice":
            raise StoreUnavailable("no answer")

    def _again(self, part: Flush) -> Callable[[], None]:
        def insert() -> None:
            self._world.tell(f"late insert of {part.marker.partition}")
            self._tables.insert(part)

        return insert

    def _parts(self, flush: Flush) -> Iterator[tuple[str, Flush]]:
        """The flush as inserts in order; cells in two, cut anywhere, so that half of them may be there alone."""
        partition = flush.marker.partition
        keys = sorted(flush.cells, key=repr)
        at = self._world.chance.randrange(len(keys) + 1)
        halves = iter([keys[:at], keys[at:]])
        nothing = Flush((), (), (), frozenset(), {}, Marker(partition, NO_MARKER, "", 0, b"", 0))
        for name in INSERT_ORDER:
            value: Any = getattr(flush, name)
            if name == "cells":
                value = {key: copy.copy(flush.cells[key]) for key in next(halves)}  # as they are now, however late
            if value:
                yield name, msgspec.structs.replace(nothing, **{name: value})

    def marker(self, partition: int) -> Marker | None:
        self._refuse_if_cut()
        return self._tables.marker(partition)

    def ids(self, partition: int, stretch: Stretch) -> Iterator[tuple[int, Identities, BodyHashes]]:
        return self._tables.ids(partition, stretch)

    def count_ids(self, partition: int, stretch: Stretch) -> dict[int, int]:
        return self._tables.count_ids(partition, stretch)

    def known(self, partition: int, stretch: Stretch, asked: Identities) -> tuple[Identities, BodyHashes]:
        self._refuse_if_cut()
        self._world.pause(self._world.plan.pause_share)
        return self._tables.known(partition, stretch, asked)

    def controls(self, partition: int, through: int) -> list[tuple[int, bytes]]:
        return self._tables.controls(partition, through)

    def load_cells(self, keys: Sequence[CellKey]) -> dict[CellKey, Cell]:
        self._refuse_if_cut()
        self._world.pause(self._world.plan.pause_share)
        return self._tables.load_cells(keys)

    def windows(self, partition: int) -> set[int]:
        self._world.pause(self._world.plan.pause_share)  # the marker is read, and another owner goes on
        return self._tables.windows(partition)

    def read_events(
        self, tenant: str, customers: tuple[str, ...] | None, span: Span | None, as_of: Vector, partition: int | None
    ) -> Iterator[StoredEvents]:
        self._world.pause(self._world.plan.pause_share)
        return self._tables.read_events(tenant, customers, span, as_of, partition)

    def write_fill(self, partition: int, metric: str, cells: Mapping[CellKey, Cell], through_us: int) -> None:
        self._refuse_if_cut()
        fate = None
        if self._world.fault(2 * self._world.plan.insert_fault_share):
            fate = self._world.chance.choice(["lost", "half", "unheard", "late"])
            self._world.tell(f"fill of {metric} in {partition}: {fate}")
        if fate == "late":
            due_us = self._world.now_us + self._world.chance.randrange(1, self._world.plan.days * HOUR_US)
            late = {key: copy.copy(cell) for key, cell in cells.items()}
            self._world.at(due_us, lambda: self._tables.write_fill(partition, metric, late, through_us))
        elif fate == "half":
            self._tables.write_fill(partition, metric, dict(sorted(cells.items(), key=repr)[::2]), 0)
        elif fate != "lost":
            self._tables.write_fill(partition, metric, cells, through_us)
        if fate is not None:
            raise StoreUnavailable("no answer")
        self._world.pause(self._world.plan.pause_share)

    def __getattr__(self, name: str) -> Any:
        """Whatever else is asked is answered at once."""
        return getattr(self._tables, name)

    def _refuse_if_cut(self) -> None:
        if self.is_cut:
            raise Died


class ReaderView:
    """What a reader has of the store: owners go on between its questions."""

    def __init__(self, world: World, tables: Tables) -> None:
        self._world, self._tables = world, tables

    def __getattr__(self, name: str) -> Any:
        """Whatever else is asked is answered at once."""
        return getattr(self._tables, name)

    def read_cells(self, question: CellQuestion) -> CellAnswer:
        self._world.pause(0.3)
        return self._tables.read_cells(question)

    def read_events(
        self, tenant: str, customers: tuple[str, ...] | None, span: Span | None, as_of: Vector, partition: int | None
    ) -> Iterator[StoredEvents]:
        self._world.pause(0.1)
        return self._tables.read_events(tenant, customers, span, as_of, partition)
