"""The simulation turned against itself: each weakening that CORE.md names is a switch here, and each must be caught.

They bend the product's classes, or the store's promises, for one seed; nothing of them is in the product. What needs a
feature that is not there yet comes with it: amendments and voids (stored events updated in place, a deleted cell, a
recompute or an audit of the current state, voided ids forgotten, unique values as rows), backfill layers, settings as
control records, quarantine of chunks, a log that forgets what was read from it.
"""

from __future__ import annotations

import copy
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec
import pyarrow as pa
import pytest

from penstock.aggregator import consume, fold
from penstock.aggregator.consume import Applied, Owner
from penstock.aggregator.fold import Fold, Study
from penstock.aggregator.poison import Poison
from penstock.gateway import coalescer
from penstock.gateway.batch import Batch
from penstock.gateway.dedupe import Window
from penstock.ids import segment
from penstock.kernel.cell import Cell, CellAnswer, CellKey, CellQuestion, merge
from penstock.kernel.event import Outcome
from penstock.kernel.identity import BodyHashes, Identities
from penstock.kernel.idset import IdSet
from penstock.kernel.meter import Aggregation
from penstock.kernel.ports.fold_store import Flush
from penstock.kernel.record import LogRecord
from penstock.kernel.stored import StoredEvents
from simulation import faulty_store, fleet
from simulation.faulty_store import Connection, ReaderView, Tables
from simulation.scenario import Simulation, Weaken
from simulation.world import DAY_US

Patch = pytest.MonkeyPatch
FAR = 2**40


class Weakening(NamedTuple):
    """A switch, the first seed that catches it, and whether rows may be checked as they are written.

    Where a row is wrong by the weakening's very nature, only the store, the reads and the end are.
    """

    weaken: Weaken
    seed: int
    rows_checked: bool = True


WEAKENINGS: dict[str, Weakening] = {}


def weakening(seed: int, rows_checked: bool = True) -> Callable[[Weaken], Weaken]:
    def enter(weaken: Weaken) -> Weaken:
        WEAKENINGS[getattr(weaken, "__name__", "")] = Weakening(weaken, seed, rows_checked)
        return weaken

    return enter


@weakening(seed=0)
def ids_kept_as_long_as_events_are_allowed(patch: Patch, _: Simulation) -> None:
    """34 = 34 counts twice: an event may be a day ahead when it comes."""
    for module in (fold, segment):
        patch.setattr(module, "GENERATIONS_KEPT", 35)


@weakening(seed=6)
def fold_refuses_at_the_gateways_limit(patch: Patch, _: Simulation) -> None:
    """What was answered 200 is refused, for it was appended a little later."""
    patch.setattr(fold, "LATE_US", 34 * DAY_US)


@weakening(seed=0)
def ids_restored_ahead_of_the_marker(patch: Patch, _: Simulation) -> None:
    """Reads without "as of": what is folded again meets its own ids."""

    def ids(
        self: Connection, partition: int, through: int, since_day: int, above: int = -1
    ) -> Iterator[tuple[int, Identities, BodyHashes]]:
        return self._tables.ids(partition, FAR, since_day, above)

    patch.setattr(Connection, "ids", ids)


@weakening(seed=2)
def fill_reads_ahead(patch: Patch, _: Simulation) -> None:
    """A metric that comes later is filled from all that is stored, not from what came before it."""
    _read_ahead(patch, Connection)


@weakening(seed=0)
def ragged_ends_read_ahead(patch: Patch, _: Simulation) -> None:
    """Cells as of the markers, and events that are newer."""
    _read_ahead(patch, ReaderView)


def _read_ahead(patch: Patch, view: type[Connection] | type[ReaderView]) -> None:
    read = view.read_events

    def read_events(self: Any, tenant: str, customers: Any, span: Any, as_of: Any, partition: Any) -> Any:
        return read(self, tenant, customers, span, (FAR,) * len(as_of), partition)

    patch.setattr(view, "read_events", read_events)


@weakening(seed=9)
def cells_read_without_their_markers(patch: Patch, _: Simulation) -> None:
    """Read skew: a cell ahead of the marker hides the value at the marker."""
    read = ReaderView.read_cells

    def read_cells(self: ReaderView, question: CellQuestion) -> CellAnswer:
        return msgspec.structs.replace(read(self, question), versions={})

    patch.setattr(ReaderView, "read_cells", read_cells)


@weakening(seed=0, rows_checked=False)
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


@weakening(seed=2, rows_checked=False)
def absent_cells_are_zero_while_a_metric_is_filled(patch: Patch, _: Simulation) -> None:
    """What the fold writes hides what the fill writes."""
    patch.setattr(consume, "bases", lambda store, filling, keys: {})


@weakening(seed=0, rows_checked=False)
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


@weakening(seed=0)
def raw_append_clock(patch: Patch, _: Simulation) -> None:
    """One broker a year ahead expires every id and makes every event late."""
    patch.setattr(LogRecord, "clock_us", property(lambda record: record.appended_at_us))


