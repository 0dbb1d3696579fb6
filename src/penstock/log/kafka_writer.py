"""Appends by an idempotent producer: in order, in all in-sync replicas before their receipt, bounded in bytes.

aiokafka retries a batch for ever, so that a leader's move neither loses nor doubles it. An append that takes longer
than its time-out is given up as unknown; its bytes count as in flight until the producer is done with it.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections import defaultdict
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError, ProducerClosed

from penstock.kernel.ports.event_log import Appended
from penstock.kernel.problems import LogUnavailable
from penstock.kernel.record import Kind
from penstock.log.kafka_errors import RETRY_AFTER_S, unavailable
from penstock.log.kafka_record import LOG_APPEND_TIME, headers_of
from penstock.log.kafka_settings import BATCH_BYTES_MAX, RECORD_BYTES_MAX, KafkaSettings

RECORD_OVERHEAD_BYTES = 1_024
STOP_MS_MAX = 1_000


class Writer:
    """Open with `start`. One event loop."""

    def __init__(self, settings: KafkaSettings) -> None:
        self._settings = settings
        self._producer: Any = None
        self._order: defaultdict[int, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._in_flight_bytes = 0
        self._freed = asyncio.Event()
        self._under_way: set[asyncio.Task[Appended]] = set()
        self._retiring: set[asyncio.Task[None]] = set()
        self._closed = False

    async def start(self) -> None:
        """Connect. Raise `KafkaError`."""
        self._producer = await self._connected()

    async def append(self, partition: int, kind: Kind, stamped_at_us: int, payload: bytes) -> Appended:
        """Return once all in-sync replicas have it. Raise `LogUnavailable`."""
        assert len(payload) <= RECORD_BYTES_MAX, "a chunk is far smaller"
        if self._closed:
            raise LogUnavailable("the log is closed")
        appending = asyncio.create_task(self._append(partition, kind, stamped_at_us, payload))
        self._under_way.add(appending)
        appending.add_done_callback(self._under_way.discard)
        return await appending

    async def _append(self, partition: int, kind: Kind, stamped_at_us: int, payload: bytes) -> Appended:
        with unavailable(f"the append to partition {partition} is not acknowledged"):
            async with asyncio.timeout(self._settings.append_timeout_ms / 1000):
                async with self._order[partition]:  # a lock is fair: records keep the order of their calls
                    future = await self._send(partition, headers_of(kind, stamped_at_us), payload)
                # Not the future itself: it is the producer's word on bytes in flight, after our time-out too.
                metadata = await asyncio.shield(future)
        if metadata.offset < 0 or metadata.timestamp_type != LOG_APPEND_TIME:
            raise LogUnavailable("the brokers took the record, but do not say where", retry_after_s=RETRY_AFTER_S)
        return Appended(partition, metadata.offset, metadata.timestamp * 1_000)

    async def _send(self, partition: int, headers: list[tuple[str, bytes]], payload: bytes) -> asyncio.Future[Any]:
        size = len(payload) + RECORD_OVERHEAD_BYTES
        while self._in_flight_bytes and self._in_flight_bytes + size > self._settings.in_flight_bytes_max:
            self._freed.clear()
            await self._freed.wait()
        producer = await self._working()
        future: asyncio.Future[Any] = await producer.send(
            self._settings.topic, payload, partition=partition, headers=headers
        )
        self._in_flight_bytes += size
        future.add_done_callback(lambda done: self._landed(done, producer, size))
        return future

    def _landed(self, future: asyncio.Future[Any], producer: Any, size: int) -> None:
        self._in_flight_bytes -= size
        self._freed.set()
        if future.exception() is not None and producer is self._producer:
            # It has counted a batch that the brokers have not: they would refuse every later one. Start afresh.
            self._producer = None
            self._retire(producer)

    async def _working(self) -> Any:
        """The producer, or a new one where the last has failed."""
        if self._producer is None:
            fresh = await self._connected()
            if self._producer is None:
                self._producer = fresh
            else:  # another partition's append was as quick
                self._retire(fresh)
        return self._producer

    async def _connected(self) -> Any:
        producer = AIOKafkaProducer(
            **self._settings.connection(),
            acks="all",
            enable_idempotence=True,
            linger_ms=self._settings.linger_ms,
            max_batch_size=BATCH_BYTES_MAX,
            max_request_size=RECORD_BYTES_MAX + RECORD_OVERHEAD_BYTES,
        )
        try:
            await producer.start()
        except BaseException:
            await producer.stop()
            raise
        return producer

    def _retire(self, producer: Any) -> None:
        retiring = asyncio.create_task(_stop(producer))
        self._retiring.add(retiring)
        retiring.add_done_callback(self._retiring.discard)

    async def close(self) -> None:
        """Wait for appends under way, each of which has its time-out, then disconnect."""
        self._closed = True
        if self._under_way:
            await asyncio.wait(self._under_way)
        if self._producer is not None:
            await _stop(self._producer)
        if self._retiring:
            await asyncio.wait(self._retiring)


async def _stop(producer: Any) -> None:
    """Flush and disconnect. What the brokers do not take soon is given up: nobody waits for its receipt any more."""
    stopping = asyncio.create_task(producer.stop())
    await asyncio.wait([stopping], timeout=STOP_MS_MAX / 1000)
    if not stopping.done():
        # aiokafka has no public way to stop a producer whose brokers are away: it would retry for ever.
        await producer._sender.close()
        waiting = producer._message_accumulator
        batches = [*itertools.chain.from_iterable(waiting._batches.values()), *waiting._pending_batches]
        waiting.fail_all(ProducerClosed())
        for batch in batches:
            batch._drain_waiter.exception()  # seen: else asyncio tells of it whenever it is collected
    with contextlib.suppress(KafkaError):
        await stopping
