"""Arrow IPC streams over HTTP. Uncompressed inside, so that the bytes of an id can be written over."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa
from loadtest.drivers.base import Driver, Endpoint
from loadtest.drivers.over_http import HttpDriver
from loadtest.traffic import EVENT_TYPE, Planned

CONTENT_TYPE = "application/vnd.apache.arrow.stream"
SCHEMA = pa.schema(
    [
        pa.field("transaction_id", pa.string(), nullable=False),
        pa.field("customer_id", pa.string(), nullable=False),
        pa.field("event_type", pa.string(), nullable=False),
        pa.field("timestamp", pa.timestamp("us", tz="UTC"), nullable=False),
        pa.field("properties", pa.binary(), nullable=False),
    ]
)


def driver(endpoint: Endpoint) -> Driver:
    return HttpDriver(endpoint, CONTENT_TYPE, stream)


def stream(events: Sequence[Planned], minute: int) -> bytes:
    """One record batch in one stream."""
    columns = [
        pa.array([event.transaction_id for event in events], pa.string()),
        pa.array([event.customer for event in events], pa.string()),
        pa.array([EVENT_TYPE] * len(events), pa.string()),
        pa.array([event.time_us(minute) for event in events], pa.int64()).cast(SCHEMA.field("timestamp").type),
        pa.array([event.properties for event in events], pa.binary()),
    ]
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, SCHEMA) as writer:
        writer.write_batch(pa.RecordBatch.from_arrays(columns, schema=SCHEMA))
    body: bytes = sink.getvalue().to_pybytes()
    return body
