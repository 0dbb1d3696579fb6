"""The partition count of a log changes by drain, seal and a new log: nothing is lost, counted twice or forgotten."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from kafka_part import kafka_settings
from penstock.aggregator.store.clickhouse import ClickHouseUsageStore
from penstock.aggregator.store.memory import MemoryUsageStore
from penstock.kernel.event import Outcome
from penstock.kernel.problems import LogSealed, Refused
from penstock.kernel.record import Kind
from penstock.kernel.succession import SealableLog
from penstock.log.embedded import EmbeddedLog
from penstock.log.kafka import KafkaLog
from penstock.log.memory import MemoryLog
from repartitioning import BODIES, Died, Open, RepartitionWorld, some_events

FIRST = 2
STEPS = ["drained", "sealed", "folded", "filled", "followed"]
Build = Callable[[], RepartitionWorld]


class _Lasting(MemoryLog):
    async def close(self) -> None:
        """It outlives its openers, as a file does."""


def memory_log(_request: pytest.FixtureRequest) -> Open:
    log = _Lasting(FIRST)

    async def opened(partitions: int | None) -> SealableLog:
        return log

    return opened


def embedded_log(request: pytest.FixtureRequest) -> Open:
    path: Path = request.getfixturevalue("tmp_path") / "log.db"
    asyncio.run(EmbeddedLog.open(path, FIRST).close())

    async def opened(partitions: int | None) -> SealableLog:
        return EmbeddedLog.open(path, partitions)

    return opened


def kafka_log(request: pytest.FixtureRequest) -> Open:
    settings = kafka_settings(request.getfixturevalue("kafka_address"), FIRST)

    async def opened(partitions: int | None) -> SealableLog:
        if partitions is None:
            return await KafkaLog.open_to_seal(settings)
        return await KafkaLog.open(kafka_settings(settings.bootstrap_servers, partitions, topic=settings.topic))

    async def made() -> None:
        await (await opened(FIRST)).close()

    asyncio.run(made())
    return opened


LOGS = {"memory": memory_log, "embedded": embedded_log, "kafka": kafka_log}


@pytest.fixture(params=list(LOGS))
def world(request: pytest.FixtureRequest, tmp_path: Path) -> RepartitionWorld:
    return RepartitionWorld(LOGS[request.param](request), MemoryUsageStore(), tmp_path / "ids", FIRST)


def test_usage_goes_on_over_two_changes_of_the_partition_count(world: RepartitionWorld) -> None:
    play(world)


def test_the_same_with_the_real_engine(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    store = ClickHouseUsageStore.embedded(tmp_path / "usage")
    try:
        play(RepartitionWorld(embedded_log(request), store, tmp_path / "ids", FIRST))
    finally:
        store.close()


def play(world: RepartitionWorld) -> None:
    world.define("count", "sum", "latest")
    world.send([*some_events(0, 90), *some_events(20, 10)])
    world.fold()
    keys = [world.log.hash_key]
    for partitions, later in ((3, "max"), (1, "least")):
        before = {name: world.figures(name) for name in world.bodies}
        world.repartition(partitions)
        assert {name: world.figures(name) for name in world.bodies} == before

        world.send(some_events(0, 40))  # all of it came before
        world.send(some_events(len({e["transaction_id"] for e in world.sent}), 30))
        world.fold()
        assert world.differences() == []

        world.define(later)
        world.send(some_events(len({e["transaction_id"] for e in world.sent}), 10))
        world.fold()
        assert world.differences() == []
        keys.append(world.log.hash_key)
    assert world.log.sealed == (2, 3)
    assert list(world.log.own) == [5]
    assert len(set(keys)) == 1
    [fate] = world.fates("e25")
    assert fate.outcome is Outcome.COUNTED
    assert len(fate.trace.kept) == 1
    [dropped] = fate.trace.dropped
    assert (dropped.outcome, dropped.events) == (Outcome.DUPLICATE, 3)
    assert dropped.newest.partition == 5


@pytest.mark.parametrize("step", STEPS)
def test_cut_at_any_step_and_run_again_it_comes_to_the_same_end(world: RepartitionWorld, step: str) -> None:
    world.define("count", "sum")
    world.send(some_events(0, 30))
    with pytest.raises(Died):
        world.repartition(3, die_at=step)
    if step != "followed":
        world.repartition(3)
    world.partitions = 3

    assert (world.log.sealed, world.log.partitions) == ((2,), 3)
    world.send(some_events(10, 30))
    world.define("unique")
    world.fold()
    assert world.differences() == []
    assert len(world.sent) == 60


def test_a_sealed_log_takes_nothing_and_is_sealed_for_one_count_only(world: RepartitionWorld) -> None:
    world.send(some_events(0, 10))
    with pytest.raises(Died):
        world.repartition(3, die_at="sealed")

    async def append(log: SealableLog) -> None:
        with pytest.raises(LogSealed, match="one of 3 partitions"):
            await log.append(log.identity.first, Kind.CHUNK, 7, b"x" * 1_000)

    world._with_log(append, None)
    with pytest.raises(Refused, match="sealed for one of 3 partitions, not 4"):
        world.repartition(4)
    world.repartition(3)
    assert world.log.partitions == 3
    assert set(BODIES) >= set(world.bodies)
