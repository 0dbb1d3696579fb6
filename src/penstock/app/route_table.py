"""The route table: every route with the service that owns it. A service serves its own, the gateway forwards the rest.

The same functions give a running service its routes and the table of a service that runs elsewhere: a handler is bound
to what stands for its parts there, and never called.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from penstock.aggregator.audit_api import AuditApi
from penstock.aggregator.auditor import Auditor
from penstock.aggregator.backfills import Backfills
from penstock.aggregator.backfills_api import BackfillsApi
from penstock.aggregator.consume import Owner
from penstock.aggregator.corrections import Corrections
from penstock.aggregator.corrections_api import CorrectionsApi
from penstock.aggregator.http_api import AggregatorApi
from penstock.aggregator.metrics import Metrics
from penstock.aggregator.transactions import Transactions
from penstock.aggregator.transactions_api import TransactionsApi
from penstock.aggregator.usage import UsageService
from penstock.contracts.http_api import ContractsService
from penstock.gateway.http_api import KeysApi
from penstock.gateway.keys import Keys
from penstock.kernel.ports.clock import Clock
from penstock.kernel.ports.siblings import Customers, GatewayMemory
from penstock.kernel.ports.usage_store import UsageStore
from penstock.rater.http_api import routes as rater_routes
from penstock.web.route import Request, Route, Scope


def gateway_routes(keys: Keys) -> list[Route]:
    """All but `POST /v1/ingest`, which the server calls straight."""
    return KeysApi(keys).routes()


def aggregator_routes(
    metrics: Metrics,
    usage: UsageService,
    store: UsageStore,
    transactions: Transactions,
    corrections: Corrections,
    auditor: Auditor,
    backfills: Backfills,
    owners: Callable[[], Sequence[Owner]],
    customers: Customers,
    memory: GatewayMemory,
    clock: Clock,
    group_combinations_max: int,
) -> list[Route]:
    def pipeline(_request: Request) -> object:
        """How far each partition is folded; a receipt's offset at or below `folded` is visible in usage."""
        folded = {o.partition: (o.offset, o.clock_us) for o in owners() if o.restores}
        if len(folded) < auditor.partitions:  # others fold the rest: their markers tell
            folded = {p: (marker.offset, marker.clock_us) for p, marker in store.markers().items()} | folded
        return {"data": [{"partition": p, "folded": folded[p][0], "clock_us": folded[p][1]} for p in sorted(folded)]}

    return [
        *AggregatorApi(metrics, usage, store, customers, clock, group_combinations_max).routes(),
        *TransactionsApi(transactions, customers, memory).routes(),
        *CorrectionsApi(corrections).routes(),
        *AuditApi(auditor, customers).routes(),
        *BackfillsApi(backfills, store, customers, clock).routes(),
        Route("GET", "/v1/pipeline", Scope.READ, pipeline, "aggregator"),
    ]


def every_route() -> list[Route]:
    """Method, path, scope and owner of every route; no handler of it can be called."""
    elsewhere: Any = None
    contracts = ContractsService(*[elsewhere] * 6)
    return [
        *gateway_routes(elsewhere),
        *aggregator_routes(*[elsewhere] * 12),
        *rater_routes(*[elsewhere] * 4),
        *contracts.routes(),
        *contracts.trial_routes(elsewhere),
    ]
