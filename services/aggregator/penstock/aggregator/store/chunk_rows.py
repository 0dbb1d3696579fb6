"""Whole log records between Arrow and the table `chunks`: what is written, and which ones a reader must look into."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from penstock.kernel.record import Vector
from penstock.kernel.stored import LogPlace
from penstock.kernel.stored_chunk import StoredChunk, customer_hashes
from penstock.kernel.window import BASE_WINDOW_US, Span, to_us

# Copies of a row, which a repeated flush leaves until a merge, are equal: no FINAL, which would read every payload.
READ_CHUNKS = {"final": 0}

Place = tuple[int, int]  # partition and offset

_SCHEMA = pa.schema(
    [
        ("day", pa.uint16()),
        ("partition", pa.uint16()),
        ("offset", pa.uint64()),
        ("events", pa.uint32()),
        ("tenants", pa.list_(pa.string())),
        ("customers", pa.list_(pa.uint16())),
        ("windows", pa.list_(pa.uint32())),
        ("outcomes", pa.binary()),
        ("payload", pa.binary()),
    ]
)


def chunk_table(partition: int, chunks: Sequence[StoredChunk]) -> pa.Table:
    """Rows of the table `chunks`."""
    columns = [
        [chunk.day for chunk in chunks],
        [partition] * len(chunks),
        [chunk.offset for chunk in chunks],
        [len(chunk.outcomes) for chunk in chunks],
        [chunk.tenants for chunk in chunks],
        [chunk.customers for chunk in chunks],
        [chunk.windows for chunk in chunks],
        [chunk.outcomes.tobytes() for chunk in chunks],
        [chunk.payload for chunk in chunks],
    ]
    return pa.Table.from_arrays(
        [pa.array(column, field.type) for column, field in zip(columns, _SCHEMA, strict=True)], schema=_SCHEMA
    )


def condition(
    tenant: str, customers: tuple[str, ...] | None, span: Span | None, as_of: Vector, partition: int | None
) -> tuple[str, dict[str, Any]]:
    """Which records may hold what is asked for, and the parameters of the condition."""
    asked: dict[str, Any] = {"tenant": tenant, "limits": [offset + 1 for offset in as_of]}
    where = ["has(tenants, {tenant:String})", "offset < arrayElement({limits:Array(UInt64)}, partition + 1)"]
    if partition is not None:
        where.append("partition = {partition:UInt16}")
        asked["partition"] = partition
    if customers is not None:
        where.append("hasAny(customers, {customers:Array(UInt16)})")
        asked["customers"] = customer_hashes(customers)
    if span is not None:
        first, last = to_us(span.start) // BASE_WINDOW_US, -(-to_us(span.end) // BASE_WINDOW_US)
        where.append(f"arrayExists(w -> w >= {first} AND w < {last}, windows)")
    return " AND ".join(where), asked


def list_sql(where: str) -> str:
    return f"SELECT DISTINCT partition, offset, events FROM chunks WHERE {where} ORDER BY partition, offset"


def fetch_sql(places: Sequence[Place]) -> str:
    wanted = ", ".join(f"({partition}, {offset})" for partition, offset in places)
    return f"""SELECT partition, offset, day, outcomes, payload FROM chunks WHERE (partition, offset) IN ({wanted})
               ORDER BY partition, offset LIMIT 1 BY partition, offset"""


def batches(listed: Sequence[tuple[int, int, int]], events_max: int) -> Iterator[list[Place]]:
    """Consecutive records of at most `events_max` events together, and at least one."""
    batch: list[Place] = []
    held = 0
    for partition, offset, events in listed:
        if batch and held + events > events_max:
            yield batch
            batch, held = [], 0
        batch.append((partition, offset))
        held += events
    if batch:
        yield batch


def fetched(table: pa.Table) -> Iterator[tuple[int, StoredChunk]]:
    """The records of a fetched table, each with its partition."""
    for row in table.to_pylist():
        outcomes = np.frombuffer(row["outcomes"], np.uint8)
        yield row["partition"], StoredChunk(row["day"], row["offset"], row["payload"], outcomes, [], [], [])


def places_of(places: Sequence[LogPlace]) -> list[Place]:
    return sorted({(place.partition, place.offset) for place in places})
