"""The audit over HTTP: recompute one tenant's cells of a span from its stored events, and show what differs."""

from __future__ import annotations

import itertools
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import msgspec

from penstock.aggregator.audit import US_PER_HOUR, Difference, Life
from penstock.aggregator.auditor import Auditor, Findings, SpanUs
from penstock.kernel.cell import CONSERVATION, CORRECTIONS, Cell
from penstock.kernel.ports.siblings import Customers
from penstock.kernel.problems import BadRequest, NotFound
from penstock.kernel.quantity import canonical
from penstock.kernel.window import BASE_WINDOW_US, from_us, to_us
from penstock.web.instant import as_utc
from penstock.web.route import OPERATOR_TENANT, Request, Route, Scope

AUDIT_DAYS_MAX = 40
DIFFERENCES_SHOWN_MAX = 100


class AuditBody(msgspec.Struct):
    """POST /v1/audit. Without a metric: all of the tenant's, and what became of events in these hours of the log."""

    starting_on: datetime
    ending_before: datetime
    billable_metric_id: str | None = None
    customer_id: str | None = None

    def span_us(self) -> SpanUs:
        """The whole windows that the span touches."""
        start, end = as_utc(self.starting_on, "starting_on"), as_utc(self.ending_before, "ending_before")
        if not timedelta(0) < end - start <= timedelta(days=AUDIT_DAYS_MAX):
            raise BadRequest(f"ask for at most {AUDIT_DAYS_MAX} days, forwards", field="ending_before")
        return _widened((to_us(start), to_us(end)), BASE_WINDOW_US)


class Figure(msgspec.Struct, frozen=True):
    events: int
    value: Decimal | None


class DifferenceView(msgspec.Struct, frozen=True):
    """One cell that differs. Without a metric it counts what became of events, in an hour of the log clock.

    `as_of` is the offset of the partition as of which it was recomputed.
    """

    tenant: str
    billable_metric_id: str | None
    customer_id: str
    starting_on: datetime
    groups: tuple[str | None, ...]
    member: str | None
    partition: int
    as_of: int
    stored: Figure | None
    recomputed: Figure


class AuditView(msgspec.Struct, frozen=True):
    """What was audited, and the first differences of it."""

    starting_on: datetime
    ending_before: datetime
    billable_metrics: int
    cells: int
    differing_cells: int
    error_events: int
    differences: list[DifferenceView]


class AuditApi:
    """`customers` resolves an id or an alias to every key of its events; another key is audited as it is."""

    def __init__(self, auditor: Auditor, customers: Customers) -> None:
        self._auditor = auditor
        self._customers = customers

    def routes(self) -> list[Route]:
        return [Route("POST", "/v1/audit", Scope.ADMIN, self.audit, "aggregator")]

    def audit(self, request: Request) -> Any:
        body = request.json(AuditBody)
        span_us = body.span_us()
        metrics = self._metrics(request.tenant, body.billable_metric_id)
        keys = None if body.customer_id is None else self._keys(request.tenant, body.customer_id)
        found = Findings()
        for scope, metric_id in itertools.product(self._auditor.scopes(request.tenant), metrics):
            found.add(self._auditor.cells(scope, metric_id, keys, span_us))
        if body.billable_metric_id is None and keys is None:
            self._conserve(request.tenant, span_us, found)
        shown = [difference_view(difference) for difference in found.differences[:DIFFERENCES_SHOWN_MAX]]
        start, end = map(from_us, span_us)
        totals = (found.cells, len(found.differences), found.events)
        return {"data": AuditView(start, end, len(metrics), *totals, shown)}

    def _conserve(self, tenant: str, span_us: SpanUs, found: Findings) -> None:
        """The operator also learns whether what was dropped adds up, which is known for all tenants together."""
        only = None if tenant == OPERATOR_TENANT else tenant
        for partition in range(self._auditor.partitions):
            found.add(self._auditor.conservation(partition, _widened(span_us, US_PER_HOUR), only))

    def _metrics(self, tenant: str, wanted: str | None) -> list[str]:
        known: dict[str, Life] = {}
        for of_partition in self._auditor.lives():
            known |= {metric_id: life for metric_id, life in of_partition.items() if life.metric.tenant == tenant}
        if wanted is not None and wanted not in known:
            raise NotFound(f"no billable metric {wanted} has been folded", field="billable_metric_id")
        return list(known) if wanted is None else [wanted]

    def _keys(self, tenant: str, customer: str) -> tuple[str, ...]:
        customer_id = self._customers.customer_of(tenant, customer)
        return (customer,) if customer_id is None else self._customers.keys_of(tenant, customer_id)


def difference_view(difference: Difference) -> DifferenceView:
    key = difference.key
    return DifferenceView(
        tenant=key.tenant,
        billable_metric_id=None if key.metric in (CONSERVATION, CORRECTIONS) else key.metric,
        customer_id=key.customer,
        starting_on=from_us(key.window_us),
        groups=key.groups,
        member=key.member,
        partition=key.partition,
        as_of=difference.version,
        stored=None if difference.stored is None else _figure(difference.stored),
        recomputed=_figure(difference.recomputed),
    )


def _figure(cell: Cell) -> Figure:
    return Figure(cell.events, canonical(cell.value) if cell.events else None)


def _widened(span_us: SpanUs, width_us: int) -> SpanUs:
    return span_us[0] // width_us * width_us, -(-span_us[1] // width_us) * width_us
