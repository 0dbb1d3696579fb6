"""Events as columns over a gRPC stream: one stream a connection, a receipt for each batch."""

from __future__ import annotations

from collections.abc import Sequence

import grpc
from loadtest.drivers.base import Answer, Driver, Endpoint
from loadtest.drivers.over_grpc import SERVICE, answer_of, failure_of, key_of, open_channel
from loadtest.traffic import EVENT_TYPE, Planned

from penstock.wire.usage_pb2 import EventBatch, EventColumns, IngestReceipt


def driver(endpoint: Endpoint) -> Driver:
    return GrpcDriver(endpoint)


class GrpcDriver:
    """`penstock.v1.Usage/IngestStream`."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint

    def encode(self, events: Sequence[Planned], minute: int) -> bytes:
        return columns(events, minute)

    async def connect(self) -> GrpcStream:
        channel = await open_channel(self._endpoint)
        method: grpc.aio.StreamStreamMultiCallable[bytes, IngestReceipt] = channel.stream_stream(
            SERVICE + "IngestStream", None, IngestReceipt.FromString
        )
        return GrpcStream(channel, method(metadata=key_of(self._endpoint)))


class GrpcStream:
    """One stream with one batch on its way."""

    def __init__(self, channel: grpc.aio.Channel, call: grpc.aio.StreamStreamCall[bytes, IngestReceipt]) -> None:
        self._channel, self._call = channel, call

    async def send(self, body: bytes) -> Answer:
        try:
            await self._call.write(body)
            receipt = await self._call.read()
        except grpc.aio.AioRpcError as exc:
            raise await failure_of(self._call) from exc
        except grpc.aio.UsageError as exc:  # the stream ended while nothing was on its way
            raise await failure_of(self._call) from exc
        if not isinstance(receipt, IngestReceipt):
            raise await failure_of(self._call)
        return answer_of(receipt)

    async def close(self) -> None:
        self._call.cancel()
        await self._channel.close()


def columns(events: Sequence[Planned], minute: int) -> bytes:
    """An `EventBatch` of columns."""
    made = EventColumns(
        transaction_ids=[event.transaction_id for event in events],
        customer_ids=[event.customer for event in events],
        event_types=[EVENT_TYPE] * len(events),
        times_us=[event.time_us(minute) for event in events],
        properties_json=[event.properties for event in events],
    )
    return EventBatch(columns=made).SerializeToString()
