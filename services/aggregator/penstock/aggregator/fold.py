"""THE VERB: fold log records of one partition into cells. Pure and deterministic; the shell reads and writes.

`Fold.study` decides what became of every event (exact dedupe, age, quarantine) and what the metrics take from them;
`Fold.admit` bounds their group combinations; `Fold.missing` names the stored cells it needs; `Fold.apply` adds up. A
record goes into a cell as a whole, and only if its offset is above the cell's version, so that a replay, a zombie or a
half-written flush changes nothing (DESIGN.md section 3).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from copy import copy

import numpy as np
import numpy.typing as npt

from penstock.aggregator.combinations import Combinations, Groups, MetricDay, Newcomers, day_of
from penstock.aggregator.fill import Filling
from penstock.aggregator.layers import age_limits, followed
from penstock.aggregator.poison import Poison, chunk_of
from penstock.aggregator.tally import Batch, Contribution, Rows, read_batch_properties, tally
from penstock.kernel.cell import CONSERVATION, Cell, CellKey, merge
from penstock.kernel.chunk import Chunk
from penstock.kernel.event import BACKDATE_DAYS_MAX, FOLD_SLACK_HOURS, GENERATIONS_KEPT, Outcome, Verdict
from penstock.kernel.idset import IdSet
from penstock.kernel.layer import LayerLife, tenant_of
from penstock.kernel.meter import Aggregation, Metric
from penstock.kernel.quantity import exact
from penstock.kernel.record import US_PER_DAY, Kind, LogRecord
from penstock.kernel.stored import DroppedIds, StoredEvents, StoredIds
from penstock.kernel.stored_chunk import WHOLE_EVENTS_MIN, StoredChunk

US_PER_HOUR = 3_600_000_000
NEVER = 2**63  # above every offset
LATE_US = BACKDATE_DAYS_MAX * US_PER_DAY + FOLD_SLACK_HOURS * US_PER_HOUR


class Study:
    """What some records bring: events and ids to store, and what each metric takes. `offsets` has one per event."""

    def __init__(self) -> None:
        self.events: list[StoredEvents] = []
        self.chunks: list[StoredChunk] = []
        self.ids: list[StoredIds] = []
        self.dropped: list[DroppedIds] = []
        self.poison: list[Poison] = []
        self.parts: list[tuple[Contribution, npt.NDArray[np.int64]]] = []
        self.conservation: list[tuple[CellKey, int, int]] = []  # cell, record offset, events
        self.touched: set[tuple[str, str]] = set()  # tenant, customer key
        self.newcomers: Newcomers = {}  # group combinations of cells that are not in memory

    def cell_keys(self) -> set[CellKey]:
        found = {key for contribution, _ in self.parts for key in contribution.keys}
        found.update(key for key, _, _ in self.conservation)
        return found


class Fold:
    """The state of one partition as of `offset`: cells, ids, metrics and clock, all a function of the log's prefix.

    `partial` are the windows (start, in microseconds) of which the store may hold cells that are not in memory; a cell
    of any other window that is not in memory does not exist. `filling` are the metrics whose cells as of their control
    records are still being written: what the store does not hold of those is computed from stored events. `layers` are
    those of backfills, by scope.
    """

    def __init__(
        self,
        partition: int,
        *,
        offset: int = -1,
        clock_us: int = 0,
        ids: IdSet | None = None,
        metrics: Mapping[str, Metric] | None = None,
        partial: set[int] | None = None,
        filling: Mapping[str, Filling] | None = None,
        layers: Mapping[str, LayerLife] | None = None,
    ) -> None:
        self.partition = partition
        self.offset = offset
        self.clock_us = clock_us
        self.ids = ids if ids is not None else IdSet()
        self.metrics = dict(metrics or {})
        self.cells: dict[CellKey, Cell] = {}
        self.dirty: set[CellKey] = set()
        self.combinations = Combinations(partition)
        self.partial = partial if partial is not None else set()
        self.filling = dict(filling or {})
        self.layers = dict(layers or {})

    @exact
    def study(self, records: Sequence[LogRecord]) -> Study:
        """Judge the events of consecutive chunk and tick records above `offset`; advances ids, clock and offset."""
        study = Study()
        run: list[tuple[LogRecord, Chunk]] = []
        clocks: list[int] = []
        for record in records:
            assert record.offset == self.offset + 1, f"offset {record.offset} after {self.offset}: not contiguous"
            assert record.kind is not Kind.CONTROL, "the shell applies control records between studies"
            if record.clock_us // US_PER_DAY > self.clock_us // US_PER_DAY:
                self._study_run(study, run, clocks)
                run, clocks = [], []
            self.move_clock(record.clock_us)
            self.offset = record.offset
            chunk = chunk_of(record)
            if isinstance(chunk, str):
                study.poison.append((record, chunk))
            elif chunk is not None:
                run.append((record, chunk))
                clocks.append(self.clock_us)
        self._study_run(study, run, clocks)
        self._find_newcomers(study)
        return study

    def move_clock(self, clock_us: int) -> None:
        """Generations drop between two records, never at a flush: a copy is known or out of range, for ever."""
        day_before = self.clock_us // US_PER_DAY
        self.clock_us = max(self.clock_us, clock_us)
        if self.clock_us // US_PER_DAY != day_before:
            self.ids.drop_before(self.clock_us // US_PER_DAY - GENERATIONS_KEPT + 1)

    def _study_run(self, study: Study, run: Sequence[tuple[LogRecord, Chunk]], clocks: Sequence[int]) -> None:
        """Judge the events of chunks that share one generation."""
        if not run:
            return
        chunks = [chunk for _, chunk in run]
        sizes = [len(c) for c in chunks]
        chunk = Chunk.concat(chunks)
        offsets = np.repeat(np.array([r.offset for r, _ in run], np.int64), sizes)
        indices = np.concatenate([np.arange(n) for n in sizes]).astype(np.int64)
        clock = np.repeat(np.array(clocks, np.int64), sizes)
        outcomes = self._judge(study, chunk, offsets, indices, clock)
        fresh = np.flatnonzero(outcomes == Outcome.UNMATCHED)
        kept = chunk if len(fresh) == len(chunk) else chunk.take(fresh)
        outcomes[fresh] = self._tally(study, kept, offsets[fresh])
        for scope, rows in followed(self.layers, kept) if self.layers else ():
            self._tally(study, kept.take(rows), offsets[fresh][rows], scope)
        self._conserve(study, chunk, outcomes, offsets, clock)
        rows = fresh[np.repeat([n < WHOLE_EVENTS_MIN for n in sizes], sizes)[fresh]]
        if len(rows):
            study.events.append(
                StoredEvents.of_chunk(chunk.take(rows), self.partition, offsets[rows], indices[rows], outcomes[rows])
            )
        day = clocks[-1] // US_PER_DAY  # a run has one day
        for (record, part), end in zip(run, np.cumsum(sizes).tolist(), strict=True):
            if len(part) >= WHOLE_EVENTS_MIN:
                became = outcomes[end - len(part) : end]
                study.chunks.append(StoredChunk.of(day, record.offset, record.payload, part, became))

    def _judge(
        self, study: Study, chunk: Chunk, offsets: Rows, indices: Rows, clock: npt.NDArray[np.int64]
    ) -> npt.NDArray[np.uint8]:
        """An `Outcome` per event, UNMATCHED for those still to be tallied; remembers the new ids."""
        outcomes = np.full(len(chunk), Outcome.UNMATCHED, np.uint8)
        since_us = age_limits(self.layers, chunk) if self.layers else chunk.times_us
        outcomes[since_us < clock - LATE_US] = Outcome.LATE
        judged = np.flatnonzero(outcomes == Outcome.UNMATCHED)
        identities, bodies = chunk.identities[judged], chunk.body_hashes[judged]
        verdicts = self.ids.probe(identities, bodies)
        outcomes[judged[verdicts == Verdict.DUPLICATE]] = Outcome.DUPLICATE
        outcomes[judged[verdicts == Verdict.CONFLICT]] = Outcome.CONFLICT
        new = verdicts == Verdict.ACCEPTED
        day = int(clock.max(initial=0)) // US_PER_DAY  # a run has one day
        times_us = chunk.times_us
        if new.any():
            self.ids.add(day, identities[new], bodies[new])
            at = judged[new]
            study.ids.append(StoredIds(day, identities[new], bodies[new], offsets[at], indices[at], times_us[at]))
        at = np.flatnonzero(outcomes != Outcome.UNMATCHED)
        if len(at):
            study.dropped.append(
                DroppedIds(day, chunk.identities[at], outcomes[at], offsets[at], indices[at], times_us[at])
            )
        return outcomes

    def _tally(
        self, study: Study, chunk: Chunk, offsets: Rows, scope: str | None = None
    ) -> npt.NDArray[np.uint8]:
        """Let every metric take what it wants of new events, into `scope` or their own; return each one's outcome."""
        outcomes = np.full(len(chunk), Outcome.UNMATCHED, np.uint8)
        if not len(chunk):
            return outcomes
        for batch, metrics in _batches(chunk, self.partition, list(self.metrics.values()), scope):
            outcomes[batch.rows[batch.properties.bad]] = Outcome.QUARANTINED
            for metric in metrics:
                taken = tally(metric, batch)
                if taken is not None:
                    study.parts.append((taken, offsets))
                    outcomes[taken.rows] = Outcome.COUNTED
        tenants, tenant_names = chunk.codes("tenant")
        customers, customer_names = chunk.codes("customer")
        pairs = np.unique(tenants.astype(np.int64) * len(customer_names) + customers).tolist()
        study.touched.update(
            (tenant_of(tenant_names[p // len(customer_names)]), customer_names[p % len(customer_names)]) for p in pairs
        )
        return outcomes

    def _conserve(
        self, study: Study, chunk: Chunk, outcomes: npt.NDArray[np.uint8], offsets: Rows, clock: npt.NDArray[np.int64]
    ) -> None:
        """Count what became of every event, by tenant and hour of the log clock, record by record."""
        if not len(chunk):
            return
        tenants, names = chunk.codes("tenant")
        kinds = len(names) * len(Outcome)
        place = (offsets - offsets[0]) * kinds + tenants * len(Outcome) + outcomes
        counts = np.bincount(place)
        for at in np.flatnonzero(counts).tolist():
            record, kind = divmod(at, kinds)
            tenant, outcome = divmod(kind, len(Outcome))
            hour = int(clock[np.searchsorted(offsets, offsets[0] + record)]) // US_PER_HOUR * US_PER_HOUR
            key = CellKey(names[tenant], CONSERVATION, "", hour, (Outcome(outcome).name,), None, self.partition)
            study.conservation.append((key, int(offsets[0]) + record, int(counts[at])))

    def _find_newcomers(self, study: Study) -> None:
        """A cell in memory was let in; of the others, who they are and the first record that brings each."""
        for contribution, offsets in study.parts:
            if not contribution.metric.group_keys:
                continue
            absent = [at for at, key in enumerate(contribution.keys) if key not in self.cells]
            first = contribution.firsts(offsets) if absent else []
            of_window: dict[int, dict[Groups, int]] = {}  # a day's newcomers, by each of its windows
            for at in absent:
                key, offset = contribution.keys[at], first[at]
                newcomers = of_window.get(key.window_us)
                if newcomers is None:
                    newcomers = of_window[key.window_us] = study.newcomers.setdefault(day_of(key), {})
                if offset < newcomers.get(key.groups, NEVER):
                    newcomers[key.groups] = offset

    def unknown_days(self, study: Study) -> list[MetricDay]:
        """The days of newcomers of which the store may hold combinations that are not in memory."""
        return [d for d in study.newcomers if d not in self.combinations and d.start_us in self.partial]

    def admit(self, study: Study, stored: Mapping[MetricDay, set[str]]) -> None:
        """Take out of the study what goes beyond its metric's group combinations of a day; the events stay counted.

        `stored` has the combinations of every day of `unknown_days(study)`. Comes before `missing`.
        """
        refused = self.combinations.admit(study.newcomers, stored, self.metrics)
        if not refused:
            return
        parts, study.parts = study.parts, []
        for contribution, offsets in parts:
            here = contribution.keys[0].tenant, contribution.metric.id
            beyond = {day.start_us: groups for day, groups in refused.items() if (day.tenant, day.metric) == here}
            kept = [k.groups not in beyond.get(k.window_us - k.window_us % US_PER_DAY, ()) for k in contribution.keys]
            if any(kept):
                study.parts.append((contribution if all(kept) else contribution.only(kept), offsets))

    def missing(self, study: Study) -> list[CellKey]:
        """The cells that the study touches, that the store may hold or a fill may still bring, and not in memory."""
        return self.absent(study.cell_keys())

    def absent(self, keys: Iterable[CellKey]) -> list[CellKey]:
        """Those of `keys` that are not in memory, although there may be such a cell."""
        return [
            k for k in keys if k not in self.cells and (k.window_us in self.partial or k.metric in self.filling)
        ]

    @exact
    def apply(self, study: Study, loaded: Mapping[CellKey, Cell]) -> None:
        """Add the study to the cells. `loaded` has every cell of `missing(study)` that there is, at any version."""
        self.cells.update(loaded)
        # A record comes in parts, one for each of its event types, and goes into a cell as a whole: what guards the
        # cell is the version that it had before all of them.
        before: dict[CellKey, int] = {}
        for contribution, offsets in study.parts:
            self._add(contribution, offsets, before)
        for key, offset, count in study.conservation:
            cell = self.cells.setdefault(key, Cell())
            if offset > cell.version:
                merge(Aggregation.COUNT, cell, Cell(events=count, version=offset))
                self.dirty.add(key)

    def _add(self, contribution: Contribution, offsets: Rows, before: dict[CellKey, int]) -> None:
        event_offsets = offsets[contribution.rows]
        targets = [self.cells.setdefault(key, Cell()) for key in contribution.keys]
        held = [before.setdefault(k, t.version) for k, t in zip(contribution.keys, targets, strict=True)]
        versions = np.array(held, np.int64)
        keep = None
        if int(versions.max()) >= int(event_offsets.min()):
            # A cell that another owner, or a flush cut short, has already taken further than this record.
            keep = event_offsets > versions[contribution.cell]
        newest = np.full(len(targets), -1, np.int64)
        np.maximum.at(newest, contribution.cell, event_offsets)
        aggregation = contribution.metric.aggregation
        for key, target, gain, version, old in zip(
            contribution.keys, targets, contribution.cells(keep), newest.tolist(), held, strict=True
        ):
            if version > old:
                gain.version = version
                merge(aggregation, target, gain)
                self.dirty.add(key)

    def replace(self, cells: Mapping[CellKey, Cell]) -> None:
        """Put cells as a correction leaves them; each has the correction's offset as its version."""
        self.cells.update(cells)
        self.dirty |= cells.keys()

    def take_dirty(self) -> dict[CellKey, Cell]:
        """Copies of the cells that changed since the last call; the caller stores them while the fold goes on."""
        changed = {key: copy(self.cells[key]) for key in self.dirty}
        self.dirty = set()
        return changed | self.combinations.take_new()

    def forget(self, cells_max: int) -> None:
        """Drop clean cells, oldest windows first, when there are more than `cells_max`; they are loaded when needed."""
        self.partial |= self.combinations.forget(cells_max)
        if len(self.cells) <= cells_max:
            return
        windows = sorted({key.window_us for key in self.cells})
        old = set(windows[: len(windows) // 2])  # the newest stays: it would be loaded again by the next record
        self.partial |= old
        self.cells = {k: c for k, c in self.cells.items() if k.window_us not in old or k in self.dirty}


def _batches(
    chunk: Chunk, partition: int, metrics: Sequence[Metric], scope: str | None
) -> list[tuple[Batch, list[Metric]]]:
    """The events of a chunk by scope and event type, with the metrics that look at that type."""
    tenants, tenant_names = chunk.codes("tenant")
    types, type_names = chunk.codes("event_type")
    customers, customer_names = chunk.codes("customer")
    both = tenants.astype(np.int64) * len(type_names) + types
    out = []
    for pair in np.unique(both).tolist():
        tenant, event_type = tenant_names[pair // len(type_names)], type_names[pair % len(type_names)]
        owner = tenant_of(tenant)
        wanted = [m for m in metrics if m.tenant == owner and m.event_types.matches(event_type)]
        if not wanted:
            continue
        rows = np.flatnonzero(both == pair)
        part = chunk if len(rows) == len(chunk) else chunk.take(rows)
        properties = read_batch_properties(wanted, part.properties)
        codes = (customers[rows], customer_names)
        out.append((Batch(scope or tenant, partition, rows, codes, part.times_us, part.ids, properties), wanted))
    return out
