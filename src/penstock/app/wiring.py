"""The socket board: which adapter stands behind which port. Nothing else knows services and adapters together."""

from __future__ import annotations

import asyncio
import logging
import os
import random
import signal
import threading
from collections.abc import Callable

from penstock.aggregator.audit_api import AuditApi
from penstock.aggregator.audit_chore import AuditChore, ReadLog
from penstock.aggregator.auditor import Auditor
from penstock.aggregator.consume import Owner
from penstock.aggregator.http_api import AggregatorApi
from penstock.aggregator.metrics import Metrics
from penstock.aggregator.store.clickhouse import ClickHouseUsageStore
from penstock.aggregator.transactions import Transactions
from penstock.aggregator.transactions_api import TransactionsApi
from penstock.aggregator.usage import UsageService
from penstock.aggregator.usage_cache import UsageCache
from penstock.app.config import Config
from penstock.app.measured_log import MeasuredLog
from penstock.app.pressure import FoldPressure
from penstock.app.telemetry import Telemetry
from penstock.catalog.sqlite import SqliteCatalog
from penstock.contracts.clock import TestClock
from penstock.contracts.http_api import ContractsService
from penstock.contracts.store.sqlite import SqliteLedger
from penstock.gateway.coalescer import CoalescerSettings
from penstock.gateway.http_api import KeysApi
from penstock.gateway.ingest import Gateway, GatewaySettings
from penstock.gateway.keys import Keys
from penstock.gateway.rate_limit import RateLimits
from penstock.ids.shelf import Shelf
from penstock.kernel.clock import SystemClock
from penstock.kernel.control import Control, encode_control
from penstock.kernel.ports import Clock, EventLog
from penstock.kernel.problems import LogUnavailable
from penstock.kernel.record import Kind, LogRecord, Vector
from penstock.kernel.window import to_us
from penstock.log.embedded import EmbeddedLog
from penstock.rater.http_api import routes as rater_routes
from penstock.rater.run import RaterService
from penstock.web.route import Route

CONTROL_TIMEOUT_S = 30
READ_TIMEOUT_S = 30
US_PER_S, US_PER_HOUR = 1_000_000, 3_600_000_000

logger = logging.getLogger(__name__)


