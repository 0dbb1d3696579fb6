"""The contract of the EventLog port. Every adapter is one line in `LOGS` and passes all of it."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from kafka_part import kafka_settings
from penstock.kernel.ports.event_log import Appended, EventLog, LogTrimmed
from penstock.kernel.problems import LogUnavailable
from penstock.kernel.record import Kind
from penstock.log.embedded import EmbeddedLog
from penstock.log.kafka import KafkaLog
from penstock.log.memory import MemoryLog

PARTITIONS = 3
Clock = Callable[[], int]
OpenLog = Callable[[Clock], Awaitable[EventLog]]
Story = Callable[[EventLog], Awaitable[None]]


def memory_log(request: pytest.FixtureRequest) -> OpenLog:
    async def opened(clock_us: Clock) -> EventLog:
        return MemoryLog(PARTITIONS, clock_us)

    return opened


def embedded_log(request: pytest.FixtureRequest) -> OpenLog:
    folder: Path = request.getfixturevalue("tmp_path")

    async def opened(clock_us: Clock) -> EventLog:
        return EmbeddedLog.open(folder / "log.db", PARTITIONS, clock_us=clock_us)

    return opened


def kafka_log(request: pytest.FixtureRequest) -> OpenLog:
    settings = kafka_settings(request.getfixturevalue("kafka_address"), PARTITIONS)

    async def opened(clock_us: Clock) -> EventLog:
        return await KafkaLog.open(settings)  # the clock is the broker's

    return opened


LOGS = {"memory": memory_log, "embedded": embedded_log, "kafka": kafka_log}
TAKES_A_CLOCK = ["memory", "embedded"]
SURVIVES_REOPEN = ["embedded", "kafka"]


@pytest.fixture(params=list(LOGS))
def open_log(request: pytest.FixtureRequest) -> OpenLog:
    """Opens the same log each time; a fresh one the first time."""
    return LOGS[request.param](request)


@pytest.fixture
def run(open_log: OpenLog) -> Callable[..., None]:
    """Plays a story on a fresh log, then closes it."""

    async def play(story: Story, clock_us: Clock) -> None:
        log = await open_log(clock_us)
        try:
            await story(log)
        finally:
            await log.close()

    def run(story: Story, clock_us: Clock = lambda: 1_000) -> None:
        asyncio.run(play(story, clock_us))

    return run


async def append(log: EventLog, payload: bytes, partition: int = 0) -> Appended:
    return await log.append(partition, Kind.CHUNK, 7, payload)


async def payloads(log: EventLog, partition: int = 0, start: int = 0) -> list[bytes]:
    return [record.payload for record in await log.read(partition, start, 1 << 30, 0)]


def test_offsets_are_contiguous_from_zero_in_each_partition(run: Callable[..., None]) -> None:
    async def story(log: EventLog) -> None:
        assert [(await append(log, b"x", 0)).offset for _ in range(3)] == [0, 1, 2]
        appended = await append(log, b"y", 2)
        assert (appended.partition, appended.offset) == (2, 0)
        assert await log.bounds(0) == (0, 3)
        assert await log.bounds(1) == (0, 0)
        assert await log.bounds(2) == (0, 1)

    run(story)


def test_a_record_comes_back_as_it_was_appended(run: Callable[..., None]) -> None:
    async def story(log: EventLog) -> None:
        first = await log.append(1, Kind.CHUNK, 11, b"chunk")
        second = await log.append(1, Kind.TICK, 12, b"")
        third = await log.append(1, Kind.CONTROL, 13, b"\x00\xff")
        records = await log.read(1, 0, 1 << 20, 0)
        assert [(r.partition, r.offset, r.kind, r.stamped_at_us, r.appended_at_us, r.payload) for r in records] == [
            (1, 0, Kind.CHUNK, 11, first.appended_at_us, b"chunk"),
            (1, 1, Kind.TICK, 12, second.appended_at_us, b""),
            (1, 2, Kind.CONTROL, 13, third.appended_at_us, b"\x00\xff"),
        ]

    run(story)


@pytest.mark.parametrize("open_log", TAKES_A_CLOCK, indirect=True)
def test_the_append_time_is_the_logs_and_never_goes_back_in_a_partition(run: Callable[..., None]) -> None:
    ticks = itertools.cycle([50, 20, 60, 10])

    async def story(log: EventLog) -> None:
        assert [(await append(log, b"x")).appended_at_us for _ in range(4)] == [50, 50, 60, 60]

    run(story, lambda: next(ticks))


def test_a_read_stops_before_its_limit_but_gives_at_least_one_record(run: Callable[..., None]) -> None:
    async def story(log: EventLog) -> None:
        for letter in b"abcd":
            await append(log, bytes([letter]) * 10)
        assert len(await log.read(0, 0, 20, 0)) == 2
        assert len(await log.read(0, 0, 29, 0)) == 2
        assert [r.payload for r in await log.read(0, 2, 5, 0)] == [b"c" * 10]
        assert len(await log.read(0, 1, 1 << 20, 0)) == 3

    run(story)


def test_a_read_at_the_end_gives_nothing_after_its_wait(run: Callable[..., None]) -> None:
    async def story(log: EventLog) -> None:
        await append(log, b"x")
        assert await log.read(0, 1, 100, 0) == []
        assert await log.read(0, 1, 100, 20) == []
        assert await log.read(1, 0, 100, 20) == []

    run(story)


def test_a_waiting_read_wakes_up_on_the_append(run: Callable[..., None]) -> None:
    async def story(log: EventLog) -> None:
        waiting = [asyncio.create_task(log.read(1, 0, 100, 60_000)) for _ in range(3)]
        await asyncio.sleep(0.02)
        assert not any(read.done() for read in waiting)
        started = time.monotonic()
        await append(log, b"wake", 1)
        for read in waiting:
            assert [r.payload for r in await read] == [b"wake"]
        assert time.monotonic() - started < 30  # and not after the 60 s of its wait

    run(story)


def test_an_append_to_another_partition_does_not_end_a_wait(run: Callable[..., None]) -> None:
    async def story(log: EventLog) -> None:
        waiting = asyncio.create_task(log.read(1, 0, 100, 60_000))
        await append(log, b"other", 0)
        await asyncio.sleep(0.02)
        assert not waiting.done()
        await append(log, b"mine", 1)
        assert [r.payload for r in await waiting] == [b"mine"]

    run(story)


def test_concurrent_appends_get_distinct_offsets_and_keep_their_payloads(run: Callable[..., None]) -> None:
    async def story(log: EventLog) -> None:
        async def one(number: int) -> tuple[int, int, bytes]:
            appended = await append(log, str(number).encode(), number % PARTITIONS)
            return appended.partition, appended.offset, str(number).encode()

        receipts = await asyncio.gather(*(one(number) for number in range(150)))
        receipts += await asyncio.gather(*(one(number) for number in range(150, 300)))
        for partition in range(PARTITIONS):
            mine = sorted((offset, payload) for p, offset, payload in receipts if p == partition)
            assert [offset for offset, _ in mine] == list(range(100))
            assert await payloads(log, partition) == [payload for _, payload in mine]

    run(story)


def test_a_task_appends_in_the_order_in_which_it_asked(run: Callable[..., None]) -> None:
    async def story(log: EventLog) -> None:
        await asyncio.gather(*(append(log, bytes([number])) for number in range(50)))
        assert await payloads(log) == [bytes([number]) for number in range(50)]

    run(story)


def test_trimmed_records_are_gone_and_offsets_go_on(run: Callable[..., None]) -> None:
    async def story(log: EventLog) -> None:
        for number in range(200):
            await append(log, bytes([number]))
        await log.trim(0, 150)
        await log.trim(0, 150)
        await log.trim(0, 10)
        assert await log.bounds(0) == (150, 200)
        assert await payloads(log, 0, 150) == [bytes([number]) for number in range(150, 200)]
        with pytest.raises(LogTrimmed, match="starts at offset 150, not 149"):
            await log.read(0, 149, 100, 0)
        with pytest.raises(LogTrimmed):
            await log.read(0, 0, 100, 0)
        assert await log.bounds(1) == (0, 0)

    run(story)


def test_offsets_never_repeat_even_when_all_is_trimmed(run: Callable[..., None]) -> None:
    async def story(log: EventLog) -> None:
        await append(log, b"a")
        await append(log, b"b")
        await log.trim(0, 99)
        assert await log.bounds(0) == (2, 2)
        assert await log.read(0, 2, 100, 0) == []
        assert (await append(log, b"c")).offset == 2
        assert await payloads(log, 0, 2) == [b"c"]

    run(story)


def test_after_close_nothing_is_taken_and_a_waiting_read_ends(run: Callable[..., None]) -> None:
    async def story(log: EventLog) -> None:
        waiting = asyncio.create_task(log.read(0, 0, 100, 60_000))
        await asyncio.sleep(0.01)
        await log.close()
        await log.close()
        assert await waiting == []
        with pytest.raises(LogUnavailable):
            await append(log, b"late")
        with pytest.raises(LogUnavailable):
            await log.read(0, 0, 100, 0)

    run(story)


def test_close_waits_for_appends_under_way(run: Callable[..., None]) -> None:
    async def story(log: EventLog) -> None:
        appends = [asyncio.create_task(append(log, b"x")) for _ in range(20)]
        await asyncio.sleep(0)
        await log.close()
        assert [appended.offset for appended in await asyncio.gather(*appends)] == list(range(20))

    run(story)


def test_two_logs_never_have_the_same_identity(run: Callable[..., None], tmp_path: Path) -> None:
    async def story(log: EventLog) -> None:
        other = MemoryLog(PARTITIONS)
        assert log.identity.partitions == PARTITIONS
        assert len(log.identity.hash_key) == 32
        assert log.identity.log_id != other.identity.log_id
        assert log.identity.hash_key != other.identity.hash_key

    run(story)


@pytest.mark.parametrize("open_log", SURVIVES_REOPEN, indirect=True)
def test_everything_is_there_after_a_restart(open_log: OpenLog) -> None:
    last: list[Appended] = []

    async def before() -> EventLog:
        log = await open_log(lambda: 500)
        for number in range(5):
            await append(log, bytes([number]))
        last.append(await append(log, b"gone", 2))
        await log.trim(0, 2)
        await log.trim(2, 1)
        await log.close()
        return log

    async def after() -> EventLog:
        log = await open_log(lambda: 100)
        assert await log.bounds(0) == (2, 5)
        assert await payloads(log, 0, 2) == [b"\x02", b"\x03", b"\x04"]
        for partition, offset in (0, 5), (2, 1):
            appended = await append(log, b"next", partition)
            assert (appended.partition, appended.offset) == (partition, offset)
            assert appended.appended_at_us >= last[0].appended_at_us  # the append time does not go back either
        await log.close()
        return log

    assert asyncio.run(before()).identity == asyncio.run(after()).identity
