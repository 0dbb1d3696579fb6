"""The aggregator in a process: the fold of its partitions, metrics, usage, transactions and the audit."""

from __future__ import annotations

import asyncio
import logging
import random
import shutil
import threading
from collections.abc import Callable, Sequence
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING

from penstock.aggregator.audit_chore import AuditChore, ReadLog
from penstock.aggregator.auditor import Auditor
from penstock.aggregator.backfills import Backfills
from penstock.aggregator.cardinality import CardinalityWatch
from penstock.aggregator.consume import Owner
from penstock.aggregator.corrections import Corrections, SendTo
from penstock.aggregator.metered_events import MeteredEvents
from penstock.aggregator.metrics import Metrics
from penstock.aggregator.quarantine import Quarantine
from penstock.aggregator.store.clickhouse import ClickHouseUsageStore
from penstock.aggregator.transactions import Transactions
from penstock.aggregator.usage import UsageService
from penstock.aggregator.usage_cache import UsageCache
from penstock.app.adapters import EMBEDDED, Tables, open_store
from penstock.app.common import Common
from penstock.app.fold_runtime import FoldRuntime, OwnerTasks
from penstock.app.health import Check, NotReady
from penstock.app.measured_log import MeasuredLog
from penstock.app.part import Chore, Part
from penstock.app.quarantine_command import quarantine_log
from penstock.app.route_table import aggregator_routes
from penstock.app.services import EVENTS, LAYERS, USAGE
from penstock.ids import durable
from penstock.ids.shelf import Shelf
from penstock.kernel.control import Control, Correction, encode_control
from penstock.kernel.ports.catalog import Catalog
from penstock.kernel.ports.clock import Clock
from penstock.kernel.ports.event_log import EventLog
from penstock.kernel.ports.siblings import Customers, GatewayMemory
from penstock.kernel.problems import LogUnavailable
from penstock.kernel.record import Kind, LogRecord, Vector
from penstock.kernel.window import to_us
from penstock.rpc.server import Served
from penstock.web.route import Route

if TYPE_CHECKING:
    from penstock.aggregator.faust_owners import FaustOwners

CONTROL_TIMEOUT_S = 30
READ_TIMEOUT_S = 30
PENDING_INTERVAL_S = 5
SETTLE_INTERVAL_S = 1
CARDINALITY_INTERVAL_S = 15
US_PER_S, US_PER_HOUR = 1_000_000, 3_600_000_000

logger = logging.getLogger(__name__)


