"""POST /v1/price over HTTP: the answer in text numbers, its explanation posted back, problems by field."""

from __future__ import annotations

from penstock.rater.http_api import routes
from penstock.web.route import Scope
from unit.rater.serving import Server, StoppedClock

TIERS = [{"up_to": 10, "unit_price": "0.5"}, {"up_to": None, "unit_price": "0.1"}]
REQUEST = {"price": {"model": "GRADUATED", "tiers": TIERS}, "quantity": 120}


def test_a_price_is_answered_and_its_explanation_posted_back_comes_to_the_same(server: Server) -> None:
    first = server.post("/v1/price", REQUEST)
    again = server.post("/v1/price", first.json()["explanation"])

    assert (first.status_code, first.json()["amount"], first.json()["exact"]) == (200, "16.00", "16")
    assert (200, first.json()) == (again.status_code, again.json())


def test_a_price_that_is_wrong_is_a_problem_that_names_the_field(server: Server) -> None:
    late = {**REQUEST, "price": {"model": "GRADUATED", "tiers": [{"up_to": "ten", "unit_price": 1}, *TIERS]}}

    assert server.refused("/v1/price", late) == (400, "price.tiers[0].up_to")
    assert server.refused("/v1/price", {"price": {"model": "BARTER"}, "quantity": 1}) == (422, "price.model")
    assert server.refused("/v1/price", {}) == (400, "price")


def test_who_may_read_may_ask_for_a_price(server: Server) -> None:
    [route] = [r for r in routes(server.catalog, server.usage, StoppedClock(), server.usage) if r.path == "/v1/price"]

    assert (route.method, route.scope, route.owner) == ("POST", Scope.READ, "rater")
