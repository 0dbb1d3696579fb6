"""How far the log is folded, as one of several aggregators tells it."""

from __future__ import annotations

from typing import Any

from penstock.aggregator.auditor import Auditor
from penstock.aggregator.store.memory import MemoryUsageStore
from penstock.app.route_table import aggregator_routes
from penstock.kernel.ports.fold_store import Flush
from penstock.kernel.record import Marker
from penstock.web.route import Principal, Request, Scope


def test_an_aggregator_tells_of_partitions_that_others_fold() -> None:
    store = MemoryUsageStore()
    for partition, offset in ((0, 41), (2, 7)):
        marker = Marker(partition, offset, "log", 3, b"", 1_000 + offset)
        store.flush(Flush((), (), (), frozenset(), {}, marker))
    unused: Any = None
    routes = aggregator_routes(
        metrics=unused,
        usage=unused,
        store=store,
        transactions=unused,
        corrections=unused,
        auditor=Auditor(store, 3),
        backfills=unused,
        owners=list,
        customers=unused,
        memory=unused,
        clock=unused,
        group_combinations_max=1,
    )
    [pipeline] = [route for route in routes if route.path == "/v1/pipeline"]

    told = pipeline.handler(Request(Principal("acme", "key", frozenset([Scope.READ])), {}, {}, b""))

    assert told == {
        "data": [
            {"partition": 0, "folded": 41, "clock_us": 1_041},
            {"partition": 2, "folded": 7, "clock_us": 1_007},
        ]
    }
