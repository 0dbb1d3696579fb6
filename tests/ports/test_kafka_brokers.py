"""Brokers that stop, die and come back: what was acknowledged is there, what was not says so, and appends go on."""

from __future__ import annotations

import asyncio
import contextlib
import itertools

import pytest

from kafka_part import StartKafka, kafka_settings
from penstock.kernel.problems import LogUnavailable
from penstock.kernel.record import Kind
from penstock.log.kafka import KafkaLog


async def append(log: KafkaLog, payload: bytes, partition: int = 0) -> int:
    return (await log.append(partition, Kind.CHUNK, 7, payload)).offset


async def payloads(log: KafkaLog, partition: int = 0) -> list[bytes]:
    return [record.payload for record in await log.read(partition, 0, 1 << 24, 0)]


async def close(*logs: KafkaLog) -> None:
    await asyncio.gather(*(log.close() for log in logs))


async def until_appended(log: KafkaLog, payload: bytes) -> int:
    """Try until the broker is back, as a gateway's clients do."""
    async with asyncio.timeout(60):
        while True:
            try:
                return await append(log, payload)
            except LogUnavailable:
                continue


async def until_readable(log: KafkaLog, start: int) -> list[bytes]:
    async with asyncio.timeout(60):
        while True:
            try:
                return [record.payload for record in await log.read(0, start, 30, 1_000)][:2]
            except LogUnavailable:
                continue


def test_a_log_that_no_broker_serves_is_unavailable() -> None:
    async def story() -> None:
        with pytest.raises(LogUnavailable, match=r"the log at 127\.0\.0\.1:1 cannot be opened"):
            await KafkaLog.open(kafka_settings("127.0.0.1:1"))

    asyncio.run(story())


def test_a_broker_that_stops_makes_the_log_unavailable_and_its_return_mends_it(start_kafka: StartKafka) -> None:
    cluster = start_kafka(1)
    settings = kafka_settings(
        cluster.address, append_timeout_ms=1_500, request_timeout_ms=1_500, in_flight_bytes_max=20_000
    )

    async def story() -> None:
        log = await KafkaLog.open(settings)
        reader = await KafkaLog.open(settings)
        assert [await append(log, b"first"), await append(log, b"second")] == [0, 1]
        await asyncio.to_thread(cluster.brokers[0].kill)
        # More than may be in flight: some never leave, and all say so.
        failed = await asyncio.gather(*(append(log, b"x" * 5_000) for _ in range(8)), return_exceptions=True)
        assert all(isinstance(each, LogUnavailable) and each.retry_after_s == 1 for each in failed)
        with pytest.raises(LogUnavailable):
            await reader.read(0, 2, 100, 0)
        with pytest.raises(LogUnavailable):
            await log.bounds(0)

        await asyncio.to_thread(cluster.brokers[0].restart)
        waiting = asyncio.create_task(until_readable(reader, 0))
        offset = await until_appended(log, b"back")
        assert await waiting == [b"first", b"second"]
        seen = await payloads(reader)  # what was unknown appeared or did not, and nothing is out of order
        assert seen[:2] == [b"first", b"second"]
        assert set(seen[2:offset]) <= {b"x" * 5_000, b"back"}
        assert len(seen[2:offset]) <= 3 + seen[2:offset].count(b"back")
        assert seen[offset] == b"back"
        await close(log, reader)

    asyncio.run(story())


def test_a_log_closes_though_its_broker_is_away(start_kafka: StartKafka) -> None:
    cluster = start_kafka(1)
    settings = kafka_settings(cluster.address, append_timeout_ms=500, request_timeout_ms=1_500)

    async def story() -> None:
        log = await KafkaLog.open(settings)
        await append(log, b"x")
        reading = asyncio.create_task(log.read(0, 1, 100, 600_000))
        await asyncio.to_thread(cluster.brokers[0].kill)
        with pytest.raises(LogUnavailable):
            await append(log, b"unknown")
        await log.close()
        with pytest.raises(LogUnavailable):
            await log.bounds(0)
        assert isinstance((await asyncio.gather(reading, return_exceptions=True))[0], list | LogUnavailable)

    asyncio.run(story())


@pytest.mark.slow
def test_a_leader_that_is_killed_takes_no_acknowledged_record_with_it(start_kafka: StartKafka) -> None:
    cluster = start_kafka(3)
    settings = kafka_settings(cluster.address, 3, replication=3)

    async def story() -> None:
        log, reader = await asyncio.gather(KafkaLog.open(settings), KafkaLog.open(settings))
        acknowledged: list[tuple[int, int, bytes]] = []
        warm, killed = [asyncio.Event() for _ in range(3)], asyncio.Event()

        async def write(partition: int) -> None:
            last = 1 << 30
            for number in itertools.count():
                payload = f"{partition}-{number}".encode()
                with contextlib.suppress(LogUnavailable):
                    acknowledged.append((partition, await append(log, payload, partition), payload))
                if number == 100:
                    warm[partition].set()
                if killed.is_set():
                    last = min(last, number + 100)
                if number == last:
                    return

        writing = [asyncio.create_task(write(partition)) for partition in range(3)]
        await asyncio.gather(*(event.wait() for event in warm))
        await asyncio.to_thread(cluster.brokers[0].kill)  # it led one of the partitions
        killed.set()
        await asyncio.gather(*writing)
        assert all(sum(p == partition for p, _, _ in acknowledged) > 150 for partition in range(3))
        for partition in range(3):
            seen = await payloads(reader, partition)
            assert len(seen) == len(set(seen)) == (await reader.bounds(partition))[1]
            assert all(seen[offset] == payload for p, offset, payload in acknowledged if p == partition)
        await close(log, reader)

    asyncio.run(story())
