"""The usage routes: whatever a page shows is one question to the usage service, and so one consistent cut.

A cursor is the place of a page's last row in the order of rows, never a row number: where cells change between two
pages, no row is skipped and none comes twice.
"""

from __future__ import annotations

import bisect
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from penstock.aggregator.metrics import Metrics
from penstock.aggregator.usage import UsageService
from penstock.aggregator.usage_rows import in_order
from penstock.aggregator.usage_shapes import GroupUsageBody, UsageBody, WantedMetric, group_view
from penstock.aggregator.usage_windows import month_of, windows
from penstock.kernel.meter import Aggregation, GroupValue, Metric
from penstock.kernel.ports.clock import Clock
from penstock.kernel.ports.siblings import Customers
from penstock.kernel.ports.usage_store import UsageStore
from penstock.kernel.problems import BadRequest, NotFound
from penstock.kernel.usage import UsageQuery, UsageRow
from penstock.kernel.window import Span, to_us
from penstock.web.page import decode_place, encode_place
from penstock.web.route import Request, Route, Scope

USAGE_ROWS_PER_PAGE = 10_000
GROUP_ROWS_PER_PAGE = 1_000
TOP_ROWS_MAX = 10_000
CUSTOMER_KEYS_PER_READ = 1_000
_ZERO_FILLED = (Aggregation.COUNT, Aggregation.SUM, Aggregation.UNIQUE, Aggregation.TIME_WEIGHTED_SUM)

_Figures = Mapping[tuple[int, str, Span], list[UsageRow]]


class _FigurePlace(NamedTuple):
    """Where a row of `usage` stands. `metric` is its number among those asked for."""

    metric: int
    customer_id: str
    start_us: int


class _GroupPlace(NamedTuple):
    """Where a row of `usage_by_group` stands."""

    start_us: int
    groups: tuple[GroupValue, ...]
    customer_id: str

    @classmethod
    def of(cls, row: UsageRow) -> _GroupPlace:
        return cls(to_us(row.span.start), row.groups, row.customer_key or "")

    def in_order(self) -> tuple[object, ...]:
        return self.start_us, in_order(self.groups), self.customer_id


