"""The event log on Apache Kafka: one topic, one Kafka record per log record, many processes. (docs/adr/0011)"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import Iterator
from typing import Any

from aiokafka import AIOKafkaClient
from aiokafka.errors import CorruptRecordException, OffsetOutOfRangeError

from penstock.kernel.ports.event_log import Appended, LogDamaged, LogTrimmed
from penstock.kernel.problems import LogUnavailable
from penstock.kernel.record import Kind, LogIdentity, LogRecord
from penstock.log.kafka_errors import unavailable
from penstock.log.kafka_identity import identity_of
from penstock.log.kafka_leader import Leaders
from penstock.log.kafka_record import decode_records
from penstock.log.kafka_settings import KafkaSettings
from penstock.log.kafka_topic import TopicRefused, open_topic
from penstock.log.kafka_writer import Writer

# How long a broker may hold a fetch that finds nothing: after a cancelled read, its connection is busy so long at most.
FETCH_WAIT_MS_MAX = 500
FETCH_BYTES_MAX = 64 * 2**20
FRAMING_BYTES = 64 * 2**10  # headers of records and batches, which a caller's limit on payload does not count

__all__ = ["KafkaLog", "KafkaSettings", "TopicRefused"]


class KafkaLog:
    """An `EventLog` that any number of processes share. Open with `open`; it lives in the event loop that opened it."""

    def __init__(self, client: AIOKafkaClient, settings: KafkaSettings, identity: LogIdentity, writer: Writer) -> None:
        self._client, self._identity, self._writer = client, identity, writer
        self._leaders = Leaders(client, settings.topic, settings.request_timeout_ms)
        self._closing: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._lanes = itertools.count()
        self._free_lanes: list[str] = []

    @classmethod
    async def open(cls, settings: KafkaSettings) -> KafkaLog:
        """Connect; make the topic where it is not there. Raise `TopicRefused`, `LogUnavailable`."""
        client = AIOKafkaClient(**settings.connection())
        writer = Writer(settings)
        async with contextlib.AsyncExitStack() as undo:
            undo.push_async_callback(client.close)
            with unavailable(f"the log at {settings.bootstrap_servers} cannot be opened"):
                await client.bootstrap()
                topic = await open_topic(client, settings)
                identity = await identity_of(client, settings, topic)
                await client.set_topics([settings.topic])
                await writer.start()
            undo.pop_all()
        return cls(client, settings, identity, writer)

    @property
    def identity(self) -> LogIdentity:
        return self._identity

    async def append(self, partition: int, kind: Kind, stamped_at_us: int, payload: bytes) -> Appended:
        assert 0 <= partition < self._identity.partitions, "a partition of this log"
        return await self._writer.append(partition, kind, stamped_at_us, payload)

    async def read(self, partition: int, start: int, bytes_max: int, wait_ms: int) -> list[LogRecord]:
        """As the port says. A record above the durable end, which only a log that lost records has, is `LogDamaged`."""
        self._refuse_if_closed()
        reading = asyncio.create_task(self._read(partition, start, bytes_max, wait_ms))
        try:
            waited: set[asyncio.Future[Any]] = {reading, self._closing}
            await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
            return reading.result() if reading.done() else []
        finally:
            reading.cancel()

    async def _read(self, partition: int, start: int, bytes_max: int, wait_ms: int) -> list[LogRecord]:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + wait_ms / 1000
        fetch_bytes = min(bytes_max + FRAMING_BYTES, FETCH_BYTES_MAX)
        with self._lane() as lane, unavailable(f"partition {partition} cannot be read"):
            while True:
                left_ms = max(0, int((deadline - loop.time()) * 1000))
                batches = await self._fetch(partition, start, fetch_bytes, min(left_ms, FETCH_WAIT_MS_MAX), lane)
                records = decode_records(partition, start, bytes_max, batches)
                if records or not left_ms:
                    return records

    async def _fetch(self, partition: int, start: int, bytes_max: int, wait_ms: int, lane: str) -> bytes:
        try:
            return await self._leaders.fetch(partition, start, bytes_max, wait_ms, lane)
        except CorruptRecordException as exc:
            raise LogDamaged(f"partition {partition}, at or after offset {start}: the broker finds it damaged") from exc
        except OffsetOutOfRangeError as exc:
            first, end = await self._leaders.bounds(partition)
            if start < first:
                raise LogTrimmed(f"partition {partition} starts at offset {first}, not {start}") from exc
            raise LogDamaged(f"partition {partition} ends at offset {end}, before {start}") from exc

    @contextlib.contextmanager
    def _lane(self) -> Iterator[str]:
        """A connection that no other read uses now: a read that waits must not hold up another."""
        lane = self._free_lanes.pop() if self._free_lanes else f"read-{next(self._lanes)}"
        try:
            yield lane
        finally:
            self._free_lanes.append(lane)

    async def bounds(self, partition: int) -> tuple[int, int]:
        self._refuse_if_closed()
        with unavailable(f"the bounds of partition {partition} are not known"):
            return await self._leaders.bounds(partition)

    async def trim(self, partition: int, before: int) -> None:
        self._refuse_if_closed()
        with unavailable(f"partition {partition} cannot be trimmed"):
            first, end = await self._leaders.bounds(partition)
            if first < before and first < end:
                await self._leaders.delete(partition, min(before, end))

    async def close(self) -> None:
        """Appends under way end first, each with its receipt or its time-out; waiting reads end at once."""
        if self._closing.done():
            return
        self._closing.set_result(None)
        await self._writer.close()
        await self._client.close()

    def _refuse_if_closed(self) -> None:
        if self._closing.done():
            raise LogUnavailable("the log is closed")
