"""Cells as rows of SQL, and back: the questions that the store asks of its `cells` table."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import pyarrow as pa

from penstock.kernel.cell import Cell, CellAnswer, CellKey, CellQuestion, CellRow
from penstock.kernel.meter import Aggregation, GroupValue

_SECOND_US = 1_000_000
_DAY_S = 86_400
LOAD_CUSTOMERS_MAX = 1_000  # the engine's time for one array parameter grows faster than its length
_DECIMAL = pa.decimal256(76, 12)


def to_text(value: GroupValue) -> str:
    """A group value as the store has it: null is empty, text has a `=` before it."""
    return "" if value is None else "=" + value


def from_text(text: str) -> GroupValue:
    return text[1:] if text else None


def to_arrow(cells: Sequence[tuple[CellKey, Cell]]) -> pa.Table:
    """Rows of the table `cells`."""
    keys = [key for key, _ in cells]
    held = [cell for _, cell in cells]
    return pa.table(
        {
            "tenant": pa.array([k.tenant for k in keys], pa.string()),
            "metric": pa.array([k.metric for k in keys], pa.string()),
            "customer": pa.array([k.customer for k in keys], pa.string()),
            "window": pa.array([k.window_us // _SECOND_US for k in keys], pa.uint32()),
            "groups": pa.array([[to_text(g) for g in k.groups] for k in keys], pa.list_(pa.string())),
            "member": pa.array([to_text(k.member) for k in keys], pa.string()),
            "partition": pa.array([k.partition for k in keys], pa.uint16()),
            "events": pa.array([c.events for c in held], pa.uint64()),
            "value": pa.array([c.value for c in held], _DECIMAL),
            "latest_us": pa.array([c.latest_us for c in held], pa.int64()),
            "latest_id": pa.array([c.latest_id for c in held], pa.string()),
            "version": pa.array([c.version for c in held], pa.uint64()),
            "weighted": pa.array([c.weighted for c in held], _DECIMAL),
        }
    )


class LoadQuestion(NamedTuple):
    """Cells of one tenant, metric, partition and day, by customer and window: a superset of what is wanted."""

    tenant: str
    metric: str
    partition: int
    customers: list[str]
    windows: list[int]


def load_questions(keys: Sequence[CellKey]) -> list[LoadQuestion]:
    """Few and short questions: by day, so that late events do not ask for every window of every customer."""
    wanted: dict[tuple[str, str, int, int], dict[str, set[int]]] = defaultdict(lambda: defaultdict(set))
    for key in keys:
        second = key.window_us // _SECOND_US
        wanted[key.tenant, key.metric, key.partition, second // _DAY_S][key.customer].add(second)
    out = []
    for (tenant, metric, partition, _), of_customers in wanted.items():
        customers = sorted(of_customers)
        for at in range(0, len(customers), LOAD_CUSTOMERS_MAX):
            some = customers[at : at + LOAD_CUSTOMERS_MAX]
            windows = sorted(set().union(*(of_customers[customer] for customer in some)))
            out.append(LoadQuestion(tenant, metric, partition, some, windows))
    return out


def load_sql(question: LoadQuestion) -> tuple[str, dict[str, Any]]:
    sql = """SELECT tenant, metric, customer, toInt64(toUnixTimestamp(window)), groups, member, partition,
                    events, value, latest_us, latest_id, version, weighted
             FROM cells
             WHERE tenant = {tenant:String} AND metric = {metric:String} AND partition = {partition:UInt16}
               AND customer IN {customers:Array(String)}
               AND window IN (SELECT toDateTime(arrayJoin({windows:Array(UInt32)}), 'UTC'))"""
    return sql, question._asdict()


def loaded(rows: Sequence[Any]) -> Iterator[tuple[CellKey, Cell]]:
    for tenant, metric, customer, window, groups, member, partition, *cell in rows:
        values = tuple(from_text(g) for g in groups)
        yield CellKey(tenant, metric, customer, window * _SECOND_US, values, from_text(member), partition), Cell(*cell)


_VALUE = {
    Aggregation.COUNT: "toDecimal256(0, 12)",
    Aggregation.UNIQUE: "toDecimal256(0, 12)",
    Aggregation.SUM: "sum(value)",
    Aggregation.TIME_WEIGHTED_SUM: "sum(value)",
    Aggregation.MAX: "maxIf(value, events > 0)",
    Aggregation.MIN: "minIf(value, events > 0)",
    Aggregation.LATEST: "argMaxIf(value, (latest_us, latest_id, value), events > 0)",
}


def question_sql(question: CellQuestion) -> tuple[str, dict[str, Any]]:
    """Merge in the store what the question does not keep; per row the greatest version of each partition."""
    where, asked = _condition(question)
    if question.versions_only:
        # A replaced row has a lower version than what replaced it, so FINAL, half of a question's time, is not needed.
        sql = f"SELECT partition, max(version) FROM cells WHERE {where} GROUP BY partition SETTINGS final = 0"
        return sql, asked
    asked["starts"] = [s // _SECOND_US for s in question.starts]
    counted = "sum(events)"
    if question.aggregation is Aggregation.UNIQUE and not question.members:
        counted = "uniqExactIf(member, events > 0)"
    # Comparing the ids of events takes a third of a question's time, and only LATEST is decided by them.
    is_latest = question.aggregation is Aggregation.LATEST
    latest = "maxIf((latest_us, latest_id), events > 0)" if is_latest else "tuple(0, '')"
    weighted = "toDecimal256(0, 12)"
    if question.aggregation is Aggregation.TIME_WEIGHTED_SUM:
        weighted = "sum(weighted + value * ((toInt64(toUnixTimestamp(window)) - stretch) * 1000000))"
    sql = f"""SELECT {", ".join(_kept_columns(question, asked))}, {counted}, {_VALUE[question.aggregation]},
                     {latest}, {weighted}, maxMap(map(partition, version))
              FROM cells WHERE {where}
              GROUP BY stretch, grouped, customer_kept, member_kept
              ORDER BY stretch, grouped, customer_kept, member_kept"""
    return sql, asked


def _condition(question: CellQuestion) -> tuple[str, dict[str, Any]]:
    """Which cells are asked for, and the parameters of the text."""
    asked: dict[str, Any] = {
        "tenant": question.tenant,
        "metric": question.metric,
        "start": question.start_us // _SECOND_US,
        "end": question.end_us // _SECOND_US,
    }
    where = [_scopes(question, asked), "metric = {metric:String}"]
    if question.customers is not None:
        where.append("customer IN {customers:Array(String)}")
        asked["customers"] = list(question.customers)
    where.append("window >= toDateTime({start:Int64}, 'UTC') AND window < toDateTime({end:Int64}, 'UTC')")
    for word, rules in (("IN", question.filters), ("NOT IN", question.excluded)):
        for place, values in rules:
            name = f"values_{len(asked)}"
            where.append(f"groups[{place + 1}] {word} {{{name}:Array(String)}}")
            asked[name] = [to_text(v) for v in values]
    return " AND ".join(where), asked


def _scopes(question: CellQuestion, asked: dict[str, Any]) -> str:
    """The tenant's own cells, but those of layers where these have the window and the customer."""
    base, of_layers = ["tenant = {tenant:String}"], []
    for number, layer in enumerate(question.layers):
        start, end = layer.start_us // _SECOND_US, layer.end_us // _SECOND_US
        inside = f"window >= toDateTime({start}, 'UTC') AND window < toDateTime({end}, 'UTC')"
        if layer.customers is not None:
            inside += f" AND customer IN {{layer_customers_{number}:Array(String)}}"
            asked[f"layer_customers_{number}"] = list(layer.customers)
        base.append(f"NOT ({inside})")
        of_layers.append(f"tenant = {{layer_{number}:String}} AND {inside}")
        asked[f"layer_{number}"] = layer.scope
    either = [" AND ".join(base), *of_layers]
    return f"({' OR '.join(f'({each})' for each in either)})" if of_layers else base[0]


