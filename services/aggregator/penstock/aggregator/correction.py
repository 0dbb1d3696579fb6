"""What a correction does: whether it has an effect, what its event is from then on, what cells lose and gain. Pure.

The verdict on the record at offset c is a function of what is stored at or below c; cells are judged by the same reader
and tally that the fold uses (DESIGN.md section 3).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from penstock.aggregator.fill import cells_of
from penstock.aggregator.tally import read_batch_properties
from penstock.kernel.cell import CORRECTIONS, Cell, CellKey, merge, retract
from penstock.kernel.control import Correction, EventAmended
from penstock.kernel.correction import Corrected, Refusal, Revision, as_stored
from penstock.kernel.event import Outcome
from penstock.kernel.meter import Metric
from penstock.kernel.quantity import exact


class Change(msgspec.Struct, frozen=True):
    """What one metric's cell loses and gains by a correction; a cell without events is nothing."""

    metric: Metric
    loses: Cell
    gains: Cell


def is_overtaken(control: Correction, earlier: Iterable[Corrected]) -> bool:
    """Whether a later correction of the event came to the log before this one."""
    return any(each.sequence > control.sequence for each in earlier)


def refusal(control: Correction, event: Revision) -> Refusal | None:
    """Why the correction of an event that is there is without effect; None where it has one."""
    if event.outcome is Outcome.VOIDED:
        return Refusal.VOIDED
    if isinstance(control, EventAmended):
        if control.customer not in (None, event.customer):
            return Refusal.OTHER_CUSTOMER
        if control.time_us not in (None, event.time_us):
            return Refusal.OTHER_TIME
    return None


def revised(control: Correction, event: Revision, offset: int, metrics: Iterable[Metric]) -> Revision:
    """The event from the record at `offset` on; `metrics` are those that are folded there."""
    if not isinstance(control, EventAmended):
        return msgspec.structs.replace(event, outcome=Outcome.VOIDED, since=offset)
    amended = msgspec.structs.replace(
        event,
        event_type=event.event_type if control.event_type is None else control.event_type,
        properties=bytes(control.properties),
        outcome=Outcome.UNMATCHED,
        since=offset,
    )
    return msgspec.structs.replace(amended, outcome=_outcome(amended, _looking(metrics, amended)))


def _looking(metrics: Iterable[Metric], event: Revision) -> list[Metric]:
    """The metrics that look at events of this type."""
    return [m for m in metrics if m.tenant == event.tenant and m.event_types.matches(event.event_type)]


def _outcome(event: Revision, metrics: Sequence[Metric]) -> Outcome:
    """As the fold judges a new event."""
    if metrics and read_batch_properties(metrics, [event.properties]).bad[0]:
        return Outcome.QUARANTINED
    is_counted = any(cells_of(metric, [as_stored([event])]) for metric in metrics)
    return Outcome.COUNTED if is_counted else Outcome.UNMATCHED


def changes(metrics: Iterable[Metric], before: Revision, after: Revision) -> dict[CellKey, Change]:
    """What every metric's cells lose and gain. They all stand in one window, of one customer."""
    found: dict[CellKey, Change] = {}
    for metric in metrics:
        if metric.tenant == before.tenant:
            lost, gained = _cells(metric, before), _cells(metric, after)
            for key in lost.keys() | gained.keys():
                found[key] = Change(metric, lost.get(key, Cell()), gained.get(key, Cell()))
    return found


def _cells(metric: Metric, event: Revision) -> dict[CellKey, Cell]:
    return cells_of(metric, [as_stored([event])]) if event.is_countable else {}


def move_key(tenant: str, hour_us: int, before: Outcome, after: Outcome, partition: int) -> CellKey:
    """The cell that counts corrections by which events of an hour of the log clock changed their outcome."""
    return CellKey(tenant, CORRECTIONS, "", hour_us, (before.name, after.name), None, partition)


@exact
def changed(change: Change, held: Cell) -> Cell | None:
    """The cell after the change; None where it must be counted again, from stored events as of the correction."""
    cell = retract(change.metric.aggregation, held, change.loses)
    if cell is not None:
        merge(change.metric.aggregation, cell, change.gains)
    return cell