class UsageApi:
    """Handlers over the services they call."""

    def __init__(
        self, metrics: Metrics, usage: UsageService, store: UsageStore, customers: Customers, clock: Clock
    ) -> None:
        self._metrics = metrics
        self._usage = usage
        self._store = store
        self._customers = customers
        self._clock = clock

    def routes(self) -> list[Route]:
        return [
            Route("POST", "/v1/usage", Scope.READ, self.usage, "aggregator", _customers_of_usage),
            Route("POST", "/v1/usage/groups", Scope.READ, self.usage_by_group, "aggregator", _customers_of_groups),
        ]

    def usage(self, request: Request) -> Any:
        """A figure for every metric, customer and window, in this order; zero where nothing was used."""
        body = request.json(UsageBody)
        if body.billable_metric_id is not None:
            return self._usage_in_seed_shape(request.tenant, body)
        spans = windows(body.starting_on, body.ending_before, body.window(), body.zone())
        wanted = body.billable_metrics
        if wanted is None:
            wanted = [WantedMetric(d.metric.id) for _, d in self._metrics.list(request.tenant)]
        metrics = [self._metric(request.tenant, each.id) for each in wanted]
        limit = request.limit(USAGE_ROWS_PER_PAGE, USAGE_ROWS_PER_PAGE)
        customers = self._customer_ids(request.tenant, body.customer_ids)
        pairs = [(number, customer) for number in range(len(wanted)) for customer in customers]
        after = decode_place(request.query.get("next_page"), _FigurePlace)
        shown = _page_of_figures(pairs, spans, after, limit + 1)
        figures = self._figures(request.tenant, wanted, shown)
        rows = [
            _figure_view(metrics[n], wanted[n], customer, span, figures.get((n, customer, span), []))
            for n, customer, span in shown[:limit]
        ]
        if len(shown) <= limit:
            return {"data": rows, "next_page": None}
        number, customer, span = shown[limit - 1]
        return {"data": rows, "next_page": encode_place(_FigurePlace(number, customer, to_us(span.start)))}

    def _figures(self, tenant: str, wanted: Sequence[WantedMetric], shown: Sequence[tuple[int, str, Span]]) -> _Figures:
        """What was used of each figure that is shown: one query per metric, all of one cut."""
        numbers = list(dict.fromkeys(n for n, _, _ in shown))
        queries = []
        for number in numbers:
            of_metric = [(customer, span) for n, customer, span in shown if n == number]
            spans = tuple(sorted({span for _, span in of_metric}))
            owned = self._owned(tenant, list(dict.fromkeys(customer for customer, _ in of_metric)))
            group = wanted[number].group_by
            filters = ((group.key, tuple(group.values)),) if group and group.values else ()
            by = (group.key,) if group else ()
            keys, owners = tuple(owned), tuple(owned.values())
            queries.append(UsageQuery(tenant, wanted[number].id, keys, spans, by, filters, owners=owners))
        found: dict[tuple[int, str, Span], list[UsageRow]] = {}
        for number, answer in zip(numbers, self._usage.usage(*queries), strict=True):
            for row in answer.rows:
                found.setdefault((number, row.customer_key or "", row.span), []).append(row)
        return found

    def _usage_in_seed_shape(self, tenant: str, body: UsageBody) -> Any:
        """The seed document's spelling: one metric, one customer, one row per window and group with usage."""
        assert body.billable_metric_id is not None
        metric = self._metric(tenant, body.billable_metric_id)
        if body.customer_id is None:
            raise BadRequest("customer_id is missing", field="customer_id")
        customer_id = self._resolve(tenant, body.customer_id, "customer_id")
        keys = self._customers.keys_of(tenant, customer_id)
        spans = windows(body.starting_on, body.ending_before, body.window(), body.zone())
        by = (body.group_by.key,) if body.group_by else ()
        [found] = self._usage.usage(UsageQuery(tenant, metric.id, keys, spans, by))
        rows = []
        for row in found.rows:
            group = {k: v for k, v in zip(by, row.groups, strict=True) if v is not None}
            window = {"start": row.span.start, "end": row.span.end, "value": row.value, "group": group}
            rows.append({**window, "customer_id": customer_id, "billable_metric_id": metric.id})
        return {"data": rows, "next_page": None}

    def usage_by_group(self, request: Request) -> Any:
        """A row for every window, combination of group values and (of several) customer that has usage."""
        body = request.json(GroupUsageBody)
        by, filters, excluded = body.grouping()
        top = body.greatest(by)
        metric = self._metric(request.tenant, body.billable_metric_id)
        field = "customer_id" if body.customer_ids is None else "customer_ids"
        customers = [self._resolve(request.tenant, each, field) for each in body.customers()]
        owned = self._owned(request.tenant, customers)
        query = UsageQuery(
            request.tenant, metric.id, tuple(owned), self._spans(body), by, filters, excluded=excluded,
            owners=tuple(owned.values()) if body.is_by_customer() else (), top=top, rest=body.other,
        )  # fmt: skip
        limit = request.limit(GROUP_ROWS_PER_PAGE, GROUP_ROWS_PER_PAGE)
        if top is None:
            return self._page_of_groups(query, body, decode_place(request.query.get("next_page"), _GroupPlace), limit)
        if len(query.spans) * (top + 1) > TOP_ROWS_MAX:
            raise BadRequest(f"top times the windows is more than {TOP_ROWS_MAX}; ask for fewer", field="top")
        # Ranks change as usage comes in, so a page cannot go on where another ended: the greatest come all at once.
        [found] = self._usage.usage(query)
        return {"data": [group_view(row, by, body) for row in found.rows], "next_page": None}

    def _page_of_groups(
        self, query: UsageQuery, body: GroupUsageBody, after: _GroupPlace | None, limit: int
    ) -> dict[str, Any]:
        spans = [span for span in query.spans if after is None or to_us(span.start) >= after.start_us]
        if not spans:
            return {"data": [], "next_page": None}
        [found] = self._usage.usage(msgspec.structs.replace(query, spans=tuple(spans)))
        places = [_GroupPlace.of(row).in_order() for row in found.rows]
        begin = 0 if after is None else bisect.bisect_right(places, after.in_order())
        rows = found.rows[begin : begin + limit]
        view: dict[str, Any] = {"data": [group_view(row, query.group_by, body) for row in rows], "next_page": None}
        if begin + limit < len(found.rows):
            view["next_page"] = encode_place(_GroupPlace.of(rows[-1]))
        return view

    def _spans(self, body: GroupUsageBody) -> tuple[Span, ...]:
        zone = body.zone()
        if body.current_period:
            month = month_of(self._clock.now(), zone)
            return windows(month.start, month.end, body.window(), zone)
        return windows(*body.bounds(), body.window(), zone)

    def _metric(self, tenant: str, metric_id: str) -> Metric:
        metric = self._usage.metric(tenant, metric_id)
        if metric is None:
            raise NotFound(f"no billable metric {metric_id}", field="billable_metric_id")
        return metric

    def _resolve(self, tenant: str, customer: str, field: str) -> str:
        """A customer's id, from its id or one of its ingest aliases."""
        customer_id = self._customers.customer_of(tenant, customer)
        if customer_id is None:
            raise NotFound(f"no customer {customer}", field=field)
        return customer_id

    def _owned(self, tenant: str, customer_ids: Sequence[str]) -> dict[str, str]:
        """Every key under which events of these customers come, and whose it is."""
        return {key: id for id in customer_ids for key in self._customers.keys_of(tenant, id)}

    def _customer_ids(self, tenant: str, named: Sequence[str] | None) -> list[str]:
        """The customers named, or all that have stored events: each once, in order of their ids."""
        if named is not None:
            return sorted({self._resolve(tenant, each, "customer_ids") for each in named})
        found: set[str] = set()
        after = ""
        while keys := self._store.customer_keys(tenant, after, CUSTOMER_KEYS_PER_READ):
            found |= {id for key in keys if (id := self._customers.customer_of(tenant, key)) is not None}
            after = keys[-1]
        return sorted(found)


