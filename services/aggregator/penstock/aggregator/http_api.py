"""The aggregator's routes: billable metrics, usage, and what became of events. Decode, call, encode; nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from penstock.aggregator import shapes
from penstock.aggregator.metrics import Definition, Metrics
from penstock.aggregator.usage import UsageService
from penstock.kernel.cell import CONSERVATION, CellQuestion
from penstock.kernel.event import Outcome
from penstock.kernel.meter import Aggregation, Metric
from penstock.kernel.ports import Clock, Customers, UsageStore
from penstock.kernel.problems import BadRequest, NotFound
from penstock.kernel.usage import UsageQuery, UsageRow
from penstock.kernel.window import Cadence, Calendar, Span, WindowSize, from_us, to_us
from penstock.web.page import decode_cursor, page
from penstock.web.route import Handler, Request, Route, Scope, customer_in_body

PAGE_DEFAULT, PAGE_MAX = 100, 1_000
USAGE_ROWS_PER_PAGE = 10_000
GROUP_ROWS_PER_PAGE = 1_000
WINDOWS_MAX = 20_000
USAGE_FIGURES_MAX = 200_000
CONSERVATION_DAYS_MAX = 40
_HOUR = timedelta(hours=1)
_HOUR_US = 3_600_000_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_WIDTHS = {WindowSize.QUARTER: _HOUR // 4, WindowSize.HOUR: _HOUR, WindowSize.DAY: 24 * _HOUR}
_ZERO_FILLED = (Aggregation.COUNT, Aggregation.SUM, Aggregation.UNIQUE)


class AggregatorApi:
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
        table: list[tuple[str, str, Scope, Handler]] = [
            ("POST", "/v1/billable-metrics/create", Scope.WRITE, self.create_metric),
            ("GET", "/v1/billable-metrics", Scope.READ, self.list_metrics),
            ("GET", "/v1/billable-metrics/{metric_id}", Scope.READ, self.get_metric),
            ("POST", "/v1/billable-metrics/archive", Scope.WRITE, self.archive_metric),
            ("GET", "/v1/usage/unmatched", Scope.READ, self.unmatched),
            ("GET", "/v1/usage/conservation", Scope.READ, self.conservation),
        ]
        return [
            *(Route(method, path, scope, handler, "aggregator") for method, path, scope, handler in table),
            Route("POST", "/v1/usage", Scope.READ, self.usage, "aggregator", _customers_of_usage),
            Route("POST", "/v1/usage/groups", Scope.READ, self.usage_by_group, "aggregator", customer_in_body),
        ]

    def create_metric(self, request: Request) -> Any:
        body = request.json(shapes.MetricBody)
        made = self._metrics.create(
            request.tenant,
            lambda metric_id, control_id, now: Definition(
                body.to_metric(metric_id, request.tenant),
                now,
                control_id,
                body.declared_group_keys(),
                body.custom_fields or {},
            ),
        )
        return {"data": {"id": made.metric.id}}

    def get_metric(self, request: Request) -> Any:
        definition = self._metrics.find(request.tenant, request.path["metric_id"])
        if definition is None:
            raise NotFound(f"no billable metric {request.path['metric_id']}")
        return {"data": shapes.metric_view(definition)}

    def list_metrics(self, request: Request) -> Any:
        limit = request.limit(PAGE_DEFAULT, PAGE_MAX)
        rows = self._metrics.list(request.tenant, decode_cursor(request.query.get("next_page")), limit + 1)
        shown = [shapes.metric_view(d) for _, d in rows]
        return page(shown, limit, rows[limit - 1][0] if len(rows) >= limit else None)

    def archive_metric(self, request: Request) -> Any:
        body = request.json(shapes.IdBody)
        return {"data": {"id": self._metrics.archive(request.tenant, body.id).metric.id}}

    def usage(self, request: Request) -> Any:
        body = request.json(shapes.UsageBody)
        if body.billable_metric_id is not None:
            return self._usage_in_seed_shape(request.tenant, body)
        spans = _spans(body.starting_on, body.ending_before, body.window())
        wanted = body.billable_metrics
        if wanted is None:
            wanted = [shapes.WantedMetric(d.metric.id) for _, d in self._metrics.list(request.tenant)]
        customers = body.customer_ids if body.customer_ids is not None else self._matched_customers(request.tenant)
        for metric in wanted:
            self._metric(request.tenant, metric.id)
        if len(wanted) * len(customers) * len(spans) > USAGE_FIGURES_MAX:
            raise BadRequest(f"more than {USAGE_FIGURES_MAX} figures; ask for fewer customers, metrics or windows")
        rows: list[Any] = []
        for metric in wanted:
            for customer in customers:
                rows += self._usage_rows(request.tenant, metric, customer, spans)
        return _sliced(rows, decode_cursor(request.query.get("next_page")), USAGE_ROWS_PER_PAGE)

    def _usage_rows(
        self, tenant: str, wanted: shapes.WantedMetric, customer: str, spans: tuple[Span, ...]
    ) -> list[dict[str, Any]]:
        metric = self._metric(tenant, wanted.id)
        customer_id, keys = self._resolve(tenant, customer)
        group = wanted.group_by
        filters = ((group.key, tuple(group.values)),) if group and group.values else ()
        by = (group.key,) if group else ()
        [found] = self._usage.usage(UsageQuery(tenant, metric.id, keys, spans, by, filters))
        by_span: dict[Span, list[UsageRow]] = {}
        for row in found.rows:
            by_span.setdefault(row.span, []).append(row)
        zero = 0 if metric.aggregation in _ZERO_FILLED else None
        out = []
        for span in spans:
            rows = by_span.get(span, [])
            view: dict[str, Any] = {
                "billable_metric_id": metric.id,
                "billable_metric_name": metric.name,
                "customer_id": customer_id,
                "start_timestamp": span.start,
                "end_timestamp": span.end,
                "value": (rows[0].value if rows else zero) if group is None else None,
            }
            if group is not None:
                view["groups"] = {row.groups[0]: row.value for row in rows if row.groups[0] is not None}
            out.append(view)
        return out

    def _usage_in_seed_shape(self, tenant: str, body: shapes.UsageBody) -> Any:
        """The seed document's spelling: one metric, one customer, one row per window and group with usage."""
        assert body.billable_metric_id is not None
        metric = self._metric(tenant, body.billable_metric_id)
        if body.customer_id is None:
            raise BadRequest("customer_id is missing", field="customer_id")
        customer_id, keys = self._resolve(tenant, body.customer_id)
        spans = _spans(body.starting_on, body.ending_before, body.window())
        by = (body.group_by.key,) if body.group_by else ()
        [found] = self._usage.usage(UsageQuery(tenant, metric.id, keys, spans, by))
        rows = []
        for row in found.rows:
            group = {k: v for k, v in zip(by, row.groups, strict=True) if v is not None}
            window = {"start": row.span.start, "end": row.span.end, "value": row.value, "group": group}
            rows.append({**window, "customer_id": customer_id, "billable_metric_id": metric.id})
        return {"data": rows, "next_page": None}

    def usage_by_group(self, request: Request) -> Any:
        body = request.json(shapes.GroupUsageBody)
        metric = self._metric(request.tenant, body.billable_metric_id)
        _, keys = self._resolve(request.tenant, body.customer_id)
        if body.current_period:
            month = Calendar(datetime(2020, 1, 1, tzinfo=UTC), Cadence.MONTH).period_of(self._clock.now())
            start, end = month.start, month.end
        else:
            start, end = body.bounds()
        by, filters = body.grouping()
        spans = _spans(start, end, body.window())
        [found] = self._usage.usage(UsageQuery(request.tenant, metric.id, keys, spans, by, filters))
        limit = request.limit(GROUP_ROWS_PER_PAGE, GROUP_ROWS_PER_PAGE)
        return _sliced(
            [shapes.group_view(row, by) for row in found.rows], decode_cursor(request.query.get("next_page")), limit
        )

    def unmatched(self, request: Request) -> Any:
        """Customer keys that have events but belong to no customer."""
        limit = request.limit(PAGE_DEFAULT, PAGE_MAX)
        after = request.query.get("next_page", "")
        out: list[str] = []
        while len(out) <= limit:
            keys = self._store.customer_keys(request.tenant, after, PAGE_MAX)
            out += [k for k in keys if self._customers.customer_of(request.tenant, k) is None]
            if len(keys) < PAGE_MAX:
                break
            after = keys[-1]
        return {
            "data": [{"customer_id": k} for k in out[:limit]],
            "next_page": out[limit - 1] if len(out) > limit else None,
        }

    def conservation(self, request: Request) -> Any:
        """What became of every event in the log, by hour of the log clock; hours without events are left out."""
        end = request.instant("ending_before") or self._clock.now() + _HOUR
        start = request.instant("starting_on") or end - 48 * _HOUR
        if not timedelta(0) < end - start <= timedelta(days=CONSERVATION_DAYS_MAX):
            raise BadRequest(f"ask for at most {CONSERVATION_DAYS_MAX} days, forwards", field="starting_on")
        start_us, end_us = (to_us(t) // _HOUR_US * _HOUR_US for t in (start, end + _HOUR))
        hours = tuple(range(start_us, end_us, _HOUR_US))
        answer = self._store.read_cells(
            CellQuestion(
                request.tenant, CONSERVATION, Aggregation.COUNT, ("",), start_us, end_us, hours, group_at=(0,)
            )
        )
        table: dict[int, dict[str, int]] = {}
        for row in answer.rows:
            [outcome] = row.groups
            table.setdefault(row.start_us, {o.name.lower(): 0 for o in Outcome})[str(outcome).lower()] = row.cell.events
        return {"data": [{"hour": from_us(hour), **counts} for hour, counts in sorted(table.items())]}

    def _metric(self, tenant: str, metric_id: str) -> Metric:
        metric = self._usage.metric(tenant, metric_id)
        if metric is None:
            raise NotFound(f"no billable metric {metric_id}", field="billable_metric_id")
        return metric

    def _resolve(self, tenant: str, customer: str) -> tuple[str, tuple[str, ...]]:
        """A customer's id and every key of its events, from its id or one of its ingest aliases."""
        customer_id = self._customers.customer_of(tenant, customer)
        if customer_id is None:
            raise NotFound(f"no customer {customer}", field="customer_id")
        return customer_id, self._customers.keys_of(tenant, customer_id)

    def _matched_customers(self, tenant: str) -> list[str]:
        """Customers with stored events, each once, in order of their first key."""
        found: dict[str, None] = {}
        after = ""
        while keys := self._store.customer_keys(tenant, after, PAGE_MAX):
            for key in keys:
                customer_id = self._customers.customer_of(tenant, key)
                if customer_id is not None:
                    found[customer_id] = None
            after = keys[-1]
        return list(found)


def _customers_of_usage(request: Request) -> Sequence[str]:
    """Whom `usage` would answer for; without `customer_ids` that is every customer."""
    body = request.json(shapes.UsageBody)
    if body.billable_metric_id is not None:
        return () if body.customer_id is None else (body.customer_id,)
    return body.customer_ids or ()


def _spans(start: datetime, end: datetime, size: WindowSize) -> tuple[Span, ...]:
    """[start, end) cut into windows of UTC; the first and last may be shorter."""
    if start >= end:
        raise BadRequest("ending_before must be after starting_on", field="ending_before")
    if size is WindowSize.NONE:
        return (Span(start, end),)
    width = _WIDTHS[size]
    if (end - start) // width > WINDOWS_MAX:
        raise BadRequest(f"more than {WINDOWS_MAX} windows; ask for a shorter span", field="ending_before")
    edge = start - (start - _EPOCH) % width
    out = []
    while edge < end:
        out.append(Span(max(edge, start), min(edge + width, end)))
        edge += width
    return tuple(out)


def _sliced(rows: Sequence[Any], after: int, limit: int) -> dict[str, Any]:
    """A page of computed rows; the cursor is the number of rows already seen."""
    return page(rows[after : after + limit + 1], limit, after + limit)

