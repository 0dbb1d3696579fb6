"""An aggregator as a process of its own: owners by Faust, on a log in Kafka and a store behind a ClickHouse URL.

`python -m faults.worker '<settings as JSON>'`. At `fault_at` ("half_cells:3": the third time that a flush gets there)
it kills or stops itself by `fault`, so that a test knows what was under way. By LATE, every so many steps of a flush
are written and then said to have timed out. SIGTERM lets go of everything in order.
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec

from penstock.aggregator.faust_group import GroupSettings
from penstock.aggregator.faust_owners import FaustOwners
from penstock.aggregator.store.clickhouse import ClickHouseUsageStore
from penstock.aggregator.store.connect import server
from penstock.ids.shelf import Shelf
from penstock.kernel.problems import StoreUnavailable
from penstock.log.kafka import KafkaLog, KafkaSettings

RETENTION_US = 7 * 86_400_000_000
LATE_SHARE = 0.1
MEMORY_IDS_MAX = 2_000  # few, so that most are in files


class WorkerSettings(msgspec.Struct, frozen=True):
    """What a test tells its aggregators. `fault` is KILL, STOP or LATE."""

    kafka: str
    topic: str
    partitions: int
    replication: int
    clickhouse: str
    database: str
    folder: str
    session_timeout_ms: int
    fault_at: str | None = None
    fault: str = "KILL"
    store_timeout_s: int = 30


def fault_step(given: WorkerSettings) -> Callable[[str], None] | None:
    if given.fault_at is None:
        return None
    if given.fault == "LATE":
        return late_step(random.Random(given.fault_at))
    step, _, times = given.fault_at.partition(":")
    left = [int(times)]

    def reached(name: str) -> None:
        if name == step:
            left[0] -= 1
            if left[0] == 0:
                os.kill(os.getpid(), signal.Signals[f"SIG{given.fault}"])

    return reached


def late_step(chance: random.Random) -> Callable[[str], None]:
    """What was inserted up to here is there, and the store's answer is not."""

    def reached(_name: str) -> None:
        if chance.random() < LATE_SHARE:
            raise StoreUnavailable("no answer in time")

    return reached


async def work(given: WorkerSettings) -> None:
    stopping = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopping.set)
    log = await KafkaLog.open(
        KafkaSettings(
            bootstrap_servers=given.kafka,
            topic=given.topic,
            partitions=given.partitions,
            replication=given.replication,
        )
    )
    connect = server(given.clickhouse, given.database, answer_timeout_s=given.store_timeout_s)
    store = await asyncio.to_thread(ClickHouseUsageStore, connect, fault_step(given))

    def shelf_of(partition: int) -> Shelf:
        return Shelf(Path(given.folder) / str(partition), partition, log.identity.log_id, MEMORY_IDS_MAX)

    group = GroupSettings(
        bootstrap_servers=given.kafka,
        topic=given.topic,
        group=given.topic,
        session_timeout_ms=given.session_timeout_ms,
        rebalance_timeout_ms=given.session_timeout_ms,
    )
    owners = FaustOwners(log, store, RETENTION_US, shelf_of, group)
    await owners.start()
    await stopping.wait()
    await owners.stop()
    await log.close()
    store.close()


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(levelname)s %(message)s")
    asyncio.run(work(msgspec.json.decode(sys.argv[1], type=WorkerSettings)))
