"""The gateway over gRPC: decode, call ingest, encode a receipt or a status; nothing else."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import grpc

from penstock.gateway.answer import IngestAnswer
from penstock.gateway.grpc_decode import decode_arrow, decode_batch
from penstock.gateway.grpc_status import detail_of, status_of, trailers_of
from penstock.gateway.ingest import Gateway
from penstock.kernel.event import Verdict
from penstock.kernel.problems import Forbidden, LogUnavailable, Problem
from penstock.web.route import Principal, Scope
from penstock.wire import usage_pb2

SERVICE = "penstock.v1.Usage"
VERDICTS = {
    Verdict.ACCEPTED: usage_pb2.VERDICT_ACCEPTED,
    Verdict.DUPLICATE: usage_pb2.VERDICT_DUPLICATE,
    Verdict.CONFLICT: usage_pb2.VERDICT_CONFLICT,
    Verdict.REJECTED: usage_pb2.VERDICT_REJECTED,
}

Context = grpc.aio.ServicerContext[Any, Any]
Receiving = Callable[[str, bytes], Awaitable[usage_pb2.IngestReceipt]]
logger = logging.getLogger(__name__)


class UsageApi:
    """The service `penstock.v1.Usage`. A message comes as bytes: its size counts, and a bad one is ours to refuse."""

    def __init__(
        self, gateway: Gateway, authenticate: Callable[[str | None], Principal], batches_in_flight_max: int
    ) -> None:
        self._gateway = gateway
        self._authenticate = authenticate
        self._batches_in_flight_max = batches_in_flight_max
        self._draining = False
        self._readers: set[asyncio.Task[None]] = set()
        self._calls = 0
        self._idle = asyncio.Event()
        self._idle.set()

    def handler(self) -> grpc.GenericRpcHandler:
        """What a server is given to serve it."""
        write = usage_pb2.IngestReceipt.SerializeToString
        methods: dict[str, grpc.RpcMethodHandler[Any, Any]] = {
            "Ingest": grpc.unary_unary_rpc_method_handler(self.ingest, response_serializer=write),
            "IngestStream": grpc.stream_stream_rpc_method_handler(self.ingest_stream, response_serializer=write),
            "IngestArrow": grpc.unary_unary_rpc_method_handler(self.ingest_arrow, response_serializer=write),
        }
        return grpc.method_handlers_generic_handler(SERVICE, methods)

    async def ingest(self, message: bytes, context: Context) -> usage_pb2.IngestReceipt:
        async with self._call("Ingest", context) as tenant:
            return await self._take_batch(tenant, message)

    async def ingest_arrow(self, message: bytes, context: Context) -> usage_pb2.IngestReceipt:
        async with self._call("IngestArrow", context) as tenant:
            return await self._take_arrow(tenant, message)

    async def ingest_stream(self, _messages: AsyncIterator[bytes], context: Context) -> None:
        """A bounded number of batches at a time; receipts in their order."""
        async with self._call("IngestStream", context):
            room = asyncio.Semaphore(self._batches_in_flight_max)
            batches: asyncio.Queue[asyncio.Task[usage_pb2.IngestReceipt] | None] = asyncio.Queue()
            reader = asyncio.create_task(self._read(context, room, batches))
            self._readers.add(reader)
            try:
                while batch := await batches.get():
                    await context.write(await batch)
                    room.release()
                await asyncio.wait([reader])
                if reader.cancelled():
                    raise _shutting_down()
                reader.result()  # raises what kept it from reading to the end
            finally:
                self._readers.discard(reader)
                left = [batches.get_nowait() for _ in range(batches.qsize())]
                await _end([reader, *(batch for batch in left if batch is not None)])

    async def _read(
        self,
        context: Context,
        room: asyncio.Semaphore,
        batches: asyncio.Queue[asyncio.Task[usage_pb2.IngestReceipt] | None],
    ) -> None:
        """Start on each batch of a stream, in order, while there is room. None in the queue is the end.

        The key is looked at again for each: a stream may live for days, and a key may be revoked meanwhile.
        """
        try:
            while await room.acquire():
                message = await context.read()
                if message is grpc.aio.EOF:
                    return
                batches.put_nowait(asyncio.create_task(self._take_batch(self._tenant(context), message)))
        finally:
            batches.put_nowait(None)

    async def drain(self, within_s: float) -> None:
        """Take nothing more, and give the batches under way the time to be answered."""
        self._draining = True
        for reader in self._readers:
            reader.cancel()
        try:
            await asyncio.wait_for(self._idle.wait(), within_s)
        except TimeoutError:
            logger.warning("%d gRPC calls were cut off: their clients did not read their receipts", self._calls)

    @asynccontextmanager
    async def _call(self, method: str, context: Context) -> AsyncIterator[str]:
        """The tenant of the caller. What is raised inside becomes the status of the call."""
        self._calls += 1
        status = grpc.StatusCode.CANCELLED
        self._idle.clear()
        try:
            if self._draining:
                raise _shutting_down()
            yield self._tenant(context)
            status = grpc.StatusCode.OK
        except Problem as exc:
            status = status_of(exc)
            logger.info("gRPC %s is refused: %s", method, status.name)
            await context.abort(status, detail_of(exc), trailers_of(exc))
        except Exception:
            logger.exception("a gRPC call failed")
            problem = Problem("an internal error; the server's log has its cause")
            status = status_of(problem)
            await context.abort(status, detail_of(problem), trailers_of(problem))
        finally:
            self._gateway.watch.called(method, status.name)
            self._calls -= 1
            if not self._calls:
                self._idle.set()

    def _tenant(self, context: Context) -> str:
        metadata = dict(context.invocation_metadata() or ())
        header = metadata.get("authorization")
        principal = self._authenticate(header if isinstance(header, str) else None)
        if not principal.may(Scope.INGEST):
            raise Forbidden("this API key may not ingest: it lacks the scope ingest")
        return principal.tenant

    async def _take_batch(self, tenant: str, message: bytes) -> usage_pb2.IngestReceipt:
        self._gateway.budget.refuse_beyond(len(message))  # before the work of reading it
        batch_id, events = decode_batch(message, self._gateway.settings.request_events_max)
        return receipt(batch_id, await self._gateway.ingest_decoded(tenant, events, len(message)))

    async def _take_arrow(self, tenant: str, message: bytes) -> usage_pb2.IngestReceipt:
        batch_id, stream = decode_arrow(message)
        return receipt(batch_id, await self._gateway.ingest_arrow(tenant, stream))


def receipt(batch_id: int, answer: IngestAnswer) -> usage_pb2.IngestReceipt:
    return usage_pb2.IngestReceipt(
        batch_id=batch_id,
        accepted=answer.accepted,
        duplicate=answer.duplicate,
        conflict=answer.conflict,
        rejected=answer.rejected,
        positions=[usage_pb2.Position(partition=r.partition, offset=r.offset) for r in answer.receipts],
        not_accepted=[
            usage_pb2.EventVerdict(
                index=event.index,
                transaction_id=event.transaction_id or "",
                verdict=VERDICTS[event.verdict],
                reason=event.reason,
            )
            for event in answer.events
        ],
    )


def _shutting_down() -> LogUnavailable:
    return LogUnavailable("the server is shutting down", retry_after_s=1)


async def _end(tasks: list[asyncio.Task[Any]]) -> None:
    """Cancel what still runs and wait for it; what it raised was of a call that has already ended."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
