"""A customer who sends events to a running server in any format, and what is counted of them."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from itertools import count
from typing import Any

import pyarrow as pa

from builders import Body, a_metric_body, an_event, to_json, yesterday
from server import Answer, PenstockServer
from unit.gateway.arrow_bodies import a_stream

NUMBERS = count()
NDJSON, ARROW = "application/x-ndjson", "application/vnd.apache.arrow.stream"
NOON = yesterday() + timedelta(hours=12)


@dataclass
class Sender:
    """A customer of a running server who sends events in any way, and what is counted of them."""

    server: PenstockServer
    customer_id: str
    alias: str
    metric: str

    def events(self, number: int) -> list[Body]:
        return [an_event(f"{self.alias}-{n}", customer_id=self.alias, properties={"n": n}) for n in range(number)]

    def lines(self, number: int) -> bytes:
        return b"\n".join(map(to_json, self.events(number)))

    def columns(self, number: int, **changed: Any) -> dict[str, Any]:
        events = self.events(number)
        columns = {
            "transaction_id": pa.array([event["transaction_id"] for event in events]),
            "customer_id": pa.array([self.alias] * number).dictionary_encode(),
            "event_type": pa.array(["llm_call"] * number).dictionary_encode(),
            "timestamp": pa.array([NOON] * number, pa.timestamp("us", tz="UTC")),
            "properties": pa.array([to_json(event["properties"]) for event in events], pa.binary()),
        }
        return {name: column for name, column in (columns | changed).items() if column is not None}

    def send(self, body: bytes, content_type: str = "application/json", encoding: str | None = None) -> Answer:
        headers = {"Content-Type": content_type} | ({} if encoding is None else {"Content-Encoding": encoding})
        return self.server.raw.send("POST", "/v1/ingest", body, headers)

    def counted(self) -> Decimal:
        start, end = yesterday(), yesterday() + timedelta(days=1)
        return self.server.usage(self.metric, self.customer_id, start, end).get((start, ()), Decimal(0))


@functools.cache
def metric_of(server: PenstockServer) -> str:
    """The one metric of a server that counts what senders send."""
    return server.client.v1.billable_metrics.create(**a_metric_body("events")).data.id


def a_sender(server: PenstockServer) -> Sender:
    """A customer of its own, with an alias that no other has."""
    alias = f"sender-{next(NUMBERS)}"
    customer_id = server.client.v1.customers.create(name=alias, ingest_aliases=[alias]).data.id
    return Sender(server, customer_id, alias, metric_of(server))


def array_of(sender: Sender) -> bytes:
    return to_json(sender.events(1_000))


def lines_of(sender: Sender) -> bytes:
    return sender.lines(1_000)


def stream_of(sender: Sender) -> bytes:
    return a_stream(sender.columns(1_000))
