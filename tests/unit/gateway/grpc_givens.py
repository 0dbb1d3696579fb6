"""A gRPC server on loopback around a real gateway, and what its tests send."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

import grpc
import pyarrow as pa

from penstock.gateway.answer import IngestAnswer
from penstock.gateway.grpc_server import GrpcServer, GrpcSettings
from penstock.gateway.ingest import Gateway, GatewaySettings
from penstock.gateway.watch import Unwatched
from penstock.kernel.ports.clock import Clock
from penstock.kernel.ports.event_log import EventLog
from penstock.kernel.problems import Unauthorized
from penstock.web.route import Principal, Scope
from penstock.wire.usage_pb2 import ArrowBatch, Event, EventBatch, EventColumns, IngestReceipt
from penstock.wire.usage_pb2_grpc import UsageStub
from unit.gateway.givens import NO_LINGER, FailingLog, TestClock

TIME_US = 1_782_907_140_000_000  # a minute before the fixed noon of the gateway's tests
KEYS = {
    "Bearer ingest": Principal("tenant-1", "1", frozenset([Scope.INGEST])),
    "Bearer other": Principal("tenant-2", "2", frozenset([Scope.INGEST])),
    "Bearer reader": Principal("tenant-1", "3", frozenset([Scope.READ])),
}
KEY = (("authorization", "Bearer ingest"),)


def authenticate(header: str | None) -> Principal:
    if header not in KEYS:
        raise Unauthorized("the API key is not valid")
    return KEYS[header]


def an_event(transaction_id: str = "txn-1", **changed: Any) -> Event:
    event: dict[str, Any] = {
        "customer_id": "acme",
        "event_type": "llm",
        "time_us": TIME_US,
        "properties_json": b'{"tokens":12}',
    }
    return Event(transaction_id=transaction_id, **(event | changed))


def rows(*events: Event, batch_id: int = 0) -> EventBatch:
    return EventBatch(batch_id=batch_id, events=events)


def columns(*events: Event, batch_id: int = 0, **changed: Any) -> EventBatch:
    """The same events as columns."""
    made: dict[str, Any] = {
        "transaction_ids": [event.transaction_id for event in events],
        "customer_ids": [event.customer_id for event in events],
        "event_types": [event.event_type for event in events],
        "times_us": [event.time_us for event in events],
        "properties_json": [event.properties_json for event in events],
    }
    return EventBatch(batch_id=batch_id, columns=EventColumns(**(made | changed)))


def an_arrow_batch(*transaction_ids: str, batch_id: int = 0) -> ArrowBatch:
    """Events as an Arrow IPC stream, as HTTP takes it."""
    count = len(transaction_ids)
    table = pa.table(
        {
            "transaction_id": list(transaction_ids),
            "customer_id": ["acme"] * count,
            "event_type": ["llm"] * count,
            "timestamp": pa.array([TIME_US] * count, pa.timestamp("us", tz="UTC")),
            "properties": ['{"tokens":12}'] * count,
        }
    )
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return ArrowBatch(batch_id=batch_id, ipc_stream=sink.getvalue().to_pybytes())


class NotingWatch(Unwatched):
    """Remembers how calls ended."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, str]] = []

    def called(self, method: str, status: str) -> None:
        self.calls.append((method, status))


class CountingGateway(Gateway):
    """A gateway that knows how many batches it is working on, and can be waited for."""

    def __init__(self, log: EventLog, clock: Clock, settings: GatewaySettings) -> None:
        self.noted = NotingWatch()
        super().__init__(log, clock, settings, self.noted)
        self.under_way = 0
        self._arrived = asyncio.Semaphore(0)

    async def arrivals(self, batches: int) -> None:
        """Wait until so many more batches are in its queue."""
        for _ in range(batches):
            await self._arrived.acquire()

    async def ingest_decoded(self, *arguments: Any) -> IngestAnswer:
        self.under_way += 1
        self._arrived.release()
        try:
            return await super().ingest_decoded(*arguments)
        finally:
            self.under_way -= 1


class World(NamedTuple):
    """A running server. `stub` speaks as the generated code does; `raw` sends any bytes."""

    server: GrpcServer
    gateway: CountingGateway
    address: str
    channel: grpc.aio.Channel
    stub: Any
    log: FailingLog

    def raw(self, method: str) -> Any:
        return self.channel.unary_unary(f"/penstock.v1.Usage/{method}", response_deserializer=IngestReceipt.FromString)

    def raw_stream(self) -> Any:
        return self.channel.stream_stream(
            "/penstock.v1.Usage/IngestStream", response_deserializer=IngestReceipt.FromString
        )


def serve(
    story: Callable[[World], Awaitable[None]],
    settings: GatewaySettings = NO_LINGER,
    grpc_settings: GrpcSettings = GrpcSettings(),  # noqa: B008  # frozen
) -> None:
    """Run a story against a fresh server over a fresh log of two partitions."""

    async def run() -> None:
        log = FailingLog(2)
        gateway = CountingGateway(log, TestClock(), settings)
        await gateway.start()
        server = GrpcServer(gateway, authenticate, grpc_settings)
        address = f"127.0.0.1:{await server.start('127.0.0.1', 0)}"
        try:
            async with grpc.aio.insecure_channel(address) as channel:
                stub = UsageStub(channel)  # type: ignore[no-untyped-call]  # generated
                await story(World(server, gateway, address, channel, stub, log))
        finally:
            log.held.set()
            await server.drain()
            await gateway.drain()
            await log.close()

    asyncio.run(run())


async def status(call: Awaitable[Any]) -> grpc.aio.AioRpcError:
    """The error with which a call ends."""
    try:
        answer = await call
    except grpc.aio.AioRpcError as exc:
        return exc
    raise AssertionError(f"the call was answered: {answer}")


def trailers(error: grpc.aio.AioRpcError) -> dict[str, str]:
    return {str(name): str(value) for name, value in error.trailing_metadata() or ()}


def verdicts(receipt: IngestReceipt) -> tuple[int, int, int, int]:
    """accepted, duplicate, conflict, rejected"""
    return receipt.accepted, receipt.duplicate, receipt.conflict, receipt.rejected
