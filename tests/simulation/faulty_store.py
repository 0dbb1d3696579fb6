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
import pyarrow as pa

from penstock.aggregator.store.memory import MemoryUsageStore
from penstock.kernel.cell import Cell, CellAnswer, CellKey, CellQuestion
from penstock.kernel.correction import Corrected, as_corrected
from penstock.kernel.identity import BodyHashes, Identities
from penstock.kernel.ports import Flush
from penstock.kernel.problems import StoreUnavailable
from penstock.kernel.record import Marker, Vector
from penstock.kernel.stored import StoredEvents
from penstock.kernel.window import Span
from simulation.world import World

INSERT_ORDER = ("events", "chunks", "ids", "dropped", "controls", "corrections", "touched", "cells", "cells", "marker")
NO_MARKER = -1


class Died(Exception):
    """Where the process of this owner ended."""


class Tables(MemoryUsageStore):
    """What the store holds, one insert at a time; `check_row` sees every cell and `check_marker` every marker."""

    def __init__(self, check_row: Callable[[CellKey, Cell], None], check_marker: Callable[[Marker], None]) -> None:
        super().__init__()
        self._check_row, self._check_marker = check_row, check_marker
        self._joined: StoredEvents | None = None  # all of them, in log order

    def insert(self, part: Flush) -> None:
        """Write a part of a flush; a marker at `NO_MARKER` is none."""
        for key, cell in part.cells.items():
            self._check_row(key, cell)
        self.flush(part)
        if part.events or part.chunks:
            self._joined = None
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
        return StoredEvents.concat(list(self._events.values()))

    def read_events(
        self, tenant: str, customers: tuple[str, ...] | None, span: Span | None, as_of: Vector, partition: int | None
    ) -> Iterator[StoredEvents]:
        """As the reference does, but filtered all at once: records here are many and small."""
        if self._joined is None:
            self._joined = StoredEvents.concat([rows for _, rows in sorted(self._events.items(), key=itemgetter(0))])
        table = self._joined.table
        owners, offsets = np.asarray(table["partition"]), np.asarray(table["offset"]).astype(np.int64)
        keep = offsets <= np.array(as_of, np.int64)[owners]
        if partition is not None:
            keep &= owners == partition
        came = StoredEvents(table.filter(pa.array(keep))).of(tenant, customers, span)
        through = {p: offset for p, offset in enumerate(as_of) if partition in (None, p)}
        yield from as_corrected([came], self._revisions(tenant, customers, span, through))

    def held_corrections(self) -> dict[tuple[int, int], Corrected]:
        return self._corrections

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
            world.at(world.now_us + world.chance.randrange(1, world.plan.days * 3_600_000_000), self._again(part))
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

    def ids(
        self, partition: int, through: int, since_day: int, above: int = -1
    ) -> Iterator[tuple[int, Identities, BodyHashes]]:
        return self._tables.ids(partition, through, since_day, above)

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
            fate = self._world.chance.choice(["lost", "half", "unheard"])
            self._world.tell(f"fill of {metric} in {partition}: {fate}")
        if fate == "half":
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
