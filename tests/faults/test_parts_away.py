"""Brokers that restart and die, a store that is away, and one that applies what it says has failed; all under load."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from deploy.dev.clickhouse import ClickHouseDev

from faults.conftest import Announce, Parts
from faults.test_rebalance_storm import load
from faults.world import FaultWorld
from kafka_part import StartKafka

AGGREGATORS = 2
STORE_AWAY_S = 60
BETWEEN_S = 5
Disturb = Callable[[FaultWorld], Awaitable[None]]


async def disturbed(parts: Parts, chance: random.Random, disturb: Disturb, fault: str | None = None) -> None:
    """Two aggregators under load while `disturb` does what it does; then all is counted, with nobody's help."""
    async with parts.world(chance) as world:
        with parts.fleet(world) as fleet:
            for n in range(AGGREGATORS):
                seed = str(chance.random())
                fleet.start(f"aggregator-{n}", fault_at=seed if fault else None, fault=fault or "KILL")
            over = asyncio.Event()
            loading = asyncio.create_task(load(world, over))
            await world.folded()  # both are at work
            await disturb(world)
            over.set()
            await loading
            await world.folded()

            assert await asyncio.to_thread(world.differences) == []
            assert len(fleet.alive) == AGGREGATORS
            for worker in fleet.alive:
                worker.terminate()


@pytest.mark.faults
def test_a_broker_that_restarts_loses_nothing(
    start_kafka: StartKafka, clickhouse_url: str, tmp_path: Path, announce: Announce
) -> None:
    cluster = start_kafka(1)
    chance = announce("the only broker is stopped and started under load, twice; once killed")

    async def restart(_world: FaultWorld) -> None:
        for end in (cluster.brokers[0].stop, cluster.brokers[0].kill):
            await asyncio.to_thread(end)
            await asyncio.sleep(BETWEEN_S)
            await asyncio.to_thread(cluster.brokers[0].restart)
            await asyncio.sleep(BETWEEN_S)

    asyncio.run(disturbed(Parts(cluster.address, clickhouse_url, tmp_path / "workers"), chance, restart))


@pytest.mark.faults
def test_leaders_that_are_killed_one_after_the_other_lose_nothing(
    start_kafka: StartKafka, clickhouse_url: str, tmp_path: Path, announce: Announce
) -> None:
    cluster = start_kafka(3)
    chance = announce("three brokers are killed in turn, each back before the next")

    async def kill_in_turn(_world: FaultWorld) -> None:
        for broker in chance.sample(list(cluster.brokers), 3):
            await asyncio.to_thread(broker.kill)
            await asyncio.sleep(BETWEEN_S)
            await asyncio.to_thread(broker.restart)
            await asyncio.sleep(BETWEEN_S)

    parts = Parts(cluster.address, clickhouse_url, tmp_path / "workers", replication=3)
    asyncio.run(disturbed(parts, chance, kill_in_turn))


@pytest.mark.faults
def test_a_store_that_is_away_for_a_minute_delays_and_loses_nothing(
    kafka_address: str, tmp_path: Path, announce: Announce
) -> None:
    chance = announce(f"the ClickHouse front is killed and stays away for {STORE_AWAY_S} s")
    with ClickHouseDev(tmp_path / "clickhouse") as front:

        async def go_away(_world: FaultWorld) -> None:
            await asyncio.to_thread(front.kill)
            await asyncio.sleep(STORE_AWAY_S)
            await asyncio.to_thread(front.start)

        asyncio.run(disturbed(Parts(kafka_address, front.url, tmp_path / "workers"), chance, go_away))


@pytest.mark.faults
def test_a_store_that_applies_an_insert_and_then_times_out_counts_nothing_twice(
    parts: Parts, announce: Announce
) -> None:
    chance = announce("one flush step in ten is applied and then said to have timed out")

    async def go_on(_world: FaultWorld) -> None:
        await asyncio.sleep(4 * BETWEEN_S)

    asyncio.run(disturbed(parts, chance, go_on, fault="LATE"))