class AggregatorPart(Part):
    """`log` is the process's; the part neither opens nor closes it. `meet` comes before `routes`.

    `partitions` are this process's for its life, counted from the log's first; with None a group of Kafka says which
    are. `fold_drain_s` bounds what the fold gets at the end; None lets it fold all that the log holds.
    """

    def __init__(
        self,
        common: Common,
        tables: Tables,
        catalog: Catalog,
        store: ClickHouseUsageStore,
        log: MeasuredLog,
        partitions: Sequence[int] | None,
        fold_drain_s: float | None,
    ) -> None:
        config = self._config = common.config
        self._clock, self._telemetry, self._tables = common.clock, common.telemetry, tables
        self.store, self._log, self._fold_drain_s = store, log, fold_drain_s
        send = control_sender(log, common.clock, common.loop)
        self.metrics = Metrics(catalog, common.clock, send)
        self.backfills = Backfills(catalog, common.clock, send, lambda: self.usage.vector())
        send_to = correction_sender(log, common.clock, common.loop)
        self.corrections = Corrections(catalog, common.clock, store, log.identity, send_to)
        self.transactions = Transactions(store, self.metrics, log.identity)
        self.usage_cache = UsageCache(config.usage_cache_bytes_max, common.telemetry.usage_looked_up)
        sealed, in_force = log.identity.first, self.backfills.in_force
        self.usage = UsageService(store, self.metrics, log.identity.end, self.usage_cache, in_force, sealed=sealed)
        self.events = MeteredEvents(self.usage, store, self.backfills.once_in_force)
        self.auditor = Auditor(store, log.identity.end, sealed)
        self._cardinality = CardinalityWatch(store, self.metrics, common.clock)
        reader = log_reader(log, common.loop)
        self._audit_chore = AuditChore(self.auditor, store, reader, config.audit_events_max, random.Random())
        self._auditing = threading.Lock()
        self._quarantine = Quarantine(quarantine_log(config))
        self._ids_lock = durable.lock(config.data_dir / "ids")
        self._shelves: list[Shelf] = []
        self._grouped: FaustOwners | None = None
        self._observe_group: Callable[[], None] = lambda: None
        self.runtime: FoldRuntime = self._shared() if partitions is None else self._fixed(partitions)
        self._met: tuple[Customers, GatewayMemory] | None = None

    def _shared(self) -> FaustOwners:
        # Faust takes a second to import, which a process that shares nothing need not wait for.
        grouping = import_module("penstock.app.grouped_owners")
        grouped: FaustOwners = grouping.grouped_owners(self._config, self._log, self.store, self._quarantine)
        self._grouped, self._observe_group = grouped, partial(grouping.observe, grouped, self._telemetry)
        return grouped

    def _fixed(self, partitions: Sequence[int]) -> OwnerTasks:
        config, log_id = self._config, self._log.identity.log_id
        ids, memory_ids_max = config.data_dir / "ids", config.memory_ids_max // len(partitions)
        numbers = [self._log.identity.own[partition] for partition in partitions]
        self._shelves = [Shelf(ids / str(p), p, log_id, memory_ids_max) for p in numbers]
        kept_us = config.log_retention_hours * US_PER_HOUR
        owners = [Owner(s.partition, self._log, self.store, kept_us, s, self._quarantine) for s in self._shelves]
        return OwnerTasks(owners)

    @classmethod
    async def open(
        cls, common: Common, log: MeasuredLog, partitions: Sequence[int] | None, fold_drain_s: float | None
    ) -> AggregatorPart:
        tables = Tables(common.config, "aggregator")
        store = await open_store(common.config)
        return cls(common, tables, await tables.catalog(), store, log, partitions, fold_drain_s)

    def meet(self, customers: Customers, memory: GatewayMemory) -> None:
        """Get to know the two siblings that its routes ask, which themselves need what is here."""
        self._met = customers, memory

    def routes(self) -> Sequence[Route]:
        assert self._met is not None, "its siblings are known"
        return aggregator_routes(
            self.metrics,
            self.usage,
            self.store,
            self.transactions,
            self.corrections,
            self.auditor,
            self.backfills,
            lambda: self.runtime.owners,
            *self._met,
            self._clock,
            self._config.group_combinations_max,
        )

    def served(self) -> Sequence[Served]:
        return [(USAGE, self.usage), (EVENTS, self.events), (LAYERS, self.backfills)]

    def checks(self) -> Sequence[Check]:
        checks = [Check("fold", self._look_at_fold)]
        if self._config.usage_store != EMBEDDED:
            checks.append(Check("usage store", self.store.markers))
        if self._tables.database is not None:
            checks.append(Check("aggregator tables", self._tables.look))
        return checks

    async def _look_at_fold(self) -> None:
        """Every partition is restored, and near the end of its log."""
        if self._grouped is not None and not self._grouped.is_ready:
            raise NotReady("no member of the group yet, or not every partition that it gave is folded")
        for owner in self.runtime.owners:
            if not owner.restores:
                raise NotReady(f"partition {owner.partition} is being restored")
            _, end = await self._log.bounds(owner.partition)
            self._log.newest[owner.partition] = max(end - 1, self._log.newest.get(owner.partition, -1))
            behind = end - 1 - owner.offset
            if behind > self._config.ready_lag_records_max:
                raise NotReady(f"partition {owner.partition} is {behind} records behind its log")

    def chores(self) -> Sequence[Chore]:
        chores = [
            Chore(PENDING_INTERVAL_S, self.metrics.send_pending),
            Chore(PENDING_INTERVAL_S, self.corrections.send_pending),
            Chore(PENDING_INTERVAL_S, self.usage.retire_replaced),
            Chore(SETTLE_INTERVAL_S, self.backfills.settle),
            Chore(CARDINALITY_INTERVAL_S, self._cardinality.look),
        ]
        interval_ms = self._config.audit_interval_ms
        return [*chores, Chore(interval_ms / 1000, self.audit)] if interval_ms else chores

    def audit(self) -> None:
        """Make one pass over a sample. What differs is named by `penstock audit`; here is how much it is."""
        with self._auditing:
            found = self._audit_chore.run()
        self._telemetry.audited(found.cells, found.events)
        if found.differences:
            logger.error("the audit found %d cells that are off by %d events", len(found.differences), found.events)

    def observe(self) -> None:
        telemetry, now_us = self._telemetry, to_us(self._clock.now())
        telemetry.exceeded(self._cardinality.exceeded)
        telemetry.usage_cache_bytes.set(self.usage_cache.held_bytes)
        self._observe_group()
        for owner in self.runtime.owners:
            label, since_us = str(owner.partition), owner.folding_since_us
            telemetry.folded.labels(label).set(owner.offset)
            telemetry.restores.labels(label).set(owner.restores)
            telemetry.marker_age_s.labels(label).set(_age_s(now_us, owner.clock_us))
            telemetry.quarantined.labels(label).set(owner.quarantined)
            telemetry.lag_records.labels(label).set(max(0, self._log.newest.get(owner.partition, -1) - owner.offset))
            telemetry.lag_s.labels(label).set(_age_s(now_us, since_us))

    async def start(self, announce: Callable[[str], None]) -> None:
        for sealed in range(self._log.identity.first):  # their ids are read from the store, by whoever inherits them
            await asyncio.to_thread(shutil.rmtree, self._config.data_dir / "ids" / str(sealed), ignore_errors=True)
        await self.runtime.start()

    async def run(self) -> None:
        await self.runtime.run()

    async def finish(self) -> None:
        self._audit_chore.stop()
        await self.runtime.stop(self._fold_drain_s)
        await self._quarantine.close()

    def close(self) -> None:
        for shelf in self._shelves:
            shelf.close()
        self._ids_lock.close()
        self.store.close()
        self._tables.close()


