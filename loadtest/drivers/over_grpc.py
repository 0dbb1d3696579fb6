"""What the two protocols over gRPC share: a connection of their own, the key, and what a status means.

Requests go out as the bytes that the templates hold: no message object is made for a batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import urlsplit

import grpc
from loadtest.drivers.base import Answer, Busy, Endpoint, Lost, NotServed, Receipt, Refused

from penstock.wire.usage_pb2 import IngestReceipt

SERVICE = "/penstock.v1.Usage/"
BUSY_DEFAULT_S = 0.2
PASSING = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.CANCELLED)
OPTIONS = (
    ("grpc.use_local_subchannel_pool", 1),  # channels of one process would share a connection otherwise
    ("grpc.max_receive_message_length", -1),
)


async def open_channel(endpoint: Endpoint) -> grpc.aio.Channel:
    """A channel that is connected. Raise `Lost` where nobody answers, `Refused` for a compression that gRPC lacks."""
    if endpoint.compress not in (None, "gzip"):
        raise Refused(f"gRPC in Python compresses with gzip only, not {endpoint.compress}")
    compression = grpc.Compression.Gzip if endpoint.compress else None
    if urlsplit(endpoint.url).scheme == "https":
        secure = grpc.ssl_channel_credentials()
        channel = grpc.aio.secure_channel(endpoint.grpc, secure, options=OPTIONS, compression=compression)
    else:
        channel = grpc.aio.insecure_channel(endpoint.grpc, options=OPTIONS, compression=compression)
    try:
        await _connected(channel, endpoint.grpc)
    except BaseException:
        await channel.close()
        raise
    return channel


async def _connected(channel: grpc.aio.Channel, address: str) -> None:
    state = channel.get_state(try_to_connect=True)
    while state is not grpc.ChannelConnectivity.READY:
        if state is grpc.ChannelConnectivity.TRANSIENT_FAILURE:
            raise Lost(f"nobody answers at {address}")
        await channel.wait_for_state_change(state)
        state = channel.get_state(try_to_connect=True)


def key_of(endpoint: Endpoint) -> Sequence[tuple[str, str]]:
    return (("authorization", f"Bearer {endpoint.api_key}"),)


def answer_of(receipt: IngestReceipt) -> Answer:
    places = tuple(Receipt(position.partition, position.offset) for position in receipt.positions)
    return Answer(receipt.accepted, receipt.duplicate, receipt.conflict, receipt.rejected, places)


def failure(code: grpc.StatusCode, details: str | None, trailing: Sequence[tuple[str, str | bytes]]) -> Exception:
    """The error to raise for a status that is not OK."""
    if code is grpc.StatusCode.RESOURCE_EXHAUSTED:
        asked = dict(trailing).get("retry-after")
        if asked is not None:
            return Busy(float(asked))
    if code is grpc.StatusCode.UNIMPLEMENTED:
        return NotServed(f"{code.name} {details}")
    if code in PASSING:
        return Lost(f"{code.name} {details}")
    return Refused(f"{code.name} {details}")


async def failure_of(call: grpc.aio.Call) -> Exception:
    trailing = await call.trailing_metadata()
    return failure(await call.code(), await call.details(), [(key, value) for key, value in trailing or ()])
