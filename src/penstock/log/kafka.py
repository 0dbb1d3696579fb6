"""The event log on Apache Kafka: one topic, one Kafka record per log record, many processes. (docs/adr/0011)"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Any

import msgspec
from aiokafka import AIOKafkaClient
from aiokafka.errors import CorruptRecordException, MessageSizeTooLargeError, OffsetOutOfRangeError

from penstock.kernel.ports.event_log import Appended, LogDamaged, LogTrimmed
from penstock.kernel.ports.succession import Seal, decode_seal, encode_seal
from penstock.kernel.problems import LogUnavailable
from penstock.kernel.record import Kind, LogIdentity, LogRecord
from penstock.log.kafka_errors import unavailable
from penstock.log.kafka_identity import identity_of
from penstock.log.kafka_leader import Leaders
from penstock.log.kafka_lineage import fence, log_key, of_log, seal_key, sealed_logs, topic_of
from penstock.log.kafka_protocol import Topic
from penstock.log.kafka_record import decode_records
from penstock.log.kafka_register import Register
from penstock.log.kafka_settings import KafkaSettings
from penstock.log.kafka_topic import (
    FENCE_BYTES,
    TopicRefused,
    config_of,
    is_fenced,
    open_topic,
    open_topic_to_seal,
)
from penstock.log.kafka_writer import Writer
from penstock.log.sealed import refuse_if_sealed, sealed_otherwise

# How long a broker may hold a fetch that finds nothing: after a cancelled read, its connection is busy so long at most.
FETCH_WAIT_MS_MAX = 500
FETCH_BYTES_MAX = 64 * 2**20
FRAMING_BYTES = 64 * 2**10  # headers of records and batches, which a caller's limit on payload does not count
FENCE_POLL_MS = 50

OpenTopic = Callable[[AIOKafkaClient, KafkaSettings], Awaitable[Topic]]

__all__ = ["KafkaLog", "KafkaSettings", "TopicRefused"]


class KafkaLog:
    """An `EventLog` that any number of processes share. Open with `open`; it lives in the event loop that opened it."""

    def __init__(
        self, client: AIOKafkaClient, settings: KafkaSettings, register: Register, identity: LogIdentity, writer: Writer
    ) -> None:
        """`settings` are those of the first log, whichever this one is."""
        self._client, self._identity, self._writer = client, identity, writer
        self._first_settings, self._settings, self._register = settings, of_log(settings, identity), register
        self._leaders = Leaders(client, self._settings.topic, settings.request_timeout_ms)
        self.sealed_for: int | None = None  # how many partitions the log has that will follow, once this is known
        self._closing: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._lanes = itertools.count()
        self._free_lanes: list[str] = []

    @classmethod
    async def open(cls, settings: KafkaSettings) -> KafkaLog:
        """Connect to the newest log; make the topic where it is not there. Raise `TopicRefused`, `LogUnavailable`."""
        return await cls._open(settings, open_topic)

    @classmethod
    async def open_to_seal(cls, settings: KafkaSettings) -> KafkaLog:
        """As `open`, however many partitions the log has, sealed or not; it must be there."""
        log = await cls._open(settings, open_topic_to_seal)
        with unavailable("what is known of the log's seal cannot be read"):
            told = await log._register.first(seal_key(log.identity.sealed))
        log.sealed_for = None if told is None else decode_seal(told).partitions
        return log

    @classmethod
    async def _open(cls, settings: KafkaSettings, opening: OpenTopic) -> KafkaLog:
        client = AIOKafkaClient(**settings.connection())
        async with contextlib.AsyncExitStack() as undo:
            undo.push_async_callback(client.close)
            with unavailable(f"the log at {settings.bootstrap_servers} cannot be opened"):
                await client.bootstrap()
                register = await Register.open(client, settings)
                sealed = await sealed_logs(register)
                newest = msgspec.structs.replace(settings, topic=topic_of(settings.topic, sealed))
                identity = await identity_of(register, await opening(client, newest), sealed)
                await client.add_topic(newest.topic)
                writer = Writer(newest)
                await writer.start()
            undo.pop_all()
        return cls(client, settings, register, identity, writer)

    @property
    def identity(self) -> LogIdentity:
        return self._identity

    async def append(self, partition: int, kind: Kind, stamped_at_us: int, payload: bytes) -> Appended:
        refuse_if_sealed(self.sealed_for)
        try:
            return await self._append(partition, kind, stamped_at_us, payload)
        except LogUnavailable as exc:
            if isinstance(exc.__cause__, MessageSizeTooLargeError):
                await self._refuse_if_fenced()
            raise

    async def _append(self, partition: int, kind: Kind, stamped_at_us: int, payload: bytes) -> Appended:
        assert partition in self._identity.own, "a partition of this log"
        appended = await self._writer.append(partition - self._identity.first, kind, stamped_at_us, payload)
        return msgspec.structs.replace(appended, partition=partition)

    async def _refuse_if_fenced(self) -> None:
        """Raise `LogSealed` where it is the seal that made the brokers refuse a record."""
        with unavailable("whether the log is sealed is not known"):
            if not is_fenced(await config_of(self._settings, self._settings.topic)):
                return
            told = await self._register.first(seal_key(self._identity.sealed))
        assert told is not None, "what follows is told before the fence"
        self.sealed_for = decode_seal(told).partitions
        refuse_if_sealed(self.sealed_for)

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
            return await self._leaders.fetch(partition - self._identity.first, start, bytes_max, wait_ms, lane)
        except CorruptRecordException as exc:
            raise LogDamaged(f"partition {partition}, at or after offset {start}: the broker finds it damaged") from exc
        except OffsetOutOfRangeError as exc:
            first, end = await self._leaders.bounds(partition - self._identity.first)
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
            return await self._leaders.bounds(partition - self._identity.first)

    async def trim(self, partition: int, before: int) -> None:
        self._refuse_if_closed()
        with unavailable(f"partition {partition} cannot be trimmed"):
            first, end = await self._leaders.bounds(partition - self._identity.first)
            if first < before and first < end:
                await self._leaders.delete(partition - self._identity.first, min(before, end))

    async def seal(self, now_us: int, partitions: int) -> None:
        """The fence first, then the seals: so nothing but ticks comes behind one. Done again, it seals again."""
        self._refuse_if_closed()
        with unavailable("the log cannot be sealed"):
            proposal = encode_seal(Seal(partitions))
            agreed = decode_seal(await self._register.settle(seal_key(self._identity.sealed), proposal))
            if agreed.partitions != partitions:
                raise sealed_otherwise(agreed.partitions, partitions)
            await fence(self._settings)
        for partition in self._identity.own:
            await self._until_fenced(partition, now_us)
        for partition in self._identity.own:
            await self._append(partition, Kind.SEAL, now_us, proposal)
        self.sealed_for = partitions

    async def _until_fenced(self, partition: int, now_us: int) -> None:
        """Return once the partition's leader takes nothing large any more: a tick that says nothing is the probe."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._settings.request_timeout_ms / 1000
        while loop.time() < deadline:
            try:
                await self._append(partition, Kind.TICK, now_us, bytes(FENCE_BYTES))
            except LogUnavailable as exc:
                if not isinstance(exc.__cause__, MessageSizeTooLargeError):
                    raise
                return
            await asyncio.sleep(FENCE_POLL_MS / 1000)
        raise LogUnavailable(f"the brokers do not refuse large records of partition {partition} yet", retry_after_s=5)

    async def succeed(self, now_us: int, controls: Sequence[bytes]) -> None:
        """A topic of its own, under the same hash key; it is the newest once the register says so, which comes last."""
        self._refuse_if_closed()
        assert self.sealed_for is not None, "only a sealed log is followed by another"
        sealed = (*self._identity.sealed, self._identity.partitions)
        topic = topic_of(self._first_settings.topic, sealed)
        settings = msgspec.structs.replace(self._settings, topic=topic, partitions=self.sealed_for)
        with unavailable(f"the log {topic} cannot be begun"):
            made = await open_topic(self._client, settings)
            await self._register.settle(made.id, self._identity.hash_key)
            await self._client.add_topic(topic)
            leaders, writer = Leaders(self._client, topic, settings.request_timeout_ms), Writer(settings)
            await writer.start()
            try:
                for partition in range(settings.partitions):
                    if (await leaders.bounds(partition))[1] == 0:
                        await writer.append(partition, Kind.TICK, now_us, b"")
                    for control in controls:
                        await writer.append(partition, Kind.CONTROL, now_us, control)
            finally:
                await writer.close()
            await self._register.settle(log_key(sealed), msgspec.json.encode(sealed))

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
