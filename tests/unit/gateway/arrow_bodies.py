"""Arrow IPC streams for tests: good columns with defaults, of which a test changes some."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa

AT = datetime(2026, 7, 1, 11, 59, tzinfo=UTC)
UTC_US = pa.timestamp("us", tz="UTC")
EOS = b"\xff\xff\xff\xff\x00\x00\x00\x00"


def a_column_set(events: int = 3, **changed: Any) -> dict[str, Any]:
    """The five columns of so many good events, in the types that a caller would choose; None leaves a column out."""
    columns = {
        "transaction_id": pa.array([f"txn-{number}" for number in range(events)], pa.string()),
        "customer_id": pa.array(["acme"] * events, pa.string()),
        "event_type": pa.array(["llm"] * events, pa.string()),
        "timestamp": pa.array([AT] * events, UTC_US),
        "properties": pa.array([b'{"tokens":%d}' % number for number in range(events)], pa.binary()),
    }
    return {name: column for name, column in (columns | changed).items() if column is not None}


def a_stream(*batches: dict[str, Any], options: pa.ipc.IpcWriteOptions | None = None) -> bytes:
    """The batches as one stream."""
    records = [pa.RecordBatch.from_pydict(columns) for columns in batches]
    return of_batches(records, options)


def of_batches(records: Sequence[pa.RecordBatch], options: pa.ipc.IpcWriteOptions | None = None) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, records[0].schema, options=options) as writer:
        for record in records:
            writer.write_batch(record)
    stream: bytes = sink.getvalue().to_pybytes()
    return stream
