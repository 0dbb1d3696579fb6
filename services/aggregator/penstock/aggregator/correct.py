"""Apply a correction to a partition: look up its event as of its own offset, decide, and change the cells it touches.

Everything before the record is flushed, so the store at or below it is all there is to know. A cell that another owner,
or a flush cut short, has taken as far is left as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property

import msgspec

from penstock.aggregator.combinations import Newcomers, day_of, stored_members
from penstock.aggregator.correction import Change, changed, changes, is_overtaken, move_key, refusal, revised
from penstock.aggregator.fill import cells_of
from penstock.aggregator.fold import Fold, Study
from penstock.aggregator.layers import counts_in_some
from penstock.kernel.cell import CONSERVATION, Cell, CellKey
from penstock.kernel.control import Correction
from penstock.kernel.correction import Corrected, Refusal, Revision, as_corrected, in_force
from penstock.kernel.identity import Identities, identify, partition_of
from penstock.kernel.ports.usage_store import UsageStore
from penstock.kernel.record import US_PER_DAY, LogIdentity
from penstock.kernel.stored import LogPlace, StoredEvents
from penstock.kernel.window import BASE_WINDOW_US, Span, from_us

# The stored cells among some keys, and those that a fill may still bring.
Load = Callable[[Sequence[CellKey]], Mapping[CellKey, Cell]]


class _Found(msgspec.Struct, frozen=True):
    """The event that a correction addresses, as of the record before it, and where it stands."""

    event: Revision
    place: LogPlace


class Corrector:
    """Of one partition; keeps nothing."""

    def __init__(self, store: UsageStore, identity: LogIdentity, partition: int) -> None:
        self._store, self._identity, self._partition = store, identity, partition

    def apply(self, fold: Fold, control: Correction, offset: int, load: Load) -> Corrected | None:
        """What the control in the record at `offset`, the next one, does; None where its id is known.

        The fold gets the changed cells. Raise `StoreUnavailable`.
        """
        known = self._store.corrections(control.tenant, [control.transaction_id], self._partition, offset - 1)
        if any(each.id == control.id for each in known):
            return None
        found = Refusal.OVERTAKEN if is_overtaken(control, known) else self._find(control, known, offset - 1)
        outcome, revision = None, None
        if isinstance(found, _Found):
            outcome = found.event.outcome
            reason = refusal(control, found.event)
            if reason is None and counts_in_some(fold.layers, found.event):
                reason = Refusal.BACKFILLED
            if reason is None:
                revision = revised(control, found.event, offset, fold.metrics.values())
                self._change(fold, found, revision, load)
        else:
            reason = found
        return Corrected(
            self._partition,
            offset,
            control.id,
            control.sequence,
            control.tenant,
            control.transaction_id,
            reason,
            outcome,
            revision,
        )

    def _find(self, control: Correction, known: Sequence[Corrected], through: int) -> _Found | Refusal:
        """The last event of the id at or below `through`, as it is then."""
        identities = identify(self._identity.hash_key, control.tenant, [control.transaction_id])
        traces = self._store.traces(self._partition, identities, through)
        if not traces or not traces[0].kept:
            return Refusal.SEALED if self._is_inherited(identities) else Refusal.NO_EVENT
        place = traces[0].kept[-1]
        event = self._store.events_at(control.tenant, [place])
        if not len(event):
            return Refusal.NOT_KEPT
        original = Revision.original(event)
        return _Found(in_force(known, original.place, through) or original, place)

    def _is_inherited(self, identities: Identities) -> bool:
        """Whether the event is in a sealed log that this one follows. Nobody folds its cells any more."""
        for log in self._identity.logs:
            partition = log[int(partition_of(identities, len(log))[0])]
            marker = None if log == self._identity.own else self._store.marker(partition)
            if marker is not None and any(t.kept for t in self._store.traces(partition, identities, marker.offset)):
                return True
        return False

    def _change(self, fold: Fold, found: _Found, after: Revision, load: Load) -> None:
        """Put what the correction makes of its cells into the fold."""
        touched = self._admitted(fold, changes(fold.metrics.values(), found.event, after), after.since)
        moved = self._moved(found, after)
        wanted = [*touched, *moved]
        fold.cells.update(load(fold.absent(wanted)))
        behind = [key for key in wanted if fold.cells.get(key, Cell()).version < after.since]
        recount = _Recount(self._store, self._identity.end, after)
        made = {key: _made(touched.get(key), fold.cells.get(key, Cell()), key, recount) for key in behind}
        for cell in made.values():
            cell.version = after.since
        fold.replace(made)

    def _admitted(self, fold: Fold, touched: Mapping[CellKey, Change], offset: int) -> dict[CellKey, Change]:
        """Without the cells beyond their metric's group combinations of the day: those are not written."""
        newcomers: Newcomers = {}
        for key, change in touched.items():
            if change.metric.group_keys and key not in fold.cells:
                newcomers.setdefault(day_of(key), {})[key.groups] = offset
        study = Study()
        study.newcomers = newcomers
        stored = {
            day: stored_members(self._store, day, 1, self._partition).get(day.start_us, set())
            for day in fold.unknown_days(study)
        }
        refused = fold.combinations.admit(newcomers, stored, fold.metrics)
        return {key: change for key, change in touched.items() if key.groups not in refused.get(day_of(key), ())}

    def _moved(self, found: _Found, after: Revision) -> list[CellKey]:
        """The cell that counts corrections of this outcome to that, in the hour of the log clock of the event."""
        if found.event.outcome is after.outcome:
            return []
        day_us = found.place.day * US_PER_DAY
        of_day = (day_us, day_us + US_PER_DAY)
        told = self._store.stored_cells(after.tenant, CONSERVATION, ("",), of_day, self._partition)
        # The record left a cell in its hour, at its offset or later; those of earlier hours end before it.
        hour_us = min((k.window_us for k, cell in told.items() if cell.version >= after.offset), default=day_us)
        return [move_key(after.tenant, hour_us, found.event.outcome, after.outcome, self._partition)]


class _Recount:
    """The events of the window and customer of a correction, as of the correction: read only where they are needed."""

    def __init__(self, store: UsageStore, partitions: int, after: Revision) -> None:
        self._store, self._partitions, self._after = store, partitions, after
        self._counted: dict[str, dict[CellKey, Cell]] = {}

    @cached_property
    def _events(self) -> list[StoredEvents]:
        after = self._after
        start_us = after.time_us // BASE_WINDOW_US * BASE_WINDOW_US
        span = Span(from_us(start_us), from_us(start_us + BASE_WINDOW_US))
        as_of = tuple(after.since - 1 if p == after.partition else -1 for p in range(self._partitions))
        read = self._store.read_events(after.tenant, (after.customer,), span, as_of, after.partition)
        return list(as_corrected(read, [after]))

    def cell(self, change: Change, key: CellKey) -> Cell:
        """The cell, counted again."""
        metric = change.metric
        if metric.id not in self._counted:
            self._counted[metric.id] = cells_of(metric, self._events)
        return self._counted[metric.id].get(key, Cell())


def _made(change: Change | None, held: Cell, key: CellKey, recount: _Recount) -> Cell:
    if change is None:  # a move between outcomes
        return Cell(events=held.events + 1)
    cell = changed(change, held)
    return recount.cell(change, key) if cell is None else cell
