"""The weakenings that CORE.md names of corrections, each a switch that must be caught."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from penstock.aggregator import consume, correct, correction
from penstock.aggregator.fold import Fold, Study
from penstock.kernel.cell import Cell, retract
from penstock.kernel.correction import Corrected, Revision, as_stored, without
from penstock.kernel.event import Outcome
from penstock.kernel.meter import Aggregation
from penstock.kernel.ports.fold_store import Flush
from penstock.kernel.stored import StoredEvents
from simulation.faulty_store import Connection, Tables
from simulation.scenario import Simulation
from simulation.weakenings.switch import FAR, Patch, Switches

switches = Switches()


@switches.weakening(seed=7, rows_checked=False)
def corrections_looked_up_ahead(patch: Patch, _: Simulation) -> None:
    """What a flush that was cut short wrote of a correction makes its replay think that it knows it."""

    def corrections(self: Connection, tenant: str, ids: Sequence[str], partition: int, _: int) -> list[Corrected]:
        return self._tables.corrections(tenant, ids, partition, FAR)

    patch.setattr(Connection, "corrections", corrections, raising=False)


@switches.weakening(seed=2)
def revisions_read_without_as_of(patch: Patch, _: Simulation) -> None:
    """Events as of the marker, and corrections that are newer."""
    revisions = Tables._revisions

    def ahead(self: Tables, tenant: str, customers: Any, span: Any, through: Mapping[int, int]) -> list[Revision]:
        return revisions(self, tenant, customers, span, dict.fromkeys(through, FAR))

    patch.setattr(Tables, "_revisions", ahead)


@switches.weakening(seed=2, rows_checked=False)
def emptied_cells_deleted(patch: Patch, _: Simulation) -> None:
    """A row that is gone has no version, so what comes late takes its place."""
    insert = Tables.insert

    def insert_and_delete(self: Tables, part: Flush) -> None:
        insert(self, part)
        for key, cell in part.cells.items():
            if not cell.events:
                self._cells.pop(key, None)

    patch.setattr(Tables, "insert", insert_and_delete)


@switches.weakening(seed=2)
def voided_ids_forgotten(patch: Patch, _: Simulation) -> None:
    """What is sent again after a void counts again."""
    voided: set[tuple[str, str]] = set()

    class Voiding(correct.Corrector):
        def apply(self, *args: Any) -> Corrected | None:
            corrected = super().apply(*args)
            if corrected and corrected.revision and corrected.revision.outcome is Outcome.VOIDED:
                voided.add((corrected.tenant, corrected.transaction_id))
            return corrected

    class Forgetful(Fold):
        def _judge(self, study: Study, chunk: Any, *args: Any) -> Any:
            outcomes = super()._judge(study, chunk, *args)
            codes, names = chunk.codes("tenant")
            for at, (code, transaction_id) in enumerate(zip(codes.tolist(), chunk.ids(), strict=True)):
                if outcomes[at] == Outcome.DUPLICATE and (names[code], transaction_id) in voided:
                    outcomes[at] = Outcome.UNMATCHED
            return outcomes

    patch.setattr(consume, "Corrector", Voiding)
    patch.setattr(consume, "Fold", Forgetful)


@switches.weakening(seed=2)
def stored_events_updated_in_place(patch: Patch, _: Simulation) -> None:
    """A replay of the correction retracts the new body, and nothing before it can be counted again."""
    insert = Tables.insert

    def update(self: Tables, part: Flush) -> None:
        insert(self, part)
        for revision in (each.revision for each in part.corrections):
            if revision is not None:
                at = revision.partition, revision.offset
                others = without(self._events[at], {revision.place})
                self._events[at] = StoredEvents.concat([rows for rows in (others, as_stored([revision])) if len(rows)])
                self._columns = None

    patch.setattr(Tables, "insert", update)


@switches.weakening(seed=2)
def corrections_applied_again(patch: Patch, _: Simulation) -> None:
    """A copy that the outbox sent twice is another correction."""

    def corrections(
        self: Connection, tenant: str, ids: Sequence[str], partition: int, through: int
    ) -> list[Corrected]:
        found = self._tables.corrections(tenant, ids, partition, through)
        return [msgspec.structs.replace(each, id="") for each in found]

    patch.setattr(Connection, "corrections", corrections, raising=False)


@switches.weakening(seed=111)
def unique_values_as_rows(patch: Patch, _: Simulation) -> None:
    """A value that one event loses is gone, although another event of the cell has it."""

    def forget(aggregation: Aggregation, cell: Cell, other: Cell) -> Cell | None:
        return Cell(version=cell.version) if aggregation is Aggregation.UNIQUE else retract(aggregation, cell, other)

    patch.setattr(correction, "retract", forget)
