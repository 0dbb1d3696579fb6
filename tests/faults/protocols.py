"""Every way into a gateway, as one function from a batch of events to how many it took; or the batch has no answer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import NamedTuple

import grpc
import pyarrow as pa

from builders import Body, to_json
from penstock.kernel.window import to_us
from penstock.wire.usage_pb2 import Event, EventBatch, EventColumns
from penstock.wire.usage_pb2_grpc import UsageStub
from server import API_KEY, GONE, PenstockServer
from unit.gateway.arrow_bodies import a_stream

KEY = (("authorization", f"Bearer {API_KEY}"),)
CALL_TIMEOUT_S = 60
SEND_AGAIN_STATUSES = (429, 503)
SEND_AGAIN_CODES = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED)


class Unanswered(Exception):
    """The gateway is gone, or says that it does not know or cannot now: the same events are to be sent again.

    `why` is the HTTP status, the name of the gRPC status, or what became of the connection.
    """

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why


class Taken(NamedTuple):
    """What an answer says of a batch."""

    accepted: int
    duplicate: int


def as_json(gateway: PenstockServer, events: Sequence[Body]) -> Taken:
    return _post(gateway, to_json(list(events)), "application/json")


def as_lines(gateway: PenstockServer, events: Sequence[Body]) -> Taken:
    return _post(gateway, b"\n".join(map(to_json, events)), "application/x-ndjson")


def as_arrow(gateway: PenstockServer, events: Sequence[Body]) -> Taken:
    columns = {
        "transaction_id": pa.array([event["transaction_id"] for event in events]),
        "customer_id": pa.array([event["customer_id"] for event in events]).dictionary_encode(),
        "event_type": pa.array([event["event_type"] for event in events]).dictionary_encode(),
        "timestamp": pa.array(map(_at, events), pa.timestamp("us", tz="UTC")),
        "properties": pa.array([to_json(event["properties"]) for event in events], pa.binary()),
    }
    return _post(gateway, a_stream(columns), "application/vnd.apache.arrow.stream")


def as_rows(gateway: PenstockServer, events: Sequence[Body]) -> Taken:
    rows = [
        Event(
            transaction_id=event["transaction_id"],
            customer_id=event["customer_id"],
            event_type=event["event_type"],
            time_us=to_us(_at(event)),
            properties_json=to_json(event["properties"]),
        )
        for event in events
    ]
    return _call(gateway, EventBatch(events=rows))


def as_columns(gateway: PenstockServer, events: Sequence[Body]) -> Taken:
    columns = EventColumns(
        transaction_ids=[event["transaction_id"] for event in events],
        customer_ids=[event["customer_id"] for event in events],
        event_types=[event["event_type"] for event in events],
        times_us=[to_us(_at(event)) for event in events],
        properties_json=[to_json(event["properties"]) for event in events],
    )
    return _call(gateway, EventBatch(columns=columns))


Way = Callable[[PenstockServer, Sequence[Body]], Taken]
WAYS: tuple[Way, ...] = (as_json, as_lines, as_arrow, as_rows, as_columns)


def _at(event: Body) -> datetime:
    return datetime.fromisoformat(event["timestamp"])


def _post(gateway: PenstockServer, body: bytes, content_type: str) -> Taken:
    try:
        answer = gateway.raw.send("POST", "/v1/ingest", body, {"Content-Type": content_type})
    except GONE as exc:
        raise Unanswered(repr(exc)) from exc
    if answer.status in SEND_AGAIN_STATUSES:
        raise Unanswered(str(answer.status))
    assert answer.status == 200, answer
    return Taken(answer.json["accepted"], answer.json["duplicate"])


def _call(gateway: PenstockServer, batch: EventBatch) -> Taken:
    """On a stream of one batch, over a connection of its own."""
    with grpc.insecure_channel(f"127.0.0.1:{gateway.grpc_port}") as channel:
        stub = UsageStub(channel)  # type: ignore[no-untyped-call]  # generated
        try:
            [receipt] = stub.IngestStream(iter([batch]), metadata=KEY, timeout=CALL_TIMEOUT_S)
        except grpc.RpcError as exc:
            if exc.code() not in SEND_AGAIN_CODES:
                raise
            raise Unanswered(exc.code().name) from exc
    return Taken(receipt.accepted, receipt.duplicate)
