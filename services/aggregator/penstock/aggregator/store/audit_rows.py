"""What the auditor asks of the tables, as SQL: whole cells, hours of the log clock, events by what became of them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from penstock.aggregator.store.chunk_rows import list_sql
from penstock.aggregator.store.trace_rows import KEPT
from penstock.kernel.cell import CONSERVATION
from penstock.kernel.event import KEPT_OUTCOMES, Outcome
from penstock.kernel.stored import StoredEvents

_SECOND_US = 1_000_000
# The greatest version over all rows is that over the rows that replace others: no FINAL is needed.
HOURS = {"final": 0}

Question = tuple[str, dict[str, Any]]  # the text, and its parameters


def cells_sql(
    tenant: str | None,
    metric: str | None,
    customers: tuple[str, ...] | None,
    span_us: tuple[int, int] | None,
    partition: int | None,
) -> Question:
    """Rows for `cell_rows.loaded`."""
    where, asked = ["1"], dict[str, Any]()
    for name, kind, value in (("tenant", "String", tenant), ("metric", "String", metric)):
        if value is not None:
            where.append(f"{name} = {{{name}:{kind}}}")
            asked[name] = value
    if customers is not None:
        where.append("customer IN {customers:Array(String)}")
        asked["customers"] = list(customers)
    if span_us is not None:
        where.append("window >= toDateTime({start:Int64}, 'UTC') AND window < toDateTime({end:Int64}, 'UTC')")
        asked |= {"start": span_us[0] // _SECOND_US, "end": span_us[1] // _SECOND_US}
    if partition is not None:
        where.append("partition = {partition:UInt16}")
        asked["partition"] = partition
    sql = f"""SELECT tenant, metric, customer, toInt64(toUnixTimestamp(window)), groups, member, partition,
                     events, value, latest_us, latest_id, version, weighted
              FROM cells WHERE {" AND ".join(where)}"""
    return sql, asked


def hours_sql(partition: int) -> Question:
    sql = """SELECT toInt64(toUnixTimestamp(window)) * 1000000 AS hour, max(version) FROM cells
             WHERE metric = {metric:String} AND partition = {partition:UInt16} GROUP BY hour ORDER BY hour"""
    return sql, {"metric": CONSERVATION, "partition": partition}


def kept_sql(partition: int, edges: Sequence[int]) -> Question:
    """Of events that are stored as rows."""
    return _counted("events", "toString(tenant), outcome, count()", partition, edges)


def dropped_sql(partition: int, edges: Sequence[int]) -> Question:
    return _counted(f"(SELECT * FROM ids WHERE outcome != {KEPT})", "NULL, outcome, count()", partition, edges)


def whole_sql(partition: int, edges: Sequence[int]) -> Question:
    """Of records of one tenant that are stored whole; a row may be there twice, and counts once."""
    one = f"""(SELECT offset, toString(tenants[1]) AS tenant, outcomes FROM chunks
               WHERE {_RANGE} AND length(tenants) = 1 LIMIT 1 BY partition, offset)
              ARRAY JOIN {[int(outcome) for outcome in KEPT_OUTCOMES]} AS outcome"""
    sql = f"""SELECT {_STRETCH}, tenant, outcome, sum(countSubstrings(outcomes, char(outcome))) AS events
              FROM {one} GROUP BY ALL HAVING events > 0"""
    return sql, stretches_asked(partition, edges)


def mixed_sql(partition: int, edges: Sequence[int]) -> Question:
    """Which whole records hold events of several tenants: only their payload tells whose is whose."""
    return list_sql(f"{_RANGE} AND length(tenants) > 1"), stretches_asked(partition, edges)


_RANGE = "partition = {partition:UInt16} AND offset >= {first:Int64} AND offset <= {last:Int64}"
# Stretch n is above edge n and at or below edge n + 1.
STRETCH = "indexOf({{firsts:Array(Int64)}}, roundDown(toInt64({}), {{firsts:Array(Int64)}})) - 1 AS stretch"
_STRETCH = STRETCH.format("offset")


def _counted(table: str, columns: str, partition: int, edges: Sequence[int]) -> Question:
    """Stretch, tenant, outcome and events."""
    return f"SELECT {_STRETCH}, {columns} FROM {table} WHERE {_RANGE} GROUP BY ALL", stretches_asked(partition, edges)


def stretches_asked(partition: int, edges: Sequence[int]) -> dict[str, Any]:
    """The parameters of a question by stretch."""
    firsts = [edge + 1 for edge in edges[:-1]]
    return {"partition": partition, "firsts": firsts, "first": firsts[0], "last": edges[-1]}


def summed(rows: Iterable[tuple[int, str | None, int, int]]) -> dict[tuple[int, str | None, Outcome], int]:
    """Events by stretch, tenant and outcome, from rows of several tables."""
    found: dict[tuple[int, str | None, Outcome], int] = defaultdict(int)
    for stretch, tenant, outcome, events in rows:
        found[stretch, tenant, Outcome(outcome)] += events
    return dict(found)


def outcomes_of(events: StoredEvents, edges: Sequence[int]) -> Iterator[tuple[int, str, int, int]]:
    """The same of events in hand; those beyond the edges are left out."""
    tenants, names = events.codes("tenant")
    offsets = np.asarray(events.table.column("offset")).astype(np.int64)
    stretches = np.searchsorted(np.array(edges), offsets) - 1
    columns = np.stack([stretches, tenants, np.asarray(events.table.column("outcome"))], axis=1)
    within = (stretches >= 0) & (stretches < len(edges) - 1)
    for (stretch, tenant, outcome), count in zip(
        *(part.tolist() for part in np.unique(columns[within], axis=0, return_counts=True)), strict=True
    ):
        yield stretch, names[tenant], outcome, count
