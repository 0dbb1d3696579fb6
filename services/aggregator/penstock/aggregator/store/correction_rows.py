"""Corrections as rows of SQL, and back: what the store writes to and asks of its table `corrections`.

Copies of a row, which a repeated flush leaves until a merge, are equal in every column.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import pyarrow as pa

from penstock.aggregator.store import event_rows
from penstock.aggregator.store.audit_rows import STRETCH, stretches_asked
from penstock.kernel.correction import Corrected, Move, Refusal, Revision
from penstock.kernel.event import Outcome
from penstock.kernel.record import Vector
from penstock.kernel.window import Span

Question = tuple[str, dict[str, Any]]  # the text, and its parameters

LOOK_UP = {"final": 0}
NO_OUTCOME = 255
_SCHEMA = pa.schema(
    [
        ("tenant", pa.string()),
        ("customer", pa.string()),
        ("time", pa.timestamp("us", tz="UTC")),
        ("partition", pa.uint16()),
        ("event_offset", pa.uint64()),
        ("place", pa.uint32()),
        ("offset", pa.uint64()),
        ("id", pa.string()),
        ("sequence", pa.uint64()),
        ("transaction_id", pa.string()),
        ("refusal", pa.string()),
        ("before", pa.uint8()),
        ("event_type", pa.string()),
        ("properties", pa.binary()),
        ("outcome", pa.uint8()),
    ]
)
_NO_EVENT = {
    "customer": "",
    "time": 0,
    "event_offset": 0,
    "place": 0,
    "event_type": "",
    "properties": b"",
    "outcome": NO_OUTCOME,
}
_COLUMNS = """tenant, customer, toUnixTimestamp64Micro(time), partition, event_offset, place, offset, id, sequence,
              transaction_id, refusal, before, event_type, hex(properties), outcome"""


def correction_table(corrections: Sequence[Corrected]) -> pa.Table:
    """Rows of the table `corrections`."""
    return pa.Table.from_pylist([_row(each) for each in corrections], schema=_SCHEMA)


def _row(corrected: Corrected) -> dict[str, Any]:
    revision = corrected.revision
    event: dict[str, Any] = _NO_EVENT
    if revision is not None:
        event = {
            "customer": revision.customer,
            "time": revision.time_us,
            "event_offset": revision.offset,
            "place": revision.index,
            "event_type": revision.event_type,
            "properties": revision.properties,
            "outcome": int(revision.outcome),
        }
    return {
        **event,
        "tenant": corrected.tenant,
        "partition": corrected.partition,
        "offset": corrected.offset,
        "id": corrected.id,
        "sequence": corrected.sequence,
        "transaction_id": corrected.transaction_id,
        "refusal": corrected.refusal or "",
        "before": NO_OUTCOME if corrected.before is None else int(corrected.before),
    }


def of_transactions_sql(tenant: str, transaction_ids: Sequence[str], partition: int, through: int) -> Question:
    sql = f"""SELECT DISTINCT {_COLUMNS} FROM corrections
              WHERE tenant = {{tenant:String}} AND transaction_id IN {{transaction_ids:Array(String)}}
                AND partition = {{partition:UInt16}} AND offset <= {{through:Int64}} ORDER BY offset"""
    asked = {"tenant": tenant, "transaction_ids": list(transaction_ids), "partition": partition, "through": through}
    return sql, asked


def in_force_sql(
    tenant: str, customers: tuple[str, ...] | None, span: Span | None, as_of: Vector, partition: int | None
) -> Question:
    """The revisions in force as of a vector, whatever their outcome."""
    where, asked = event_rows.condition(tenant, customers, span, as_of, partition, NO_OUTCOME)
    sql = f"""SELECT {_COLUMNS} FROM corrections WHERE {where}
              ORDER BY offset DESC LIMIT 1 BY partition, event_offset, place"""
    return sql, asked


def moves_sql(partition: int, edges: Sequence[int], through: int) -> Question:
    """Stretch, tenant, outcome before and after, and how many corrections."""
    sql = f"""SELECT {STRETCH.format("event_offset")}, toString(tenant), before, outcome, uniqExact(offset)
              FROM corrections
              WHERE partition = {{partition:UInt16}} AND outcome != {NO_OUTCOME} AND before != outcome
                AND event_offset >= {{first:Int64}} AND event_offset <= {{last:Int64}} AND offset <= {{through:Int64}}
              GROUP BY ALL"""
    return sql, {**stretches_asked(partition, edges), "through": through}


def moves(rows: Iterable[Sequence[Any]]) -> dict[Move, int]:
    return {
        (stretch, tenant, Outcome(before), Outcome(after)): events for stretch, tenant, before, after, events in rows
    }


def corrections(rows: Iterable[Sequence[Any]]) -> list[Corrected]:
    return [_corrected(*row) for row in rows]


def _corrected(
    tenant: str,
    customer: str,
    time_us: int,
    partition: int,
    event_offset: int,
    place: int,
    offset: int,
    id: str,
    sequence: int,
    transaction_id: str,
    refusal: str,
    before: int,
    event_type: str,
    properties: str,
    outcome: int,
) -> Corrected:
    revision = None
    if outcome != NO_OUTCOME:
        revision = Revision(
            partition,
            event_offset,
            place,
            tenant,
            customer,
            time_us,
            transaction_id,
            event_type,
            bytes.fromhex(properties),
            Outcome(outcome),
            offset,
        )
    return Corrected(
        partition,
        offset,
        id,
        sequence,
        tenant,
        transaction_id,
        Refusal(refusal) if refusal else None,
        None if before == NO_OUTCOME else Outcome(before),
        revision,
    )