def _customers_of_usage(request: Request) -> Sequence[str]:
    """Whom `usage` would answer for; without `customer_ids` that is every customer."""
    body = request.json(UsageBody)
    if body.billable_metric_id is not None:
        return () if body.customer_id is None else (body.customer_id,)
    return body.customer_ids or ()


def _customers_of_groups(request: Request) -> Sequence[str]:
    body = request.json(GroupUsageBody)
    return [*([] if body.customer_id is None else [body.customer_id]), *(body.customer_ids or ())]


def _page_of_figures(
    pairs: Sequence[tuple[int, str]], spans: tuple[Span, ...], after: _FigurePlace | None, count: int
) -> list[tuple[int, str, Span]]:
    """The first `count` figures behind `after`, in order of metric, customer and window."""
    out: list[tuple[int, str, Span]] = []
    for number, customer in pairs[bisect.bisect_left(pairs, after[:2]) if after else 0 :]:
        begun = after is not None and (number, customer) == after[:2]
        out += [(number, customer, s) for s in spans if not begun or after is None or to_us(s.start) > after.start_us]
        if len(out) >= count:
            break
    return out[:count]


def _figure_view(
    metric: Metric, wanted: WantedMetric, customer_id: str, span: Span, rows: Sequence[UsageRow]
) -> dict[str, Any]:
    zero = 0 if metric.aggregation in _ZERO_FILLED else None
    view: dict[str, Any] = {
        "billable_metric_id": metric.id,
        "billable_metric_name": metric.name,
        "customer_id": customer_id,
        "start_timestamp": span.start,
        "end_timestamp": span.end,
        "value": None,
    }
    if wanted.group_by is None:
        return {**view, "value": rows[0].value if rows else zero}
    found = {row.groups[0]: row.value for row in rows if row.groups[0] is not None}
    return {**view, "groups": dict.fromkeys(wanted.group_by.values or ()) | found}
