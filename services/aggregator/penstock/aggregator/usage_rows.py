"""From a usage query to the question for the cells, and from cells to rows: what usage computes without any I/O."""

from __future__ import annotations

import bisect
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal

import msgspec

from penstock.aggregator.levels import Levels, before_edges, level_edges
from penstock.kernel.cell import Cell, CellKey, CellQuestion, CellRow, KeptGroup, LayerWindows, merge
from penstock.kernel.layer import LayerInForce
from penstock.kernel.meter import Aggregation, GroupValue, Metric
from penstock.kernel.problems import NotFound
from penstock.kernel.quantity import canonical
from penstock.kernel.usage import UsageQuery, UsageRow
from penstock.kernel.window import BASE_WINDOW_US, Span, from_us, to_us

REST: KeptGroup = ((), None)
_Place = tuple[int, tuple[GroupValue, ...], str | None, GroupValue]  # span, groups, customer, member


def question_of(metric: Metric, query: UsageQuery, kept: tuple[KeptGroup, ...] | None) -> CellQuestion:
    """The whole windows of the query's spans, as one question to the cells. Raise `NotFound` for a group key."""
    places = {name: place for place, name in enumerate(metric.group_keys)}
    named = {
        "group_key": query.group_by,
        "group_filters": [name for name, _ in query.filters],
        "group_filters_not_in": [name for name, _ in query.excluded],
    }
    for field, names in named.items():
        for name in names:
            if name not in places:
                raise NotFound(f"metric {query.metric_id} has no group key {name}", field=field)
    whole = [w for w in map(_whole, query.spans) if w[0] < w[1]]
    edges = sorted({edge for w in whole for edge in w})  # the end of a span starts a gap
    if metric.aggregation is Aggregation.TIME_WEIGHTED_SUM:
        edges = level_edges(query.spans)
    return CellQuestion(
        tenant=query.tenant,
        metric=metric.id,
        aggregation=metric.aggregation,
        customers=query.customers,
        start_us=edges[0] if edges else 0,
        end_us=edges[-1] if edges else 0,
        starts=tuple(edges),
        group_at=tuple(places[name] for name in query.group_by),
        filters=tuple((places[name], values) for name, values in query.filters),
        excluded=tuple((places[name], values) for name, values in query.excluded),
        by_customer=query.by_customer_key or bool(query.owners),
        owners=query.owners,
        kept=kept,
        # Distinct values must be told apart where a ragged end may repeat them.
        members=metric.aggregation is Aggregation.UNIQUE and any(True for _ in ragged(query.spans)),
    )


