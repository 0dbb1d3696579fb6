"""The partition count of a log changes by drain, seal and a new log: nothing is lost, counted twice or forgotten."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from kafka_part import kafka_settings
from penstock.aggregator.store.clickhouse import ClickHouseUsageStore
from penstock.aggregator.store.memory import MemoryUsageStore
from penstock.kernel.event import Outcome
from penstock.kernel.ports.succession import SealableLog
from penstock.kernel.problems import LogSealed, Refused
from penstock.kernel.record import Kind
from penstock.log.embedded import EmbeddedLog
from penstock.log.kafka import KafkaLog, TopicRefused
from penstock.log.kafka_lineage import fence
from penstock.log.kafka_register import Register
from penstock.log.kafka_writer import Writer
from repartitioning import Died, LastingLog, Open, RepartitionWorld, opening, some_events

FIRST = 2
STEPS = ["drained", "sealed", "folded", "filled", "followed"]


def memory_log(_request: pytest.FixtureRequest) -> Open:
    return opening(LastingLog(FIRST))


def embedded_log(request: pytest.FixtureRequest) -> Open:
    path: Path = request.getfixturevalue("tmp_path") / "log.db"
    asyncio.run(EmbeddedLog.open(path, FIRST).close())

    async def opened(partitions: int | None) -> SealableLog:
        return EmbeddedLog.open(path, partitions)

    return opened


def kafka_log(request: pytest.FixtureRequest) -> Open:
    return kafka_opening(request.getfixturevalue("kafka_address"))


def kafka_opening(address: str) -> Open:
    settings = kafka_settings(address, FIRST)

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


@pytest.mark.slow
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
    proof = world.usage.vector()
    for partitions, later in ((3, "max"), (1, "least")):
        before = {name: world.figures(name) for name in world.bodies}
        world.repartition(partitions)
        assert {name: world.figures(name) for name in world.bodies} == before

        world.send(some_events(0, 40))  # all of it came before
        world.send(world.new_events(30))
        world.define(later)
        world.send(world.new_events(10))
        world.fold()
        assert world.differences() == []
        keys.append(world.log.hash_key)
    assert world.log.sealed == (2, 3)
    assert list(world.log.own) == [5]
    assert len(set(keys)) == 1
    assert (len(proof), world.events_as_of(proof)) == (FIRST, 90)  # an older vector proves what it always did
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

    world.with_log(append, None)
    with pytest.raises(Refused, match="sealed for one of 3 partitions, not 4"):
        world.repartition(4)
    world.repartition(3)
    assert world.log.partitions == 3


def test_who_opened_the_log_before_the_seal_is_refused_by_the_brokers(kafka_address: str, tmp_path: Path) -> None:
    settings = kafka_settings(kafka_address, 1)

    async def story() -> None:
        gateway, command = await KafkaLog.open(settings), await KafkaLog.open_to_seal(settings)
        await gateway.append(0, Kind.CHUNK, 7, b"x" * 500)
        await command.seal(7, 2)
        with pytest.raises(LogSealed, match="one of 2 partitions"):
            await gateway.append(0, Kind.CHUNK, 7, b"x" * 500)
        [first, *others] = await command.read(0, 0, 1 << 20, 0)
        assert (first.kind, others[-1].kind) == (Kind.CHUNK, Kind.SEAL)
        assert Kind.CHUNK not in {record.kind for record in others}
        await gateway.close()
        with pytest.raises(TopicRefused, match="it is sealed: finish with penstock repartition"):
            await KafkaLog.open(settings)
        await command.close()

    asyncio.run(story())


def test_on_kafka_it_may_be_cut_at_any_of_its_writes(
    kafka_address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = kafka_opening(kafka_address)
    world = RepartitionWorld(opened, MemoryUsageStore(), tmp_path / "ids", FIRST)
    world.define("count", "sum")
    world.send(some_events(0, 20))
    left = [0]

    def mortal(write: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        async def writing(*given: Any) -> Any:
            done = await write(*given)
            left[0] -= 1
            if left[0] == 0:
                raise Died
            return done

        return writing

    with monkeypatch.context() as patch:
        patch.setattr("penstock.log.kafka.fence", mortal(fence))
        for owner, name in ((Writer, "append"), (Register, "settle")):
            patch.setattr(owner, name, mortal(getattr(owner, name)))
        for run in itertools.count(1):
            left[0] = run
            with contextlib.suppress(Died):
                world.repartition(3)
            if world.newest.partitions == 3:  # the last write is what makes it so
                break
    world.partitions = 3
    assert run > 8  # seals, ticks and controls of every partition, and what the register is told
    world.send(some_events(10, 30))
    world.fold()
    assert (world.log.sealed, world.log.partitions) == ((2,), 3)
    assert world.differences() == []
