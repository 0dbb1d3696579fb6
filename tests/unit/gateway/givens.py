"""What the gateway's tests start from: a fixed noon, an event with defaults, a running gateway on a log."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

from penstock.gateway.answer import IngestAnswer
from penstock.gateway.coalescer import CoalescerSettings
from penstock.gateway.ingest import Gateway, GatewaySettings
from penstock.kernel.chunk import Chunk
from penstock.kernel.ports.event_log import Appended, EventLog
from penstock.kernel.problems import LogUnavailable
from penstock.kernel.record import Kind
from penstock.log.memory import MemoryLog

NOON = datetime(2026, 7, 1, 12, tzinfo=UTC)
NO_LINGER = GatewaySettings(coalescer=CoalescerSettings(linger_ms=0))


class TestClock:
    """A clock that moves when told."""

    __test__ = False

    def __init__(self, now: datetime = NOON) -> None:
        self.instant = now

    def now(self) -> datetime:
        return self.instant

    def advance(self, by: timedelta) -> None:
        self.instant += by


class FailingLog(MemoryLog):
    """A log that does not answer what comes while it is told so; `held` keeps appends waiting."""

    def __init__(self, partitions: int = 1) -> None:
        super().__init__(partitions)
        self.failing: set[int] = set()
        self.appends = 0
        self.held = asyncio.Event()
        self.held.set()

    async def append(self, partition: int, kind: Kind, stamped_at_us: int, payload: bytes) -> Appended:
        if kind is Kind.TICK:
            return await super().append(partition, kind, stamped_at_us, payload)
        self.appends += 1
        fails = partition in self.failing
        await self.held.wait()
        if fails:
            raise LogUnavailable("no acknowledgement")
        return await super().append(partition, kind, stamped_at_us, payload)


def an_event(transaction_id: object = "txn-1", **changed: object) -> dict[str, object]:
    """An event as a caller writes it; a field that is None is left out."""
    event: dict[str, object] = {
        "transaction_id": transaction_id,
        "customer_id": "acme",
        "event_type": "llm",
        "timestamp": "2026-07-01T11:59:00Z",
        "properties": {"tokens": 12},
    }
    return {name: value for name, value in (event | changed).items() if value is not None}


def a_body(*events: object) -> bytes:
    return json.dumps(list(events)).encode()


@asynccontextmanager
async def a_gateway(
    log: EventLog, clock: TestClock | None = None, settings: GatewaySettings = NO_LINGER
) -> AsyncIterator[Gateway]:
    gateway = Gateway(log, clock or TestClock(), settings)
    await gateway.start()
    try:
        yield gateway
    finally:
        await gateway.drain()


def play(story: Callable[[Gateway, MemoryLog], Awaitable[None]], settings: GatewaySettings = NO_LINGER) -> None:
    """Run a story on a fresh gateway over a fresh log of two partitions."""

    async def run() -> None:
        log = MemoryLog(2)
        async with a_gateway(log, settings=settings) as gateway:
            await story(gateway, log)
        await log.close()

    asyncio.run(run())


async def logged_ids(log: EventLog) -> list[str]:
    """The transaction ids in the log, sorted."""
    ids: list[str] = []
    for partition in range(log.identity.partitions):
        first, end = await log.bounds(partition)
        while first < end:
            records = await log.read(partition, first, 1 << 20, 0)
            first += len(records)
            ids += [id for record in records if record.kind is Kind.CHUNK for id in Chunk.decode(record.payload).ids()]
    return sorted(ids)


def counts(answer: IngestAnswer) -> tuple[int, int, int, int]:
    """accepted, duplicate, conflict, rejected"""
    return answer.accepted, answer.duplicate, answer.conflict, answer.rejected
