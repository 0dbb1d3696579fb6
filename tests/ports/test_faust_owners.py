"""Owners that a group of Kafka deals out: a partition has one, commits decide nothing, an error stays where it is."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.structs import OffsetAndMetadata, TopicPartition

from builders import a_chunk, an_event
from kafka_part import kafka_settings
from penstock.aggregator.faust_group import GroupSettings
from penstock.aggregator.faust_owners import FaustOwners
from penstock.aggregator.quarantine import Quarantine
from penstock.aggregator.store.memory import MemoryUsageStore
from penstock.ids.memory import MemoryShelf
from penstock.kernel.cell import CONSERVATION
from penstock.kernel.ports.event_log import EventLog, LogDamaged
from penstock.kernel.record import Kind, LogRecord
from penstock.log.kafka import KafkaLog, KafkaSettings
from penstock.log.memory import MemoryLog

PARTITIONS = 4
RETENTION_US = 10**15
TIMEOUT_S = 60


class TornLog:
    """A log of which one partition cannot be read, the first so many times."""

    def __init__(self, log: EventLog, partition: int, times: int) -> None:
        self._log, self._partition, self._times = log, partition, times

    def __getattr__(self, name: str) -> Any:
        return getattr(self._log, name)

    async def read(self, partition: int, start: int, bytes_max: int, wait_ms: int) -> list[LogRecord]:
        if partition == self._partition and self._times:
            self._times -= 1
            raise LogDamaged(f"partition {partition}: offset {start} is missing")
        return await self._log.read(partition, start, bytes_max, wait_ms)


class World:
    """A topic with a chunk in every partition, and a store in memory that all owners write to."""

    def __init__(self, settings: KafkaSettings, log: KafkaLog) -> None:
        self.settings, self.log, self.store = settings, log, MemoryUsageStore()
        self.kept_in = MemoryLog(1)
        self._started: list[FaustOwners] = []

    async def send(self, name: str) -> None:
        for partition in range(PARTITIONS):
            payload = a_chunk([an_event(f"{name}-{partition}")]).encode()
            await self.log.append(partition, Kind.CHUNK, 7, payload)

    async def start(self, log: EventLog | None = None) -> FaustOwners:
        group = GroupSettings(
            bootstrap_servers=self.settings.bootstrap_servers,
            topic=self.settings.topic,
            group=self.settings.topic,
            session_timeout_ms=6_000,
        )

        async def opened() -> EventLog:
            return self.kept_in

        owners = FaustOwners(log or self.log, self.store, RETENTION_US, MemoryShelf, group, Quarantine(opened))
        self._started.append(owners)
        await owners.start()
        return owners

    async def folded(self) -> None:
        ends = [(await self.log.bounds(p))[1] - 1 for p in range(PARTITIONS)]
        await until(
            lambda: all(
                p in self.store.markers() and self.store.markers()[p].offset == ends[p] for p in range(PARTITIONS)
            )
        )

    def counted(self) -> int:
        return sum(cell.events for key, cell in self.store._cells.items() if key.metric == CONSERVATION)

    async def close(self) -> None:
        for owners in self._started:
            await owners.stop()
        await self.log.close()


def play(kafka_address: str, story: Callable[[World], Awaitable[None]]) -> None:
    async def played() -> None:
        settings = kafka_settings(kafka_address, PARTITIONS)
        world = World(settings, await KafkaLog.open(settings))
        try:
            await world.send("first")
            await story(world)
        finally:
            await world.close()

    asyncio.run(played())


async def until(is_so: Callable[[], bool]) -> None:
    for _ in range(TIMEOUT_S * 20):
        if is_so():
            return
        await asyncio.sleep(0.05)
    raise AssertionError(f"not so after {TIMEOUT_S} s")


def partitions_of(owners: FaustOwners) -> set[int]:
    return {owner.partition for owner in owners.owners}


def test_partitions_are_shared_and_handed_over_when_a_member_leaves(kafka_address: str) -> None:
    async def story(world: World) -> None:
        first = await world.start()
        await until(lambda: len(partitions_of(first)) == PARTITIONS and first.is_ready)
        second = await world.start()
        await until(lambda: len(partitions_of(first)) == len(partitions_of(second)) == PARTITIONS // 2)
        assert partitions_of(first) | partitions_of(second) == set(range(PARTITIONS))
        await first.stop()
        await until(lambda: len(partitions_of(second)) == PARTITIONS)
        await world.send("second")
        await world.folded()

        assert world.counted() == 2 * PARTITIONS
        assert second.rebalances >= 2

    play(kafka_address, story)


def test_what_the_group_has_committed_decides_nothing_and_follows_the_markers(kafka_address: str) -> None:
    async def story(world: World) -> None:
        place = TopicPartition(world.settings.topic, 0)
        consumer = AIOKafkaConsumer(bootstrap_servers=kafka_address, group_id=world.settings.topic)
        await consumer.start()
        consumer.assign([place])
        await consumer.commit({place: OffsetAndMetadata(1, "")})  # as if the first chunk had been folded
        await world.start()
        await world.folded()
        assert world.counted() == PARTITIONS

        await world.send("second")
        committed = await consumer.committed(place)
        for _ in range(TIMEOUT_S * 10):
            if committed == 2:
                break
            await asyncio.sleep(0.1)
            committed = await consumer.committed(place)
        await consumer.stop()
        assert committed == 2
        assert world.store.markers()[0].offset == 1

    play(kafka_address, story)


def test_a_torn_read_is_read_again_and_counted(kafka_address: str) -> None:
    async def story(world: World) -> None:
        owners = await world.start(TornLog(world.log, 2, times=2))
        await world.folded()

        assert (world.counted(), owners.rereads, owners.stopped) == (PARTITIONS, 2, {})

    play(kafka_address, story)


def test_a_partition_that_stays_torn_ends_alone(kafka_address: str) -> None:
    async def story(world: World) -> None:
        owners = await world.start(TornLog(world.log, 2, times=1_000))
        await until(lambda: bool(owners.stopped))
        await until(lambda: world.counted() == PARTITIONS - 1)

        assert list(owners.stopped) == [2]
        assert partitions_of(owners) == {0, 1, 3}
        assert not owners.is_ready

    play(kafka_address, story)


def test_what_somebody_else_wrote_to_the_topic_is_put_away_and_its_neighbours_are_counted(kafka_address: str) -> None:
    async def story(world: World) -> None:
        async with AIOKafkaProducer(bootstrap_servers=kafka_address) as producer:
            await producer.send_and_wait(world.settings.topic, b"theirs", partition=1)
        await world.send("second")
        await world.start()
        await world.folded()
        [entry] = await Quarantine(lambda: opened(world.kept_in)).entries()

        assert (entry.kept.partition, entry.kept.offset, entry.kept.payload) == (1, 1, b"theirs")
        assert world.counted() == 2 * PARTITIONS

    async def opened(log: MemoryLog) -> EventLog:
        return log

    play(kafka_address, story)
