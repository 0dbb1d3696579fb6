"""What the store promises of a flush: the order of its inserts, and that it forgets and replaces nothing."""

from __future__ import annotations

import copy
from collections import deque
from collections.abc import Sequence

import pyarrow as pa

from penstock.kernel.cell import Cell, CellKey
from penstock.kernel.ports.fold_store import Flush
from penstock.kernel.stored import StoredEvents
from simulation import faulty_store
from simulation.faulty_store import Connection, Tables
from simulation.scenario import Simulation
from simulation.weakenings.switch import Patch, Switches

switches = Switches()


@switches.weakening(seed=33, rows_checked=False)
def marker_before_cells(patch: Patch, _: Simulation) -> None:
    """A kill in between, and nobody folds those records again."""
    patch.setattr(faulty_store, "INSERT_ORDER", _moved("marker", before="cells"))


@switches.weakening(seed=57)
def touched_after_the_marker(patch: Patch, _: Simulation) -> None:
    """A kill in between, and nobody hears of the customer."""
    patch.setattr(faulty_store, "INSERT_ORDER", _moved("touched", before=None))


def _moved(name: str, before: str | None) -> tuple[str, ...]:
    order = [each for each in faulty_store.INSERT_ORDER if each != name]
    order.insert(len(order) if before is None else order.index(before), name)
    return tuple(order)


@switches.weakening(seed=13, rows_checked=False)
def store_without_fsync(patch: Patch, simulation: Simulation) -> None:
    """A marker survives a power cut, and cells that were acknowledged before it do not."""
    insert, chance = Tables.insert, simulation.world.chance
    unsynced: deque[dict[CellKey, Cell | None]] = deque(maxlen=3)

    def remember(self: Tables, part: Flush) -> None:
        if part.cells:
            unsynced.append({key: self.cells.get(key) for key in part.cells})
        insert(self, part)

    def power_cut(self: Tables) -> None:
        for _ in range(chance.randrange(len(unsynced) + 1)):
            for key, held in unsynced.pop().items():
                self.cells.pop(key, None)
                if held is not None:
                    self.cells[key] = held
        unsynced.clear()

    patch.setattr(Tables, "insert", remember)
    patch.setattr(Tables, "power_cut", power_cut)


@switches.weakening(seed=15)
def cells_loaded_from_a_lagging_replica(patch: Patch, simulation: Simulation) -> None:
    """An owner goes on from an older cell, and what was added since is overwritten for ever."""
    insert, load, chance = Tables.insert, Connection.load_cells, simulation.world.chance
    older: dict[CellKey, Cell] = {}

    def remember(self: Tables, part: Flush) -> None:
        older.update({key: self.cells[key] for key in part.cells if key in self.cells})
        insert(self, part)

    def load_cells(self: Connection, keys: Sequence[CellKey]) -> dict[CellKey, Cell]:
        found = load(self, keys)
        lags = chance.random() < 0.2
        return {key: copy.copy(older.get(key, cell)) if lags else cell for key, cell in found.items()}

    patch.setattr(Tables, "insert", remember)
    patch.setattr(Connection, "load_cells", load_cells)


@switches.weakening(seed=25)
def stored_events_keyed_by_transaction_id(patch: Patch, _: Simulation) -> None:
    """An id that is taken again after its window replaces the event that it stood for first."""
    insert = Tables.insert

    def replace(self: Tables, part: Flush) -> None:
        insert(self, part)
        for rows in part.events:
            mine = set(zip(rows.table["tenant"].to_pylist(), rows.ids(), strict=True))
            newest = max(rows.table["offset"].to_pylist())
            for place, old in self._events.items():
                names = zip(old.table["tenant"].to_pylist(), old.ids(), strict=True)
                keep = [place[1] >= newest or name not in mine for name in names]
                self._events[place] = StoredEvents(old.table.filter(pa.array(keep, pa.bool_())))
        self._columns = None

    patch.setattr(Tables, "insert", replace)
