"""Metrics that come after their events: what a fill reads and writes, and control records that come again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from penstock.aggregator import consume
from penstock.aggregator.consume import Applied, Owner
from penstock.aggregator.fold import Fold
from penstock.aggregator.poison import Poison
from penstock.kernel.cell import Cell, CellKey, merge
from penstock.kernel.meter import Aggregation
from penstock.kernel.ports.fold_store import Flush
from penstock.kernel.record import LogRecord, Marker
from simulation import fleet
from simulation.faulty_store import Connection
from simulation.scenario import Simulation
from simulation.traffic import TENANTS
from simulation.weakenings.reads import read_ahead
from simulation.weakenings.switch import Patch, Switches

switches = Switches()


@switches.weakening(seed=13)
def fill_reads_ahead(patch: Patch, _: Simulation) -> None:
    """A metric that comes later is filled from all that is stored, not from what came before it."""
    read_ahead(patch, Connection)


@switches.weakening(seed=13, rows_checked=False)
def fill_merged_into_live_cells(patch: Patch, simulation: Simulation) -> None:
    """History is added to whatever the cell is by then: two values with one version."""
    write_fill, bodies = Connection.write_fill, simulation.definitions.bodies

    def add(self: Connection, partition: int, metric: str, cells: Mapping[CellKey, Cell], through_us: int) -> None:
        sums = self.load_cells(list(cells))
        for key, cell in cells.items():
            merge(Aggregation(bodies[metric][1]["aggregation_type"]), sums.setdefault(key, Cell()), cell)
        write_fill(self, partition, metric, sums, through_us)

    patch.setattr(Connection, "write_fill", add)
    patch.setattr(consume, "bases", lambda store, filling, keys: {})


@switches.weakening(seed=13, rows_checked=False)
def absent_cells_are_zero_while_a_metric_is_filled(patch: Patch, _: Simulation) -> None:
    """What the fold writes hides what the fill writes."""
    patch.setattr(consume, "bases", lambda store, filling, keys: {})


@switches.weakening(seed=25, rows_checked=False)
def metric_folded_when_its_fill_is_noticed(patch: Patch, _: Simulation) -> None:
    """Another owner, which had noticed earlier or later, wrote other cells of the same versions."""

    class Slow(Owner):
        def _apply_control(self, record: LogRecord) -> Flush:
            known = dict(self._fold.metrics)
            flush = super()._apply_control(record)
            self.unnoticed = {name: m for name, m in self._fold.metrics.items() if name not in known}
            for name in self.unnoticed:
                del self._fold.metrics[name]
            return flush

        def _fold_records(self, records: Sequence[LogRecord], poison: list[Poison]) -> Flush | None:
            flush = super()._fold_records(records, poison)
            self._fold.metrics.update(getattr(self, "unnoticed", {}))
            self.unnoticed = {}
            return flush

    patch.setattr(fleet, "Owner", Slow)


@switches.weakening(seed=53)
def controls_applied_again(patch: Patch, _: Simulation) -> None:
    """A copy of a definition that the outbox sent twice brings an archived metric back."""
    patch.setattr(Applied, "is_news", lambda self, control: True)


@switches.weakening(seed=25)
def definitions_restored_from_the_catalog(patch: Patch, simulation: Simulation) -> None:
    """An owner that starts again takes the latest definitions, not those as of its marker."""
    restored = Owner._restored
    catalog = simulation.definitions.metrics

    def latest(self: Owner, marker: Marker | None) -> tuple[Fold, Applied]:
        fold, applied = restored(self, marker)
        for definition in [definition for tenant in TENANTS for _, definition in catalog.list(tenant)]:
            fold.metrics.update({each.metric.id: each.metric for each in definition.history})
        return fold, applied

    patch.setattr(Owner, "_restored", latest)