@weakening(seed=0)
def clock_that_goes_back(patch: Patch, _: Simulation) -> None:
    """The log clock is that of the last record, not the greatest so far."""
    for module in (fold, consume):
        patch.setattr(module, "max", lambda held, new: new, raising=False)


@weakening(seed=3)
def clock_not_in_the_marker(patch: Patch, _: Simulation) -> None:
    """An owner that starts again has the clock of the next record."""
    patch.setattr(consume, "Fold", lambda *args, **named: Fold(*args, **(named | {"clock_us": 0})))


@weakening(seed=0)
def duplicates_renew_their_ids(patch: Patch, _: Simulation) -> None:
    """An id lives on in memory, but not in what a restart reads."""

    class Renewing(Fold):
        def _judge(self, study: Study, chunk: Any, offsets: Any, indices: Any, clock: Any) -> Any:
            outcomes = super()._judge(study, chunk, offsets, indices, clock)
            again = outcomes == Outcome.DUPLICATE
            if again.any():
                self.ids.add(int(clock.max()) // DAY_US, chunk.identities[again], chunk.body_hashes[again])
            return outcomes

    patch.setattr(consume, "Fold", Renewing)


@weakening(seed=0)
def ids_dropped_at_a_flush(patch: Patch, _: Simulation) -> None:
    """When an id is forgotten depends on how records were batched."""

    class Dropping(Fold):
        def study(self, records: Sequence[LogRecord]) -> Study:
            days: list[int] = []
            with pytest.MonkeyPatch.context() as inside:
                inside.setattr(IdSet, "drop_before", lambda ids, day: days.append(day))
                study = super().study(records)
            for day in days:
                self.ids.drop_before(day)
            return study

    patch.setattr(consume, "Fold", Dropping)


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


@weakening(seed=7, rows_checked=False)
def version_per_part_of_a_record(patch: Patch, _: Simulation) -> None:
    """A record goes into a cell in parts, and after the first the cell seems to have had it."""
    patch.setattr(consume, "Fold", _Piecemeal)


@weakening(seed=1, rows_checked=False)
def no_version_guard(patch: Patch, _: Simulation) -> None:
    """A record is added to a cell that has it already."""

    class Unguarded(_Piecemeal):
        def _before(self, one: Study) -> None:
            for key in one.cell_keys() & self.cells.keys():
                self.cells[key].version = -1

    patch.setattr(consume, "Fold", Unguarded)


@weakening(seed=0, rows_checked=False)
def absent_cells_are_zero(patch: Patch, _: Simulation) -> None:
    """What is not in memory is taken for new, whatever the store has."""
    patch.setattr(Fold, "missing", lambda self, study: [])


@weakening(seed=2, rows_checked=False)
def cells_forgotten_while_they_are_written(patch: Patch, _: Simulation) -> None:
    """The next fold loads what the flush under way is about to replace."""
    take_dirty = Fold.take_dirty

    def take_and_forget(self: Fold) -> dict[CellKey, Cell]:
        changed = take_dirty(self)
        self.forget(consume.CELLS_MAX)
        return changed

    patch.setattr(Fold, "take_dirty", take_and_forget)


@weakening(seed=0, rows_checked=False)
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


@weakening(seed=1, rows_checked=False)
def marker_before_cells(patch: Patch, _: Simulation) -> None:
    """A kill in between, and nobody folds those records again."""
    patch.setattr(faulty_store, "INSERT_ORDER", _moved("marker", before="cells"))


@weakening(seed=4)
def touched_after_the_marker(patch: Patch, _: Simulation) -> None:
    """A kill in between, and nobody hears of the customer."""
    patch.setattr(faulty_store, "INSERT_ORDER", _moved("touched", before=None))


def _moved(name: str, before: str | None) -> tuple[str, ...]:
    order = [each for each in faulty_store.INSERT_ORDER if each != name]
    order.insert(len(order) if before is None else order.index(before), name)
    return tuple(order)


@weakening(seed=1, rows_checked=False)
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


@weakening(seed=8, rows_checked=False)
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


@weakening(seed=0)
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
        self._joined = None

    patch.setattr(Tables, "insert", replace)


@weakening(seed=46)
def controls_applied_again(patch: Patch, _: Simulation) -> None:
    """A copy of a definition that the outbox sent twice brings an archived metric back."""
    patch.setattr(Applied, "is_news", lambda self, control: True)


@weakening(seed=7)
def ids_remembered_before_their_append(patch: Patch, _: Simulation) -> None:
    """A gateway calls the retry of a lost event a duplicate."""

    class Hasty(Batch):
        def __init__(self, tenants: Any, requests: Any, window: Window, log: Any, now_us: int, *limits: int) -> None:
            super().__init__(tenants, requests, window, log, now_us, *limits)
            super().remember(window, now_us // DAY_US)

        def remember(self, window: Window, day: int) -> None:
            """Done already."""

    patch.setattr(coalescer, "Batch", Hasty)
