"""How a record goes into a cell: in parts, again, onto nothing, or as a blind delta."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import msgspec

from penstock.aggregator import consume
from penstock.aggregator.fold import Fold, Study
from penstock.kernel.cell import Cell, CellKey, merge
from penstock.kernel.meter import Aggregation
from penstock.kernel.ports.fold_store import Flush
from simulation.faulty_store import Tables
from simulation.scenario import Simulation
from simulation.weakenings.switch import Patch, Switches

switches = Switches()


class _Piecemeal(Fold):
    """Adds a study part by part; `before` may meddle with the cells of each."""

    def apply(self, study: Study, loaded: Mapping[CellKey, Cell]) -> None:
        self.cells.update(loaded)
        for part in study.parts:
            self._apply_one([part], [])
        for outcome in study.conservation:
            self._apply_one([], [outcome])

    def _apply_one(self, parts: list[Any], conservation: list[Any]) -> None:
        one = Study()
        one.parts, one.conservation = parts, conservation
        self._before(one)
        super().apply(one, {})

    def _before(self, one: Study) -> None:
        """Nothing."""


@switches.weakening(seed=13, rows_checked=False)
def version_per_part_of_a_record(patch: Patch, _: Simulation) -> None:
    """A record goes into a cell in parts, and after the first the cell seems to have had it."""
    patch.setattr(consume, "Fold", _Piecemeal)


@switches.weakening(seed=13, rows_checked=False)
def no_version_guard(patch: Patch, _: Simulation) -> None:
    """A record is added to a cell that has it already."""

    class Unguarded(_Piecemeal):
        def _before(self, one: Study) -> None:
            for key in one.cell_keys() & self.cells.keys():
                self.cells[key].version = -1

    patch.setattr(consume, "Fold", Unguarded)


@switches.weakening(seed=25, rows_checked=False)
def absent_cells_are_zero(patch: Patch, _: Simulation) -> None:
    """What is not in memory is taken for new, whatever the store has."""
    patch.setattr(Fold, "missing", lambda self, study: [])


@switches.weakening(seed=15, rows_checked=False)
def cells_forgotten_while_they_are_written(patch: Patch, _: Simulation) -> None:
    """The next fold loads what the flush under way is about to replace."""
    take_dirty = Fold.take_dirty

    def take_and_forget(self: Fold) -> dict[CellKey, Cell]:
        changed = take_dirty(self)
        self.forget(0)
        return changed

    patch.setattr(Fold, "take_dirty", take_and_forget)


@switches.weakening(seed=13, rows_checked=False)
def blind_deltas(patch: Patch, simulation: Simulation) -> None:
    """Owners write what a flush added, and the store adds it up."""
    insert, take_dirty = Tables.insert, Fold.take_dirty
    bodies = simulation.definitions.bodies

    def take_deltas(self: Fold) -> dict[CellKey, Cell]:
        deltas = {key: copy.copy(cell) for key, cell in take_dirty(self).items()}
        self.cells.update({key: Cell(version=cell.version) for key, cell in deltas.items()})
        return deltas

    def add(self: Tables, part: Flush) -> None:
        sums = {}
        for key, delta in part.cells.items():
            sums[key] = copy.copy(self.cells.get(key, Cell()))
            kind = bodies[key.metric][1]["aggregation_type"] if key.metric in bodies else "COUNT"
            merge(Aggregation(kind), sums[key], delta)
        insert(self, msgspec.structs.replace(part, cells=sums))

    patch.setattr(Fold, "take_dirty", take_deltas)
    patch.setattr(Fold, "missing", lambda self, study: [])
    patch.setattr(Tables, "insert", add)
