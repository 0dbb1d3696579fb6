"""Reads that are no cut."""

from __future__ import annotations

from typing import Any

import msgspec

from penstock.aggregator import auditor
from penstock.kernel.cell import CellAnswer, CellQuestion
from penstock.kernel.ports.fold_store import Flush
from penstock.kernel.stored import StoredEvents
from simulation.faulty_store import Connection, ReaderView, Tables
from simulation.scenario import Simulation
from simulation.weakenings.switch import FAR, Patch, Switches

switches = Switches()


@switches.weakening(seed=25)
def ragged_ends_read_ahead(patch: Patch, _: Simulation) -> None:
    """Cells as of the markers, and events that are newer."""
    read_ahead(patch, ReaderView)


@switches.weakening(seed=8)
def cells_read_without_their_markers(patch: Patch, _: Simulation) -> None:
    """Read skew: a cell ahead of the marker hides the value at the marker."""
    read = ReaderView.read_cells

    def read_cells(self: ReaderView, question: CellQuestion) -> CellAnswer:
        return msgspec.structs.replace(read(self, question), versions={})

    patch.setattr(ReaderView, "read_cells", read_cells)


def read_ahead(patch: Patch, view: type[Connection] | type[ReaderView]) -> None:
    read = view.read_events

    def read_events(self: Any, tenant: str, customers: Any, span: Any, as_of: Any, partition: Any) -> Any:
        return read(self, tenant, customers, span, (FAR,) * len(as_of), partition)

    patch.setattr(view, "read_events", read_events)


@switches.weakening(seed=27)
def cells_audited_as_of_the_marker(patch: Patch, _: Simulation) -> None:
    """A cell ahead of the marker holds more than the events up to it, and is reported."""
    patch.setattr(auditor, "ahead_of", lambda cells, markers: {})


@switches.weakening(seed=25)
def stored_events_read_unmerged(patch: Patch, _: Simulation) -> None:
    """What two owners wrote, or one wrote twice, is read as often as it was written."""
    insert = Tables.insert
    inserted: list[StoredEvents] = []

    def keep(self: Tables, part: Flush) -> None:
        insert(self, part)
        inserted.extend([*part.events, *(chunk.events(part.marker.partition) for chunk in part.chunks)])

    patch.setattr(Tables, "insert", keep)
    patch.setattr(Tables, "stored_events", lambda self: StoredEvents.concat(inserted))
