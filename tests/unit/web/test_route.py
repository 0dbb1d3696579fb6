"""Which route a path finds, and how a key of one customer is held to it."""

from __future__ import annotations

import pytest

from penstock.kernel.problems import Forbidden
from penstock.web.route import (
    CustomersOf,
    Principal,
    Request,
    Route,
    Router,
    Scope,
    customer_in_body,
    customer_in_path,
    customer_in_query,
)


def a_route(path: str, scope: Scope = Scope.READ, customers: CustomersOf | None = None, slashes: bool = False) -> Route:
    return Route("GET", path, scope, lambda request: "answered", "test", customers, slashes)


def found(router: Router, path: str, method: str = "GET") -> tuple[str, dict[str, str]] | None:
    match = router.find(method, path)
    return None if match is None else (match[0].path, match[1])


def test_literal_parts_win_over_named_ones() -> None:
    router = Router([a_route("/v1/{any}"), a_route("/v1/usage")])

    assert found(router, "/v1/usage") == ("/v1/usage", {})
    assert found(router, "/v1/other") == ("/v1/{any}", {"any": "other"})
    assert found(router, "/v1/other", "POST") is None
    assert router.knows("/v1/other")


def test_an_id_may_hold_slashes_where_the_route_takes_them() -> None:
    router = Router([a_route("/v1/t/{id}", slashes=True), a_route("/v1/t/{id}/more"), a_route("/v1/c/{id}")])

    assert found(router, "/v1/t/a") == ("/v1/t/{id}", {"id": "a"})
    assert found(router, "/v1/t/a/b//c") == ("/v1/t/{id}", {"id": "a/b//c"})
    assert found(router, "/v1/t/a/more") == ("/v1/t/{id}/more", {"id": "a"})
    assert found(router, "/v1/c/a/b") is found(router, "/v1/t") is found(router, "/v1/t/a/b", "POST") is None


def a_request(customer: str | None, body: bytes = b"", path: str = "", query: str | None = None) -> Request:
    principal = Principal("acme", "key", frozenset([Scope.READ]), customer)
    return Request(principal, {"customer_id": path}, {} if query is None else {"customer_id": query}, body)


@pytest.mark.parametrize(
    ("customers", "request_of", "admitted"),
    [
        (customer_in_path, a_request("c1", path="c1"), True),
        (customer_in_path, a_request("c1", path="c2"), False),
        (customer_in_query, a_request("c1", query="c1"), True),
        (customer_in_query, a_request("c1", query="c2"), False),
        (customer_in_query, a_request("c1"), False),
        (customer_in_body, a_request("c1", b'{"customer_id": "c1"}'), True),
        (customer_in_body, a_request("c1", b'{"customer_id": "c1", "customer_id": "c2"}'), False),
        (customer_in_body, a_request("c1", b"{}"), False),
        (customer_in_body, a_request("c1"), False),
        (lambda request: ["c1", "c2"], a_request("c1"), False),
        (None, a_request("c1", path="c1", query="c1"), False),
        (None, a_request(None), True),
    ],
)
def test_a_key_of_one_customer_is_held_to_it(
    customers: CustomersOf | None, request_of: Request, admitted: bool
) -> None:
    route = a_route("/v1/x", customers=customers)

    if admitted:
        assert route.answer(request_of) == "answered"
    else:
        with pytest.raises(Forbidden, match="one customer"):
            route.answer(request_of)


def test_an_open_route_is_open_to_every_key() -> None:
    assert a_route("/healthz", Scope.OPEN).answer(a_request("c1")) == "answered"
