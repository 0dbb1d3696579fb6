"""The aggregator's routes: billable metrics, usage, and what became of events. Decode, call, encode; nothing else."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from penstock.aggregator import shapes
from penstock.aggregator.conservation import hours_view
from penstock.aggregator.metrics import Definition, Metrics
from penstock.aggregator.usage import UsageService
from penstock.aggregator.usage_api import UsageApi
from penstock.kernel.ports.clock import Clock
from penstock.kernel.ports.siblings import Customers
from penstock.kernel.ports.usage_store import UsageStore
from penstock.kernel.problems import BadRequest, NotFound
from penstock.kernel.window import to_us
from penstock.web.page import decode_cursor, page
from penstock.web.route import Handler, Request, Route, Scope

PAGE_DEFAULT, PAGE_MAX = 100, 1_000
CONSERVATION_DAYS_MAX = 40
_HOUR = timedelta(hours=1)
_HOUR_US = 3_600_000_000


class AggregatorApi:
    """Handlers over the services they call."""

    def __init__(
        self,
        metrics: Metrics,
        usage: UsageService,
        store: UsageStore,
        customers: Customers,
        clock: Clock,
        group_combinations_max: int,
    ) -> None:
        self._metrics = metrics
        self._usage_api = UsageApi(metrics, usage, store, customers, clock)
        self._store = store
        self._customers = customers
        self._clock = clock
        self._combinations_max = group_combinations_max

    def routes(self) -> list[Route]:
        table: list[tuple[str, str, Scope, Handler]] = [
            ("POST", "/v1/billable-metrics/create", Scope.WRITE, self.create_metric),
            ("GET", "/v1/billable-metrics", Scope.READ, self.list_metrics),
            ("GET", "/v1/billable-metrics/{metric_id}", Scope.READ, self.get_metric),
            ("POST", "/v1/billable-metrics/archive", Scope.WRITE, self.archive_metric),
            ("POST", "/v1/billable-metrics/update", Scope.WRITE, self.update_metric),
            ("GET", "/v1/usage/unmatched", Scope.READ, self.unmatched),
            ("GET", "/v1/usage/conservation", Scope.READ, self.conservation),
        ]
        return [
            *(Route(method, path, scope, handler, "aggregator") for method, path, scope, handler in table),
            *self._usage_api.routes(),
        ]

    def create_metric(self, request: Request) -> Any:
        body = request.json(shapes.MetricBody)
        made = self._metrics.create(
            request.tenant,
            lambda metric_id, control_id, now: Definition(
                body.to_metric(metric_id, request.tenant, self._combinations_max),
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

    def update_metric(self, request: Request) -> Any:
        """Change what a metric counts; the answer names the revision, which is filled in the background."""
        body = request.json(shapes.MetricUpdateBody)
        changed = self._metrics.revise(
            request.tenant, body.id, lambda held: body.applied_to(held, self._combinations_max)
        )
        return {"data": {"id": body.id, "revision": len(changed.history) - 1}}

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
        return {"data": hours_view(self._store, request.tenant, start_us, end_us)}
