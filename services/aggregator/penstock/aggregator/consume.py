"""The shell around the fold: one owner per partition reads the log, folds, flushes, and starts again from its marker.

Everything in memory is a function of the log's prefix, so whatever goes wrong, the owner forgets it and restores. While
one flush is written the next records are folded: the engine writes without the interpreter. Control records are
applied between two folds, with everything before them flushed.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Mapping, Sequence

import msgspec

from penstock.aggregator.applied import Applied, apply_definition
from penstock.aggregator.combinations import MetricDay, stored_members
from penstock.aggregator.correct import Corrector
from penstock.aggregator.fill import Filling, bases
from penstock.aggregator.fill_job import FillJob
from penstock.aggregator.fold import Fold
from penstock.aggregator.heritage import Heritage, SealReached
from penstock.aggregator.layers import apply_layer, of_tenant
from penstock.aggregator.poison import Poison
from penstock.aggregator.quarantine import Quarantine
from penstock.aggregator.retention import trim_older
from penstock.ids.memory import MemoryShelf
from penstock.kernel.cell import FILLED_US, Cell, CellKey
from penstock.kernel.control import Correction, MetricDefined, decode_control
from penstock.kernel.layer import LayerLife
from penstock.kernel.meter import Metric
from penstock.kernel.ports.event_log import EventLog, LogDamaged
from penstock.kernel.ports.fold_store import Flush, IdShelf
from penstock.kernel.ports.usage_store import UsageStore
from penstock.kernel.problems import LogUnavailable, Problem, Refused
from penstock.kernel.record import Kind, LogIdentity, LogRecord, Marker
from penstock.kernel.window import BASE_WINDOW_US

READ_BYTES_MAX = 16 * 2**20
# A record holds at most some 1.5 MiB when it is unpacked; this many bound the memory of one step.
RECORDS_PER_STEP_MAX = 256
FLUSH_EVERY_MS = 500
READ_WAIT_MS = 1_000
RETRY_DELAY_MS = 500
CELLS_MAX = 200_000
MARKER_EVERY_US = 1_000_000  # of log clock: a quiet partition's marker need not be written for every tick at once

logger = logging.getLogger(__name__)


class WrongLog(Refused):
    """The usage store was folded from another log than this one. Refused: its offsets would lie."""


class _Folded(msgspec.Struct):
    """What a fold took from the log: how many records, the last one, and what is to be written for them."""

    records: int
    newest: LogRecord
    flush: Flush | None
    poison: Sequence[Poison] = ()


class Owner:
    """The one writer of a partition's cells in this process. `run` never returns unless cancelled or refused."""

    def __init__(
        self,
        partition: int,
        log: EventLog,
        store: UsageStore,
        retention_us: int,
        shelf: IdShelf | None = None,
        quarantine: Quarantine | None = None,
    ) -> None:
        self.partition = partition
        self._log = log
        self._store = store
        self._shelf = shelf or MemoryShelf(partition)
        self._quarantine = quarantine
        self._retention_us = retention_us
        self._fold = Fold(partition)
        self._filler = FillJob(store)
        self._heritage = Heritage(store, log.identity, partition)
        self._applied = Applied(set(), {})
        self._marker: Marker | None = None
        self._trimmed_at_us = 0
        self._stepped_at_ns = 0
        self._is_behind = False
        self.restores = 0
        self.quarantined = 0
        self._stopping = self._released = False
        self.is_sealed = False  # whether the log's last record is folded
        self._writing: asyncio.Task[None] | None = None
        self._folding_since_us = 0
        self._writing_since_us = 0

    @property
    def offset(self) -> int:
        """The last offset that is folded and flushed, -1 for none."""
        return self._marker.offset if self._marker else -1

    @property
    def reached(self) -> int:
        """The last offset that is folded, flushed or not, -1 for none."""
        return self._fold.offset

    @property
    def clock_us(self) -> int:
        return self._marker.clock_us if self._marker else 0

    @property
    def folding_since_us(self) -> int:
        """When the oldest record that is being folded or flushed was appended; 0 while none is."""
        return self._writing_since_us or self._folding_since_us

    async def run(self) -> None:
        """Own the partition until `stop`. A passing error is logged, and the owner starts again from its marker.

        What ends the fold ends the fill, and a bug that ends the fill ends the fold: neither goes on unnoticed.
        """
        folding = asyncio.create_task(self._keep_folding())
        filling = asyncio.create_task(self._filler.run(self._next_fill))
        try:
            await asyncio.wait((folding, filling), return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._filler.stop()
            if not folding.done():
                folding.cancel()
            await asyncio.gather(folding, filling, return_exceptions=True)
        for ended in (filling, folding):
            if not ended.cancelled():
                ended.result()

    async def _keep_folding(self) -> None:
        while True:
            try:
                await self.restore()
                while not self._released and (await self.step_ahead(READ_WAIT_MS) or not self._stopping):
                    await self._gather()
                    if self.is_sealed:
                        await self._written()
                        raise SealReached(self.partition)
                await self._written()
                return
            except (Problem, OSError, MemoryError) as exc:
                logger.warning("partition %d starts again from its marker: %s", self.partition, exc)
                if self._stopping:
                    return  # what is not folded now is folded after the next start
                await asyncio.sleep(RETRY_DELAY_MS / 1000)

    async def _gather(self) -> None:
        """Let records gather: a flush costs the engine as much for ten events as for a thousand. Never when behind."""
        rest_ms = FLUSH_EVERY_MS - (time.monotonic_ns() - self._stepped_at_ns) // 1_000_000
        if rest_ms > 0 and not self._is_behind and not self._stopping:
            await asyncio.sleep(rest_ms / 1000)

    def stop(self) -> None:
        """Let `run` return when it has folded what the log holds."""
        self._stopping = True

    def release(self) -> None:
        """Let `run` return after the flush under way: another process owns the partition now."""
        self._stopping = self._released = True

    async def restore(self) -> None:
        """Forget what is in memory; read the state as of the marker."""
        with contextlib.suppress(Problem):  # it changes nothing any more: whatever was written, the marker tells
            await self._written()
        self._folding_since_us = self._writing_since_us = 0
        marker = await asyncio.to_thread(self._store.marker, self.partition)
        self.is_sealed = False
        if marker is not None:
            await self._check(marker)
        self._fold, self._applied = await asyncio.to_thread(self._restored, marker)
        self._marker = marker
        self.restores += 1
        self._filler.look()  # what another owner, or this one before it started again, has left to fill

    async def _check(self, marker: Marker) -> None:
        identity = self._log.identity
        first, end = await self._log.bounds(self.partition)
        if (marker.log_id, marker.partitions) != (identity.log_id, identity.partitions):
            raise WrongLog(f"the store was folded from log {marker.log_id} with {marker.partitions} partitions")
        if first > marker.offset + 1 or end <= marker.offset:
            raise WrongLog(f"{marker}, but the log holds offsets {first} to {end - 1}")
        if first <= marker.offset:
            records = await self._log.read(self.partition, marker.offset, 1, 0)
            if not records:
                raise LogUnavailable(f"the log did not give the record at the marker of partition {self.partition}")
            if records[0].digest() != marker.digest:
                raise WrongLog(f"{marker}, but the log's record there is another one")
            self.is_sealed = records[0].kind is Kind.SEAL

    def _restored(self, marker: Marker | None) -> tuple[Fold, Applied]:
        fills = self._store.fills(self.partition)  # first: whatever is filled by now has all of its windows
        windows = self._store.windows(self.partition)
        applied = Applied(set(), {})
        heritage = self._heritage
        heritage.read()
        ids = self._shelf.restore(marker or heritage.begin(), heritage)
        if marker is None:
            return Fold(self.partition, clock_us=heritage.clock_us, ids=ids, partial=windows), applied
        metrics: dict[str, Metric] = {}
        filling: dict[str, Filling] = {}
        layers: dict[str, LayerLife] = {}
        for offset, payload in self._store.controls(self.partition, marker.offset):
            control = decode_control(payload)
            if applied.is_news(control):
                apply_definition(metrics, control)
                apply_layer(layers, control, offset)
                if isinstance(control, MetricDefined):
                    filling[control.metric.id] = self._filling(control.metric, offset, layers)
                    heritage.define(control.metric)
        fold = Fold(
            self.partition,
            offset=marker.offset,
            clock_us=marker.clock_us,
            ids=ids,
            metrics=metrics,
            partial=windows,
            filling={id: each for id, each in filling.items() if fills.get((self.partition, id)) != FILLED_US},
            layers=layers,
        )
        return fold, applied

    def _filling(self, metric: Metric, offset: int, layers: Mapping[str, LayerLife]) -> Filling:
        return Filling(metric, offset, self.partition, self._log.identity.end, of_tenant(layers, metric.tenant))

    async def fill(self) -> bool:
        """Write the next batch of cells of a metric that came after its events; return whether there was one."""
        due = self._next_fill()
        if due is not None:
            await asyncio.to_thread(self._filler.step, due)
        return due is not None

    def _next_fill(self) -> Filling | None:
        due = next((f for f in list(self._fold.filling.values()) if self._filler.is_due(f, self.offset)), None)
        # A sealed partition is folded to its end: nothing need be waited for.
        return due or next((f for f in self._heritage.unfilled if self._filler.is_due(f, f.offset)), None)

    async def step(self, wait_ms: int) -> int:
        """Fold and flush what the log has, up to the next control record; return how many records that were."""
        folded = await self._fold_next(wait_ms)
        if folded is None:
            return 0
        await self._write(folded)
        return folded.records

    async def step_ahead(self, wait_ms: int) -> int:
        """As `step`, but the flush is written while the next records are folded; all is flushed when it returns 0."""
        folded = await self._fold_next(wait_ms)
        await self._written()  # one flush at a time, in order; where it failed, this one must not follow
        if folded is None:
            return 0
        self._writing = asyncio.create_task(self._write(folded))
        return folded.records

    async def _written(self) -> None:
        """Wait for the flush under way. Raise what it raised."""
        writing, self._writing = self._writing, None
        if writing is not None:
            await writing

    async def _fold_next(self, wait_ms: int) -> _Folded | None:
        if self.is_sealed:
            return None
        records = await self._log.read(self.partition, self._fold.offset + 1, READ_BYTES_MAX, wait_ms)
        if not records:
            return None
        self._stepped_at_ns = time.monotonic_ns()
        read_bytes = sum(len(record.payload) for record in records)
        self._is_behind = len(records) > RECORDS_PER_STEP_MAX or read_bytes > READ_BYTES_MAX // 2
        records = records[:RECORDS_PER_STEP_MAX]
        seal = next((at for at, record in enumerate(records) if record.kind is Kind.SEAL), None)
        if seal is not None:
            records = records[: seal + 1]  # ticks may come behind it
        self._folding_since_us = records[0].appended_at_us
        plain = next((i for i, r in enumerate(records) if r.kind is Kind.CONTROL), len(records))
        if plain:
            self.is_sealed = records[plain - 1].kind is Kind.SEAL
            poison: list[Poison] = []
            flush = await asyncio.to_thread(self._fold_records, records[:plain], poison)
            return _Folded(plain, records[plain - 1], flush, poison)
        await self._written()  # what comes after the record may read the events before it from the store
        return _Folded(1, records[0], await asyncio.to_thread(self._apply_control, records[0]))

    async def _write(self, folded: _Folded) -> None:
        self._writing_since_us, self._folding_since_us = self._folding_since_us, 0
        await self._put_away(folded.poison)
        if folded.flush is not None:
            await asyncio.to_thread(self._store.flush, folded.flush)
            self._marker = folded.flush.marker
            if folded.flush.controls:
                self._filler.look()
        self._writing_since_us = 0
        await self._trim(folded.newest)

    def _fold_records(self, records: Sequence[LogRecord], poison: list[Poison]) -> Flush | None:
        fold = self._fold
        study = fold.study(records)
        poison += study.poison
        self._notice_filled()
        fold.admit(study, {day: self._members(day) for day in fold.unknown_days(study)})
        fold.apply(study, self._loaded(fold.missing(study)))
        if all(r.kind is Kind.TICK for r in records) and self._is_marker_fresh(fold.clock_us):
            return None
        fold.forget(CELLS_MAX)
        marker = marker_at(records[-1], self._log.identity, fold.clock_us)
        self._shelf.tend(fold.ids, marker)
        return Flush(
            tuple(study.events),
            tuple(study.ids),
            (),
            frozenset(study.touched),
            fold.take_dirty(),
            marker,
            tuple(study.dropped),
            tuple(study.chunks),
        )

    def _notice_filled(self) -> None:
        """Metrics whose cells as of their records are all written: from now on an absent cell of theirs is zero."""
        fold = self._fold
        fills = self._store.fills(self.partition) if fold.filling else {}
        filled = [metric_id for metric_id in fold.filling if fills.get((self.partition, metric_id)) == FILLED_US]
        for metric_id in filled:
            del fold.filling[metric_id]
        if filled:
            fold.partial |= self._store.windows(self.partition)

    def _members(self, day: MetricDay) -> set[str]:
        return stored_members(self._store, day, 1, self.partition).get(day.start_us, set())

    def _loaded(self, missing: Sequence[CellKey]) -> dict[CellKey, Cell]:
        """What there is of cells that are not in memory. Whether they are filled was asked before they are looked up.

        In the other order, a fill that ends in between would leave a cell absent that is not zero.
        """
        loaded = self._store.load_cells(missing) if missing else {}
        filling = self._fold.filling
        return loaded | bases(self._store, filling, [k for k in missing if k not in loaded and k.metric in filling])

    async def _put_away(self, poison: Sequence[Poison]) -> None:
        """Keep what cannot be read, before the marker passes it."""
        for record, reason in poison:
            if self._quarantine is None:
                raise LogDamaged(f"partition {record.partition}, offset {record.offset}: {reason}")
            await self._quarantine.keep(record, reason)
            self.quarantined += 1
            logger.error("partition %d, offset %d is in quarantine: %s", record.partition, record.offset, reason)

    def _is_marker_fresh(self, clock_us: int) -> bool:
        return self._marker is not None and clock_us - self._marker.clock_us < MARKER_EVERY_US

    def _apply_control(self, record: LogRecord) -> Flush:
        """Apply one control record, everything before it being flushed. A metric is filled by a job of its own."""
        fold = self._fold
        control = decode_control(record.payload)
        if isinstance(control, Correction):
            return self._correct(control, record)
        if self._applied.is_news(control):
            apply_definition(fold.metrics, control)
            apply_layer(fold.layers, control, record.offset)
            if isinstance(control, MetricDefined):
                fold.filling[control.metric.id] = self._filling(control.metric, record.offset, fold.layers)
                self._heritage.define(control.metric)
        fold.offset = record.offset
        fold.move_clock(record.clock_us)
        marker = marker_at(record, self._log.identity, fold.clock_us)
        return Flush((), (), ((record.offset, record.payload),), frozenset(), {}, marker)

    def _correct(self, control: Correction, record: LogRecord) -> Flush:
        """Apply one correction. It is stored with what became of it, so it is not among the stored controls."""
        fold = self._fold
        self._notice_filled()
        corrector = Corrector(self._store, self._log.identity, self.partition)
        corrected = corrector.apply(fold, control, record.offset, self._loaded)
        fold.offset = record.offset
        fold.move_clock(record.clock_us)
        marker = marker_at(record, self._log.identity, fold.clock_us)
        found = () if corrected is None else (corrected,)
        touched = frozenset((c.tenant, c.revision.customer) for c in found if c.revision is not None)
        return Flush((), (), (), touched, fold.take_dirty(), marker, corrections=found)

    async def _trim(self, newest: LogRecord) -> None:
        """Once an hour of log time, let the log forget what is folded and older than its retention."""
        if newest.appended_at_us - self._trimmed_at_us < 4 * BASE_WINDOW_US:
            return
        self._trimmed_at_us = newest.appended_at_us
        await trim_older(self._log, self.partition, self.offset, newest.appended_at_us - self._retention_us)


def marker_at(record: LogRecord, identity: LogIdentity, clock_us: int) -> Marker:
    return Marker(record.partition, record.offset, identity.log_id, identity.partitions, record.digest(), clock_us)
