"""A key that may read one customer, on every route of the table: that customer alone, and by its id."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace

import pytest

from builders import Body, month_of, yesterday
from flow.test_tenants import TRANSACTION, Two, ask, asked, every_route, one_of_everything
from server import Answer, PenstockServer, RawClient

# Where a customer is named, and so where such a key gets an answer; any other route is closed to it.
OPEN_TO_A_CUSTOMER = {
    "POST /v1/usage",
    "POST /v1/usage/groups",
    "GET /v1/customers/{customer_id}",
    "POST /v1/contracts/get",
    "POST /v2/contracts/get",
    "POST /v1/contracts/list",
    "POST /v2/contracts/list",
    "POST /v1/contracts/customerBalances/list",
    "POST /v1/contracts/customerBalances/getNetBalance",
    "POST /v1/contracts/getBalance",
    "GET /v1/contracts/getBalance",
    "GET /v1/customers/{customer_id}/ledger",
    "GET /v1/customers/{customer_id}/invoices",
    "GET /v1/customers/{customer_id}/invoices/{invoice_id}",
    "GET /v1/customers/{customer_id}/invoices/{invoice_id}/explain",
    "GET /v1/invoices",
}
ROUTES = sorted(asked(defaultdict(str)))


@pytest.fixture(scope="module")
def acme(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Two]:
    """A tenant with two customers; the `stranger` is the key that may read the second, who has nothing."""
    with PenstockServer(tmp_path_factory.mktemp("customers") / "data") as server:
        ids = one_of_everything(server)
        other = server.raw.post("/v1/customers", {"name": "Other", "ingest_aliases": ["other"]}).json["data"]["id"]
        made = server.raw.post("/v1/api-keys", {"name": "portal", "scopes": ["read"], "customer_id": other})
        key = made.json["data"]
        assert key["customer_id"] == other
        yield Two(server, RawClient(server.port, key["key"]), key["id"], ids | {"other": other})


def own_client(acme: Two) -> RawClient:
    body = {"name": "own", "scopes": ["read"], "customer_id": acme.ids["customer_id"]}
    return RawClient(acme.server.port, acme.server.raw.post("/v1/api-keys", body).json["data"]["key"])


def test_the_table_and_the_routes_agree_on_what_is_open() -> None:
    declared = {name for name, route in every_route().items() if route.customers and route.scope.value == "read"}

    assert declared == OPEN_TO_A_CUSTOMER


@pytest.mark.parametrize("route", ROUTES)
def test_another_customer_is_refused_on_every_route(acme: Two, route: str) -> None:
    answer = ask(acme, acme.stranger, route, asked(acme.ids)[route][1])

    assert answer.status == 403, answer
    assert acme.ids["customer_id"] not in answer.body.decode()


@pytest.mark.parametrize("route", ROUTES)
def test_the_own_customer_is_read_where_a_route_names_it(acme: Two, route: str) -> None:
    answer = ask(acme, own_client(acme), route, asked(acme.ids)[route][1])

    assert answer.status == (200 if route in OPEN_TO_A_CUSTOMER else 403), answer


@pytest.mark.parametrize("route", sorted(r for r in OPEN_TO_A_CUSTOMER if "_id}" in r or "contracts/get" in r))
def test_what_belongs_to_another_customer_is_not_found_under_the_own_one(acme: Two, route: str) -> None:
    """The contract and the invoices of one customer, asked for under the id of the other."""
    mixed = replace(acme, ids=acme.ids | {"customer_id": acme.ids["other"]})

    answer = ask(mixed, acme.stranger, route, asked(mixed.ids)[route][1])

    assert answer.status == (200 if _is_whole_customer(route) else 404), answer
    assert not any(acme.ids[name] in answer.body.decode() for name in ("customer_id", "segment_id", "commit_id"))


def _is_whole_customer(route: str) -> bool:
    return not route.endswith("s/get") and "{invoice_id}" not in route


def usage(acme: Two, **body: object) -> Answer:
    start, end = month_of(yesterday())
    whole: Body = {"starting_on": start, "ending_before": end, "window_size": "NONE", **body}
    return acme.stranger.post("/v1/usage", whole)


def test_a_list_that_names_the_own_customer_beside_another_is_refused(acme: Two) -> None:
    own, other = acme.ids["other"], acme.ids["customer_id"]
    metric = {"billable_metrics": [{"id": acme.ids["metric_id"]}]}

    assert usage(acme, **metric, customer_ids=[own]).status == 200
    assert usage(acme, **metric, customer_ids=[own, other]).status == 403
    assert usage(acme, **metric).status == 403
    assert usage(acme, **metric, customer_id=own).status == 403  # this form lists every customer
    assert usage(acme, billable_metric_id=acme.ids["metric_id"], customer_id=own).status == 200
    assert usage(acme, billable_metric_id=acme.ids["metric_id"], customer_id=other, customer_ids=[own]).status == 403


def test_the_own_customer_is_named_by_its_id_not_by_an_alias(acme: Two) -> None:
    assert acme.stranger.get("/v1/customers/other").status == 403
    assert acme.stranger.get(f"/v1/invoices?customer_id={acme.ids['customer_id']}&customer_id=other").status == 403
    assert acme.stranger.get("/healthz").status == 200
    assert acme.stranger.get(f"/v1/transactions/{TRANSACTION}").status == 403
    assert acme.stranger.get("/v1/pipeline").status == 403
