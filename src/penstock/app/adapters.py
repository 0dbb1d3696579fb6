"""Which adapter stands behind the log, the usage store and each service's own tables: what the settings say."""

from __future__ import annotations

import asyncio
import logging
import os
import random
import signal
from collections.abc import Awaitable, Callable
from typing import TypeVar
from urllib.parse import unquote, urlsplit

from penstock.aggregator.store.clickhouse import ClickHouseUsageStore
from penstock.aggregator.store.connect import server
from penstock.app.config import Config
from penstock.catalog.postgres import PostgresCatalog
from penstock.catalog.sqlite import SqliteCatalog
from penstock.contracts.close import PoolLocks
from penstock.contracts.store.postgres import PostgresLedger, PostgresPools
from penstock.contracts.store.sqlite import SqliteLedger
from penstock.database.postgres import PostgresDatabase
from penstock.kernel.ports.catalog import Catalog
from penstock.kernel.ports.event_log import EventLog
from penstock.kernel.ports.ledger import Ledger, Pools
from penstock.kernel.problems import LogUnavailable, StoreUnavailable
from penstock.log.embedded import EmbeddedLog
from penstock.log.kafka import KafkaLog, KafkaSettings

EMBEDDED, SQLITE = "embedded", "sqlite"
RETRY_MS_MAX = 1_000
MS_PER_HOUR = 3_600_000

T = TypeVar("T")

logger = logging.getLogger(__name__)


async def open_log(config: Config) -> EventLog:
    """Raise `Refused` for a log that is not what the settings say, `LogUnavailable` for brokers that are away."""
    if config.event_log == EMBEDDED:
        config.data_dir.mkdir(parents=True, exist_ok=True)
        return EmbeddedLog.open(config.data_dir / "log.db", config.partitions)
    return await patiently(lambda: KafkaLog.open(kafka_settings(config)), config.start_timeout_ms)


def kafka_settings(config: Config) -> KafkaSettings:
    """What `kafka://user:password@host:port,host:port/topic` and the settings beside it say."""
    address = urlsplit(config.event_log)
    credentials, _, brokers = address.netloc.rpartition("@")
    user, _, password = credentials.partition(":")
    hours = config.kafka_retention_hours
    return KafkaSettings(
        bootstrap_servers=brokers,
        topic=address.path.strip("/") or "penstock.events",
        partitions=config.partitions,
        replication=config.kafka_replication,
        retention_ms=-1 if hours < 0 else hours * MS_PER_HOUR,
        append_timeout_ms=config.kafka_timeout_ms,
        request_timeout_ms=config.kafka_timeout_ms,
        security_protocol=config.kafka_security_protocol,
        sasl_mechanism=config.kafka_sasl_mechanism,
        sasl_username=unquote(user) or None,
        sasl_password=unquote(password) or None,
        ssl_cafile=config.kafka_ca,
        ssl_certfile=config.kafka_cert,
        ssl_keyfile=config.kafka_key,
    )


async def open_store(config: Config) -> ClickHouseUsageStore:
    """Raise `StoreUnavailable` for a server that is away."""
    step = crash_step(config.crash_at)
    if config.usage_store == EMBEDDED:
        return ClickHouseUsageStore.embedded(config.data_dir / "usage", step)
    connect = server(
        config.usage_store,
        is_replicated=config.clickhouse_replicated,
        answer_timeout_s=max(1, config.clickhouse_timeout_ms // 1000),
    )
    return await patiently(lambda: asyncio.to_thread(ClickHouseUsageStore, connect, step), config.start_timeout_ms)


class Tables:
    """One service's own tables: a file each in the data folder, or one schema of a PostgreSQL database."""

    def __init__(self, config: Config, service: str) -> None:
        self._config, self._service = config, service
        self.database = None if config.tables == SQLITE else PostgresDatabase(config.tables, service)
        self._opened: list[Catalog | Ledger | PostgresDatabase] = [self.database] if self.database else []

    async def catalog(self) -> Catalog:
        """Raise `Refused` for newer tables than this process knows, `StoreUnavailable` for a server that is away."""
        database = self.database
        if database is None:
            self._config.data_dir.mkdir(parents=True, exist_ok=True)
            return self._kept(SqliteCatalog(self._config.data_dir / f"{self._service}.db"))
        return await self._opened_patiently(lambda: PostgresCatalog(database))

    async def ledger(self) -> Ledger:
        database = self.database
        if database is None:
            return self._kept(SqliteLedger(self._config.data_dir / "ledger.db"))
        return await self._opened_patiently(lambda: PostgresLedger(database))

    async def pools(self) -> Pools:
        """Who writes to a balance pool, over all processes that share these tables."""
        if self.database is None:
            return PoolLocks()
        # Connections of their own: who holds a pool never waits for one of who waits for the pool.
        held = self._kept(PostgresDatabase(self._config.tables, self._service))
        return await self._opened_patiently(lambda: PostgresPools(held, PoolLocks()))

    def look(self) -> None:
        """Return where the tables can be read. Raise `StoreUnavailable`."""
        if self.database is not None:
            with self.database.use() as connection:
                connection.execute("SELECT")

    def close(self) -> None:
        while self._opened:
            self._opened.pop().close()

    async def _opened_patiently(self, opening: Callable[[], T]) -> T:
        return await patiently(lambda: asyncio.to_thread(opening), self._config.start_timeout_ms)

    def _kept(self, opened: T) -> T:
        assert isinstance(opened, SqliteCatalog | SqliteLedger | PostgresDatabase), "it has to be closed"
        self._opened.append(opened)
        return opened


async def patiently(opening: Callable[[], Awaitable[T]], timeout_ms: int) -> T:
    """What `opening` gives, asked again while it is away: processes and what they need may start in any order."""
    loop = asyncio.get_running_loop()
    deadline_s = loop.time() + timeout_ms / 1000
    while True:
        try:
            return await opening()
        except (LogUnavailable, StoreUnavailable) as exc:
            if loop.time() > deadline_s:
                raise
            logger.warning("waiting: %s", exc)
        await asyncio.sleep(random.uniform(0.1, RETRY_MS_MAX / 1000))


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
