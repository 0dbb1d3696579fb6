"""The condition under which rows of events, or of their revisions, are what is asked for as of a vector."""

from __future__ import annotations

from typing import Any

from penstock.kernel.event import Outcome
from penstock.kernel.record import Vector
from penstock.kernel.window import Span


def condition(
    tenant: str,
    customers: tuple[str, ...] | None,
    span: Span | None,
    as_of: Vector,
    partition: int | None,
    never: Outcome | int,
) -> tuple[str, dict[str, Any]]:
    """The condition and its parameters; rows of the outcome `never` are left out."""
    asked: dict[str, Any] = {"tenant": tenant, "limits": [offset + 1 for offset in as_of]}
    where = [
        "tenant = {tenant:String}",
        f"outcome != {int(never)}",
        "offset < arrayElement({limits:Array(UInt64)}, partition + 1)",
    ]
    if partition is not None:
        where.append("partition = {partition:UInt16}")
        asked["partition"] = partition
    if customers is not None:
        where.append("customer IN {customers:Array(String)}")
        asked["customers"] = list(customers)
    if span is not None:
        where.append("time >= {start:DateTime64(6, 'UTC')} AND time < {end:DateTime64(6, 'UTC')}")
        asked |= {"start": span.start, "end": span.end}
    return " AND ".join(where), asked
