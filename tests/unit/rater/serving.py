"""The rater's routes behind Metronome's own SDK: real requests, responses parsed strictly."""

from __future__ import annotations

from typing import Any

import httpx
import metronome

from builders import to_json
from penstock.catalog.memory import MemoryCatalog
from penstock.kernel.meter import Aggregation
from penstock.kernel.problems import Problem
from penstock.rater.http_api import routes
from penstock.rater.run import RaterService
from penstock.rater.shelf import Shelf
from penstock.web.problem import problem_response
from penstock.web.route import Principal, Request, Router, Scope
from unit.rater.rating import NOW, FakeUsage, a_metric

JANUARY = "2026-01-01T00:00:00Z"


class StoppedClock:
    def now(self) -> Any:
        return NOW


class Server:
    """The routes and the service on one catalog, reached by a client of the SDK or by plain requests."""

    def __init__(self, usage: FakeUsage | None = None) -> None:
        self.catalog = MemoryCatalog()
        self.usage = usage or FakeUsage(
            a_metric("tokens", Aggregation.SUM, "model", "region"), a_metric("calls", Aggregation.COUNT)
        )
        self.service = RaterService(self.catalog, self.usage, StoppedClock(), self.usage)
        self.shelf = Shelf(self.catalog)
        self._router = Router(routes(self.catalog, self.usage, StoppedClock(), self.usage))
        self.http = httpx.Client(transport=httpx.MockTransport(self._answer), base_url="http://penstock")

    def _answer(self, request: httpx.Request) -> httpx.Response:
        found = self._router.find(request.method, request.url.path)
        assert found is not None, request.url
        route, path = found
        principal = Principal(request.headers.get("authorization", "Bearer tenant-1")[7:], "key-1", frozenset(Scope))
        try:
            body = route.handler(Request(principal, path, dict(request.url.params), request.content))
        except Problem as problem:
            response = problem_response(problem)
            return httpx.Response(response.status, content=response.body, headers=dict(response.headers))
        return httpx.Response(200, content=to_json(body), headers={"content-type": "application/json"})

    def sdk(self, tenant: str = "tenant-1") -> metronome.Metronome:
        return metronome.Metronome(
            bearer_token=tenant,
            base_url="http://penstock",
            http_client=self.http,
            max_retries=0,
            _strict_response_validation=True,
        )

    def post(self, path: str, body: object) -> httpx.Response:
        return self.http.post(path, content=to_json(body))

    def refused(self, path: str, body: object) -> tuple[int, str | None]:
        """The status and the field that the problem names."""
        response = self.post(path, body)
        return response.status_code, response.json().get("field")


def a_usage_product(client: metronome.Metronome, metric_id: str = "calls", **fields: Any) -> str:
    created = client.v1.contracts.products.create(name="Calls", type="USAGE", billable_metric_id=metric_id, **fields)
    return created.data.id


def a_rate_card(client: metronome.Metronome, **fields: Any) -> str:
    return client.v1.contracts.rate_cards.create(name="Standard", **fields).data.id


def a_flat_rate(product_id: str, **fields: Any) -> dict[str, Any]:
    body = {"product_id": product_id, "entitled": True, "rate_type": "FLAT", "price": 5, "starting_at": JANUARY}
    return body | fields