def _age_s(now_us: int, since_us: int) -> float:
    """Seconds since then, 0 for never."""
    return max(0, now_us - since_us) / US_PER_S if since_us else 0


def correction_sender(log: EventLog, clock: Clock, loop: asyncio.AbstractEventLoop) -> SendTo:
    """What a worker thread calls to append a correction to one partition of the log."""

    def send(control: Correction, partition: int) -> int:
        appending = log.append(partition, Kind.CONTROL, to_us(clock.now()), encode_control(control))
        try:
            return asyncio.run_coroutine_threadsafe(appending, loop).result(CONTROL_TIMEOUT_S).offset
        except TimeoutError as exc:
            raise LogUnavailable(f"no acknowledgement in {CONTROL_TIMEOUT_S} s", retry_after_s=5) from exc

    return send


def control_sender(log: EventLog, clock: Clock, loop: asyncio.AbstractEventLoop) -> Callable[[Control], Vector]:
    """What a worker thread calls to append a control record to every partition of the log."""

    async def to_all(payload: bytes, stamped_at_us: int) -> Vector:
        receipts = [await log.append(p, Kind.CONTROL, stamped_at_us, payload) for p in log.identity.own]
        # Nothing of it is in a sealed log, so nothing need be waited for there.
        return (*[-1] * log.identity.first, *(r.offset for r in receipts))

    def send(control: Control) -> Vector:
        sending = to_all(encode_control(control), to_us(clock.now()))
        try:
            return asyncio.run_coroutine_threadsafe(sending, loop).result(CONTROL_TIMEOUT_S)
        except TimeoutError as exc:
            raise LogUnavailable(f"no acknowledgement in {CONTROL_TIMEOUT_S} s", retry_after_s=5) from exc

    return send


def log_reader(log: EventLog, loop: asyncio.AbstractEventLoop) -> ReadLog:
    """What a worker thread calls to read records of the log."""

    def read(partition: int, start: int, bytes_max: int) -> list[LogRecord]:
        reading = asyncio.run_coroutine_threadsafe(log.read(partition, start, bytes_max, 0), loop)
        try:
            return reading.result(READ_TIMEOUT_S)
        except TimeoutError as exc:
            raise LogUnavailable(f"no records in {READ_TIMEOUT_S} s", retry_after_s=5) from exc

    return read