def _kept_columns(question: CellQuestion, asked: dict[str, Any]) -> list[str]:
    """What rows are told apart by; adds the parameters that it names."""
    grouped = f"[{', '.join(f'groups[{place + 1}]' for place in question.group_at)}]::Array(String)"
    customer = "customer" if question.by_customer else "''"
    if question.by_customer and question.owners not in ((), question.customers):
        customer = "transform(customer, {customers:Array(String)}, {owners:Array(String)}, '')"
        asked["owners"] = list(question.owners)
    if question.kept is not None:
        # The customer goes before the groups, so that one list of texts is one thing that is kept.
        asked["kept"] = [[owner or "", *map(to_text, groups)] for groups, owner in question.kept]
        is_kept = f"arrayPushFront({grouped}, {customer}) IN {{kept:Array(Array(String))}}"
        grouped, customer = f"if({is_kept}, {grouped}, []::Array(String))", f"if({is_kept}, {customer}, '')"
    return [
        "roundDown(toInt64(toUnixTimestamp(window)), {starts:Array(Int64)}) AS stretch",
        f"{grouped} AS grouped",
        f"{customer} AS customer_kept",
        f"{'member' if question.members else repr('')} AS member_kept",
    ]


def answer(question: CellQuestion, rows: Sequence[Any]) -> CellAnswer:
    if question.versions_only:
        return CellAnswer((), dict(rows))
    out: list[CellRow] = []
    versions: dict[int, int] = {}
    told_apart = question.by_customer
    for stretch, groups, customer, member, events, value, (latest_us, latest_id), weighted, seen in rows:
        for partition, version in seen.items():
            versions[partition] = max(version, versions.get(partition, -1))
        if not events:
            continue
        out.append(
            CellRow(
                stretch * _SECOND_US,
                tuple(from_text(g) for g in groups),
                customer if told_apart and (customer or question.kept is None) else None,
                from_text(member) if question.members else None,
                Cell(events, value, latest_us, latest_id, -1, weighted),
            )
        )
    return CellAnswer(tuple(out), versions)
