"""Usage queries: cells for whole windows, stored events for ragged ends, all as of one vector.

A consistent read takes the markers first, then the cells; where a cell is ahead of its partition's marker, a flush is
under way and the read is made again (DESIGN.md section 3).
"""

from __future__ import annotations

import bisect
import time
from collections.abc import Iterable
from datetime import datetime
from decimal import Decimal

from penstock.aggregator.fill import cells_of
from penstock.aggregator.metrics import Metrics
from penstock.kernel.cell import Cell, CellAnswer, CellQuestion, merge
from penstock.kernel.meter import Aggregation, GroupValue, Metric
from penstock.kernel.ports import UsageStore
from penstock.kernel.problems import NotFound, StoreUnavailable
from penstock.kernel.quantity import canonical, exact
from penstock.kernel.record import Marker, Vector
from penstock.kernel.usage import Usage, UsageQuery, UsageRow
from penstock.kernel.window import BASE_WINDOW_US, Span, from_us, to_us

CONSISTENT_TRIES_MAX = 200
RETRY_DELAY_MS = 10
FILL_WAIT_MS = 10_000
_Place = tuple[int, tuple[GroupValue, ...], str | None, GroupValue]  # span, groups, customer, member


class UsageService:
    """Answers `UsageReader`. `partitions` is the log's."""

    def __init__(self, store: UsageStore, metrics: Metrics, partitions: int) -> None:
        self._store = store
        self._metrics = metrics
        self._partitions = partitions

    def metric(self, tenant: str, metric_id: str) -> Metric | None:
        found = self._metrics.find(tenant, metric_id)
        return found.metric if found else None

    def settled(self, through: datetime) -> bool:
        markers = self._store.markers()
        return len(markers) == self._partitions and all(m.clock_us >= to_us(through) for m in markers.values())

    def vector(self) -> Vector:
        return self._vector(self._store.markers())

    def _vector(self, markers: dict[int, Marker]) -> Vector:
        return tuple(markers[p].offset if p in markers else -1 for p in range(self._partitions))

    def usage(self, *queries: UsageQuery) -> tuple[Usage, ...]:
        asked = [self._prepared(query) for query in queries]
        for _ in range(CONSISTENT_TRIES_MAX):
            vector = self.vector()
            answers = [self._store.read_cells(q) if q.starts else CellAnswer((), {}) for _, q in asked]
            versions = (pair for answer in answers for pair in answer.versions.items())
            if all(version <= vector[partition] for partition, version in versions):
                parts = zip(asked, queries, answers, strict=True)
                return tuple(self._answer(m, query, q, answer, vector) for (m, q), query, answer in parts)
            time.sleep(RETRY_DELAY_MS / 1000)
        raise StoreUnavailable("the usage store is flushing without a pause", retry_after_s=1)

    def _prepared(self, query: UsageQuery) -> tuple[Metric, CellQuestion]:
        metric = self.metric(query.tenant, query.metric_id)
        if metric is None:
            raise NotFound(f"no billable metric {query.metric_id}")
        self._await_filled(query.tenant, query.metric_id)
        return metric, _question(metric, query)

    def _await_filled(self, tenant: str, metric_id: str) -> None:
        """Wait until every partition has passed the metric's control record: until then it has no figures."""
        deadline = time.monotonic() + FILL_WAIT_MS / 1000
        while (since := self._metrics.in_force_at(tenant, metric_id)) is None or not all(
            have >= wanted for have, wanted in zip(self.vector(), since, strict=True)
        ):
            if time.monotonic() > deadline:
                raise StoreUnavailable("the metric is still being filled from stored events", retry_after_s=5)
            time.sleep(RETRY_DELAY_MS / 1000)

    @exact
    def _answer(
        self, metric: Metric, query: UsageQuery, question: CellQuestion, answer: CellAnswer, vector: Vector
    ) -> Usage:
        merged: dict[_Place, Cell] = {}
        over = self._metrics.over_at(query.tenant, metric.id)
        # What came after the metric was archived is in no cell, so it counts in no ragged end either.
        taken = vector if over is None else tuple(map(min, vector, over))
        starts = [_whole(span)[0] for span in query.spans]
        for row in answer.rows:
            index = bisect.bisect_right(starts, row.start_us) - 1
            if row.start_us < _whole(query.spans[index])[1]:
                _put(metric, merged, index, row.groups, row.customer, row.member, row.cell)
        for index, ragged in _ragged(query.spans):
            stored = self._store.read_events(query.tenant, query.customers, ragged, taken, None)
            for key, cell in cells_of(metric, stored).items():
                if all(key.groups[place] in values for place, values in question.filters):
                    groups = tuple(key.groups[place] for place in question.group_at)
                    customer = key.customer if query.by_customer_key else None
                    _put(metric, merged, index, groups, customer, key.member, cell)
        return Usage(tuple(_rows(metric, query, question, merged)), vector)


def _question(metric: Metric, query: UsageQuery) -> CellQuestion:
    """The whole windows of the query's spans, as one question to the cells."""
    places = {name: place for place, name in enumerate(metric.group_keys)}
    for name in (*query.group_by, *(name for name, _ in query.filters)):
        if name not in places:
            raise NotFound(f"metric {metric.id} has no group key {name}", field="group_key")
    whole = [w for w in map(_whole, query.spans) if w[0] < w[1]]
    edges = sorted({edge for w in whole for edge in w})  # the end of a span starts a gap
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
        by_customer=query.by_customer_key,
        # Distinct values must be told apart where a ragged end, or a second customer's cells, may repeat them.
        members=metric.aggregation is Aggregation.UNIQUE and any(True for _ in _ragged(query.spans)),
    )


def _whole(span: Span) -> tuple[int, int]:
    """The whole windows inside a span: first start and last end, in microseconds; empty where start >= end."""
    start, end = to_us(span.start), to_us(span.end)
    return -(-start // BASE_WINDOW_US) * BASE_WINDOW_US, end // BASE_WINDOW_US * BASE_WINDOW_US


def _ragged(spans: Iterable[Span]) -> Iterable[tuple[int, Span]]:
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


def _put(
    metric: Metric,
    merged: dict[_Place, Cell],
    index: int,
    groups: tuple[GroupValue, ...],
    customer: str | None,
    member: GroupValue,
    cell: Cell,
) -> None:
    merge(metric.aggregation, merged.setdefault((index, groups, customer, member), Cell()), cell)


def _rows(
    metric: Metric, query: UsageQuery, question: CellQuestion, merged: dict[_Place, Cell]
) -> Iterable[UsageRow]:
    if question.members:
        counted: dict[_Place, Cell] = {}
        for (index, groups, customer, _), cell in merged.items():
            counted.setdefault((index, groups, customer, None), Cell()).events += 1 if cell.events else 0
        merged = counted
    for place in sorted(merged, key=_order):
        index, groups, customer, _ = place
        cell = merged[place]
        yield UsageRow(query.spans[index], groups, _value(metric, cell), cell.events, customer)


def _order(place: _Place) -> tuple[object, ...]:
    index, groups, customer, _ = place
    return index, tuple((g is not None, g or "") for g in groups), customer or ""


def _value(metric: Metric, cell: Cell) -> Decimal | None:
    if metric.aggregation in (Aggregation.COUNT, Aggregation.UNIQUE):
        return Decimal(cell.events)
    if not cell.events:
        return None
    return canonical(cell.value)

