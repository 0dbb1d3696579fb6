"""Arrow IPC streams in gRPC messages, one call a batch."""

from __future__ import annotations

from collections.abc import Sequence

import grpc
from loadtest.drivers.arrow import stream
from loadtest.drivers.base import Answer, Driver, Endpoint
from loadtest.drivers.over_grpc import SERVICE, answer_of, failure_of, key_of, open_channel
from loadtest.traffic import Planned

from penstock.wire.usage_pb2 import ArrowBatch, IngestReceipt


def driver(endpoint: Endpoint) -> Driver:
    return GrpcArrowDriver(endpoint)


class GrpcArrowDriver:
    """`penstock.v1.Usage/IngestArrow`."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint

    def encode(self, events: Sequence[Planned], minute: int) -> bytes:
        return ArrowBatch(ipc_stream=stream(events, minute)).SerializeToString()

    async def connect(self) -> GrpcArrowCalls:
        channel = await open_channel(self._endpoint)
        return GrpcArrowCalls(channel, key_of(self._endpoint))


class GrpcArrowCalls:
    """A connection with one call on its way."""

    def __init__(self, channel: grpc.aio.Channel, key: Sequence[tuple[str, str]]) -> None:
        self._channel, self._key = channel, key
        self._method: grpc.aio.UnaryUnaryMultiCallable[bytes, IngestReceipt] = channel.unary_unary(
            SERVICE + "IngestArrow", None, IngestReceipt.FromString
        )

    async def send(self, body: bytes) -> Answer:
        call = self._method(body, metadata=self._key)
        try:
            return answer_of(await call)
        except grpc.aio.AioRpcError as exc:
            raise await failure_of(call) from exc

    async def close(self) -> None:
        await self._channel.close()