class Penstock:
    """Every part of one process, made and not yet running."""

    def __init__(self, config: Config, loop: asyncio.AbstractEventLoop) -> None:
        folder = config.data_dir
        folder.mkdir(parents=True, exist_ok=True)
        self.config = config
        self.telemetry = Telemetry()
        self.clock: Clock = SystemClock()
        # The log first: its lock keeps a second process out of the whole folder.
        self.log = EmbeddedLog.open(folder / "log.db", config.partitions)
        self.store = ClickHouseUsageStore.embedded(folder / "usage", crash_step(config.crash_at))
        self._catalogs = {name: SqliteCatalog(folder / f"{name}.db") for name in _CATALOGS}
        self.ledger = SqliteLedger(folder / "ledger.db")
        self.keys = Keys(self._catalogs["gateway"], self.clock)
        send = control_sender(self.log, self.clock, loop)
        self.metrics = Metrics(self._catalogs["aggregator"], self.clock, send)
        self.transactions = Transactions(self.store, self.metrics, self.log.identity)
        self.usage_cache = UsageCache(config.usage_cache_bytes_max, self.telemetry.usage_looked_up)
        self.usage = UsageService(self.store, self.metrics, config.partitions, self.usage_cache)
        self.auditor = Auditor(self.store, config.partitions)
        reader = log_reader(self.log, loop)
        self._audit_chore = AuditChore(self.auditor, self.store, reader, config.audit_events_max, random.Random())
        self._auditing = threading.Lock()
        retention_us = config.log_retention_hours * US_PER_HOUR
        self._shelves = [
            Shelf(folder / "ids" / str(p), p, self.log.identity.log_id, config.memory_ids_max // config.partitions)
            for p in range(config.partitions)
        ]
        self.owners = [Owner(s.partition, self.log, self.store, retention_us, s) for s in self._shelves]
        room = FoldPressure(self.owners, self.clock, config.fold_lag_ms_max).room
        self.measured_log = MeasuredLog(self.log, self.telemetry)
        self.gateway = Gateway(self.measured_log, self.clock, gateway_settings(config), self.telemetry, room)
        self.rater = RaterService(self._catalogs["rater"], self.usage, self.clock)
        contracts = self._catalogs["contracts"]
        self.test_clock = TestClock(self.clock, contracts) if config.test_clock else None
        self.contracts = ContractsService(
            contracts, self.ledger, self.rater, self.usage, self.test_clock or self.clock, self.test_clock
        )

    def routes(self) -> list[Route]:
        """Every route of every service; the Ingress is made from the same table."""
        aggregator = AggregatorApi(self.metrics, self.usage, self.store, self.contracts.customers, self.clock)
        return [
            *KeysApi(self.keys).routes(),
            *aggregator.routes(),
            *TransactionsApi(self.transactions, self.contracts.customers, self.gateway.memory).routes(),
            *AuditApi(self.auditor, self.contracts.customers).routes(),
            *rater_routes(self._catalogs["rater"], self.usage, self.clock),
            *self.contracts.routes(),
        ]

    def observe(self) -> None:
        """Bring the gauges up to date; called for every scrape."""
        telemetry, now_us = self.telemetry, to_us(self.clock.now())
        telemetry.queue_bytes.set(self.gateway.budget.held_bytes)
        telemetry.usage_cache_bytes.set(self.usage_cache.held_bytes)
        for owner in self.owners:
            label, since_us = str(owner.partition), owner.folding_since_us
            telemetry.folded.labels(label).set(owner.offset)
            telemetry.restores.labels(label).set(owner.restores)
            telemetry.lag_records.labels(label).set(
                max(0, self.measured_log.newest.get(owner.partition, -1) - owner.offset)
            )
            telemetry.lag_s.labels(label).set(max(0, now_us - since_us) / US_PER_S if since_us else 0)

    def audit(self) -> None:
        """Make one pass over a sample. What differs is named by `penstock audit`; here is how much it is."""
        with self._auditing:
            found = self._audit_chore.run()
        self.telemetry.audited(found.cells, found.events)
        if found.differences:
            logger.error("the audit found %d cells that are off by %d events", len(found.differences), found.events)

    def close(self) -> None:
        """Let go of files, after everything has stopped; the log closes last and by itself."""
        self._audit_chore.stop()
        with self._auditing:  # a pass that outlived its task still reads the store
            pass
        for shelf in self._shelves:
            shelf.close()
        self.store.close()
        self.ledger.close()
        for catalog in self._catalogs.values():
            catalog.close()


_CATALOGS = ("gateway", "aggregator", "rater", "contracts")


def gateway_settings(config: Config) -> GatewaySettings:
    return GatewaySettings(
        request_bytes_max=config.request_bytes_max,
        request_events_max=config.request_events_max,
        arrow_events_max=config.arrow_events_max,
        window_ids_max=config.dedupe_ids_max,
        tick_interval_ms=config.tick_interval_ms,
        coalescer=CoalescerSettings(
            linger_ms=config.ingest_linger_ms,
            queue_bytes_max=config.ingest_queue_bytes_max,
            properties_bytes_max=config.event_properties_bytes_max,
        ),
        tenant=RateLimits(config.tenant_events_per_s_max, config.tenant_bytes_per_s_max),
    )


def control_sender(log: EventLog, clock: Clock, loop: asyncio.AbstractEventLoop) -> Callable[[Control], Vector]:
    """What a worker thread calls to append a control record to every partition of the log."""

    async def to_all(payload: bytes, stamped_at_us: int) -> Vector:
        partitions = range(log.identity.partitions)
        receipts = [await log.append(p, Kind.CONTROL, stamped_at_us, payload) for p in partitions]
        return tuple(r.offset for r in receipts)

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


def crash_step(crash_at: str | None) -> Callable[[str], None] | None:
    """For fault tests: kill this process, without a word, when a flush reaches a step for the Nth time."""
    if crash_at is None:
        return None
    step, _, times = crash_at.partition(":")
    left = [int(times or "1")]

    def reached(name: str) -> None:
        if name == step:
            left[0] -= 1
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    return reached