def whether_changed(question: CellQuestion, spans: tuple[Span, ...]) -> CellQuestion:
    """The versions alone of every cell that the answer rests on, those of windows that a span cuts included."""
    first, last = to_us(spans[0].start), to_us(spans[-1].end)
    if question.aggregation is Aggregation.TIME_WEIGHTED_SUM:
        first = 0
    return msgspec.structs.replace(
        question,
        start_us=first // BASE_WINDOW_US * BASE_WINDOW_US,
        end_us=-(-last // BASE_WINDOW_US) * BASE_WINDOW_US,
        versions_only=True,
    )


def layers_of(
    metric: Metric, query: UsageQuery, in_force: Sequence[LayerInForce], archived_at: datetime | None
) -> tuple[LayerInForce, ...]:
    """The layers that the answer rests on. One that was committed after the metric was archived holds nothing of it."""
    if not query.spans or not in_force:
        return ()
    first = 0 if metric.aggregation is Aggregation.TIME_WEIGHTED_SUM else to_us(query.spans[0].start)
    met = [each for each in in_force if each.layer.meets(first, to_us(query.spans[-1].end), query.customers)]
    return tuple(each for each in met if archived_at is None or each.committed_at < archived_at)


def with_layers(question: CellQuestion, layers: Iterable[LayerInForce]) -> CellQuestion:
    found = tuple(
        LayerWindows(layer.scope, layer.start_us, layer.end_us, layer.customers)
        for layer in (each.layer for each in layers)
    )
    return msgspec.structs.replace(question, layers=found) if found else question


def over_all(query: UsageQuery) -> UsageQuery:
    """The query that ranks the groups: the same over one span from the first instant to the last."""
    assert all(a.end == b.start for a, b in zip(query.spans, query.spans[1:], strict=False)), "the spans touch"
    whole = Span(query.spans[0].start, query.spans[-1].end)
    return msgspec.structs.replace(query, spans=(whole,), top=None, rest=False)


def greatest(rows: Iterable[UsageRow], top: int) -> tuple[KeptGroup, ...]:
    """The groups of the `top` greatest values, greatest first, ties by group text and then by customer."""

    def rank(row: UsageRow) -> tuple[object, ...]:
        return -(row.value or Decimal(0)), in_order(row.groups), row.customer_key or ""

    return tuple((row.groups, row.customer_key) for row in sorted(rows, key=rank)[:top])


def rows_of(
    metric: Metric,
    query: UsageQuery,
    question: CellQuestion,
    rows: Iterable[CellRow],
    ragged_cells: Iterable[tuple[int, Mapping[CellKey, Cell]]],
) -> tuple[UsageRow, ...]:
    """The cells' rows, and the cells of each ragged part with its span's index, as the rows of the answer.

    Call inside the exact context.
    """
    if metric.aggregation is Aggregation.TIME_WEIGHTED_SUM:
        return tuple(_levelled(query, question, rows, ragged_cells))
    merged: dict[_Place, Cell] = {}

    def put(index: int, group: KeptGroup, member: GroupValue, cell: Cell) -> None:
        merge(metric.aggregation, merged.setdefault((index, *group, member), Cell()), cell)

    starts = [_whole(span)[0] for span in query.spans]
    for row in rows:
        index = bisect.bisect_right(starts, row.start_us) - 1
        if row.start_us < _whole(query.spans[index])[1]:
            put(index, (row.groups, row.customer), row.member, row.cell)
    for index, cells in ragged_cells:
        for key, cell in cells.items():
            if _is_asked(question, key):
                put(index, _group_of(question, key), key.member, cell)
    return tuple(_rows(metric, query, question, merged))


def _is_asked(question: CellQuestion, key: CellKey) -> bool:
    return all(key.groups[place] in values for place, values in question.filters) and all(
        key.groups[place] not in values for place, values in question.excluded
    )


def _group_of(question: CellQuestion, key: CellKey) -> KeptGroup:
    groups = tuple(key.groups[place] for place in question.group_at)
    group = (groups, question.owner_of(key.customer) if question.by_customer else None)
    return group if question.kept is None or group in question.kept else REST


def _whole(span: Span) -> tuple[int, int]:
    """The whole windows inside a span: first start and last end, in microseconds; empty where start >= end."""
    start, end = to_us(span.start), to_us(span.end)
    return -(-start // BASE_WINDOW_US) * BASE_WINDOW_US, end // BASE_WINDOW_US * BASE_WINDOW_US


def ragged_parts(metric: Metric, spans: Sequence[Span]) -> Iterable[tuple[int, Span]]:
    """What is read from stored events: parts of spans with the span's index, or parts of windows before an edge."""
    return before_edges(spans) if metric.aggregation is Aggregation.TIME_WEIGHTED_SUM else ragged(spans)


def ragged(spans: Iterable[Span]) -> Iterable[tuple[int, Span]]:
    """The parts of spans that are no whole windows, with the span's index."""
    for index, span in enumerate(spans):
        first, last = (from_us(us) for us in _whole(span))
        if first >= last:
            if span.start < span.end:
                yield index, span
            continue
        if span.start < first:
            yield index, Span(span.start, first)
        if last < span.end:
            yield index, Span(last, span.end)


def _levelled(
    query: UsageQuery,
    question: CellQuestion,
    rows: Iterable[CellRow],
    ragged_cells: Iterable[tuple[int, Mapping[CellKey, Cell]]],
) -> Iterable[UsageRow]:
    """The level-time of each span and group; a span without events has a row where its level is not zero."""
    levels: dict[KeptGroup, Levels] = {}
    for row in rows:
        levels.setdefault((row.groups, row.customer), Levels()).put(row.start_us, row.cell)
    for edge_us, cells in ragged_cells:
        for key, cell in cells.items():
            if _is_asked(question, key):
                levels.setdefault(_group_of(question, key), Levels()).put_before(edge_us, cell)
    figures: dict[_Place, tuple[Decimal | None, int]] = {}
    for (groups, customer), level in levels.items():
        for index, (area, events) in enumerate(level.over(query.spans)):
            if area or events:
                figures[index, groups, customer, None] = (area, events)
    return _in_order(query, question, figures)


def _rows(metric: Metric, query: UsageQuery, question: CellQuestion, merged: dict[_Place, Cell]) -> Iterable[UsageRow]:
    if question.members:
        counted: dict[_Place, Cell] = {}
        for (index, groups, customer, _), cell in merged.items():
            counted.setdefault((index, groups, customer, None), Cell()).events += 1 if cell.events else 0
        merged = counted
    return _in_order(query, question, {place: (_value(metric, cell), cell.events) for place, cell in merged.items()})


def _in_order(
    query: UsageQuery, question: CellQuestion, figures: Mapping[_Place, tuple[Decimal | None, int]]
) -> Iterable[UsageRow]:
    ranks = None if question.kept is None else {group: rank for rank, group in enumerate(question.kept)}

    def order(place: _Place) -> tuple[object, ...]:
        index, groups, customer, _ = place
        if ranks is not None:
            return index, ranks.get((groups, customer), len(ranks))
        return index, in_order(groups), customer or ""

    for place in sorted(figures, key=order):
        index, groups, customer, _ = place
        is_rest = ranks is not None and (groups, customer) == REST
        if query.rest or not is_rest:
            yield UsageRow(query.spans[index], groups, *figures[place], customer, is_rest)


def in_order(groups: tuple[GroupValue, ...]) -> tuple[tuple[bool, str], ...]:
    """By text, and what has none first."""
    return tuple((value is not None, value or "") for value in groups)


def _value(metric: Metric, cell: Cell) -> Decimal | None:
    if metric.aggregation in (Aggregation.COUNT, Aggregation.UNIQUE):
        return Decimal(cell.events)
    if not cell.events:
        return None
    return canonical(cell.value)
