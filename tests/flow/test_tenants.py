"""A key of one tenant sees and changes nothing of another's, on every route that there is."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest

from builders import Body, a_commit_body, a_rate_body, a_sum_body, an_event, month_of, rfc3339, yesterday
from penstock.app import route_table
from penstock.app.cli import main
from server import Answer, PenstockServer, RawClient, eventually

SECRET, TRANSACTION = "Acme's secret", "transaction-of-acme"
NOT_FOUND, NOTHING, OWN = "answers 404", "answers an empty list", "answers of its own tenant"


@dataclass
class Two:
    """A server with a tenant that has one of everything, and the client of another tenant's admin."""

    server: PenstockServer
    stranger: RawClient
    stranger_key_id: str
    ids: dict[str, str]


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Two]:
    with PenstockServer(tmp_path_factory.mktemp("tenants") / "data") as server:
        ids = one_of_everything(server)
        key = server.raw.post("/v1/api-keys", {"name": "admin", "scopes": ["admin"], "tenant": "globex"}).json["data"]
        yield Two(server, RawClient(server.port, key["key"]), key["id"], ids)


def one_of_everything(server: PenstockServer) -> dict[str, str]:
    api = server.client.v1
    start = month_of(yesterday())[0]
    customer = api.customers.create(name=SECRET, ingest_aliases=["acme"]).data.id
    metric = api.billable_metrics.create(**a_sum_body("units", group_keys=[["model"]])).data.id
    product = api.contracts.products.create(name=SECRET, type="USAGE", billable_metric_id=metric).data.id
    card = api.contracts.rate_cards.create(name=SECRET).data.id
    unit = api.pricing_units.create(name=SECRET).data.id
    api.contracts.rate_cards.rates.add(rate_card_id=card, **a_rate_body(product, start, price=3))
    commit = a_commit_body(product, 500, start, start + timedelta(days=400), name=SECRET)
    contract = api.contracts.create(
        customer_id=customer, rate_card_id=card, starting_at=start, commits=[commit]
    ).data.id
    event = an_event(TRANSACTION, properties={"units": 7, "model": SECRET})
    server.raw.ingest([event, an_event("2", customer_id="unknown")])
    eventually(lambda: server.raw.get(f"/v1/transactions/{TRANSACTION}").status, 200)
    quarters = {"starting_on": rfc3339(yesterday()), "ending_before": rfc3339(yesterday() + timedelta(hours=1))}
    backfill = server.raw.post("/v1/backfills/create", {"customer_ids": [customer], **quarters}).json["data"]["id"]
    amendment = {"transaction_id": TRANSACTION, "properties": {"units": 7, "model": SECRET}, "uniqueness_key": "mend"}
    server.raw.post("/v1/events/amend", amendment)
    (balance,) = api.contracts.list_balances(customer_id=customer)
    assert balance.access_schedule is not None
    return {
        "customer_id": customer,
        "metric_id": metric,
        "product_id": product,
        "rate_card_id": card,
        "pricing_unit_id": unit,
        "contract_id": contract,
        "invoice_id": next(iter(api.customers.invoices.list(customer_id=customer))).id,
        "commit_id": balance.id,
        "segment_id": balance.access_schedule.schedule_items[0].id,
        "transaction_id": TRANSACTION,
        "backfill_id": backfill,
        "correction_id": "mend",
        "key_id": server.raw.get("/v1/api-keys").json["data"][0]["id"],
    }


def every_route() -> dict[str, Any]:
    """The application's own table of routes, as `METHOD path`; nothing is started."""
    return {f"{route.method} {route.path}": route for route in route_table.every_route()}


def asked(ids: Mapping[str, str]) -> dict[str, tuple[str, Body | None]]:
    """For every route what a stranger gets who knows all of the tenant's ids, and the body it sends."""
    start = month_of(yesterday())[0]
    customer = {"customer_id": ids["customer_id"]}
    days = {"starting_on": rfc3339(start), "ending_before": rfc3339(start + timedelta(days=40)), "window_size": "NONE"}
    quarters = {"starting_on": rfc3339(yesterday()), "ending_before": rfc3339(yesterday() + timedelta(hours=1))}
    customers = {"customer_ids": [ids["customer_id"]]}
    return asked_of_prices(ids) | {
        "POST /v1/api-keys": (OWN, {"name": "second", "scopes": ["read"]}),
        "GET /v1/api-keys": (OWN, None),
        "POST /v1/api-keys/{key_id}/rotate": (NOT_FOUND, {}),
        "POST /v1/api-keys/{key_id}/revoke": (NOT_FOUND, {}),
        "POST /v1/billable-metrics/create": (OWN, a_sum_body("mine")),
        "GET /v1/billable-metrics": (NOTHING, None),
        "GET /v1/billable-metrics/{metric_id}": (NOT_FOUND, None),
        "POST /v1/billable-metrics/archive": (NOT_FOUND, {"id": ids["metric_id"]}),
        "POST /v1/billable-metrics/update": (NOT_FOUND, {"id": ids["metric_id"], "name": "theirs"}),
        "POST /v1/usage": (
            NOT_FOUND,
            {"billable_metrics": [{"id": ids["metric_id"]}], "customer_ids": [ids["customer_id"]], **days},
        ),
        "POST /v1/usage/groups": (NOT_FOUND, {"billable_metric_id": ids["metric_id"], **customer, **days}),
        "GET /v1/usage/unmatched": (NOTHING, None),
        "GET /v1/usage/conservation": (NOTHING, None),
        "POST /v1/audit": (OWN, days),
        "POST /v1/backfills/create": (NOT_FOUND, customers | quarters),
        "GET /v1/backfills": (NOTHING, None),
        "GET /v1/backfills/{backfill_id}": (NOT_FOUND, None),
        "POST /v1/backfills/commit": (NOT_FOUND, {"id": ids["backfill_id"]}),
        "POST /v1/backfills/revert": (NOT_FOUND, {"id": ids["backfill_id"]}),
        "GET /v1/pipeline": (OWN, None),  # how far the log is folded, the same for all
        "GET /v1/transactions/{transaction_id}": (NOT_FOUND, None),
        "POST /v1/events/amend": (OWN, {"transaction_id": ids["transaction_id"], "properties": {"units": 1_000_000}}),
        "POST /v1/events/void": (OWN, {"transaction_id": ids["transaction_id"]}),
        "GET /v1/events/corrections/{correction_id}": (NOT_FOUND, None),
        "POST /v1/events/search": (NOTHING, {"transactionIds": [ids["transaction_id"]]}),
    }


def asked_of_prices(ids: Mapping[str, str]) -> dict[str, tuple[str, Body | None]]:
    """`asked` of the rater's and the contracts service's routes."""
    start = month_of(yesterday())[0]
    customer, card = {"customer_id": ids["customer_id"]}, {"rate_card_id": ids["rate_card_id"]}
    contract = customer | {"contract_id": ids["contract_id"]}
    instant, rate = rfc3339(start), a_rate_body(ids["product_id"], start, price=1)
    entry = {"id": ids["commit_id"], "segment_id": ids["segment_id"], "amount": 1, "reason": "mine"}
    product = {"name": "Mine", "type": "USAGE", "billable_metric_id": ids["metric_id"]}
    override = {"product_id": ids["product_id"], "rate_type": "flat", "price": 0}
    month = {"starting_on": instant, "ending_before": rfc3339(start + timedelta(days=40))}
    return {
        "POST /v1/contract-pricing/products/create": (NOT_FOUND, product),
        "POST /v1/contract-pricing/products/get": (NOT_FOUND, {"id": ids["product_id"]}),
        "POST /v1/contract-pricing/products/list": (NOTHING, {}),
        "POST /v1/contract-pricing/products/update": (
            NOT_FOUND,
            {"product_id": ids["product_id"], "starting_at": instant, "name": "Mine"},
        ),
        "POST /v1/contract-pricing/products/archive": (NOT_FOUND, {"product_id": ids["product_id"]}),
        "POST /v1/contract-pricing/rate-cards/create": (OWN, {"name": "Mine"}),
        "POST /v1/contract-pricing/rate-cards/get": (NOT_FOUND, {"id": ids["rate_card_id"]}),
        "POST /v1/contract-pricing/rate-cards/list": (NOTHING, {}),
        "POST /v1/contract-pricing/rate-cards/update": (NOT_FOUND, card | {"name": "Mine"}),
        "POST /v1/contract-pricing/rate-cards/addRate": (NOT_FOUND, card | rate | {"starting_at": instant}),
        "POST /v1/contract-pricing/rate-cards/addRates": (
            NOT_FOUND,
            card | {"rates": [rate | {"starting_at": instant}]},
        ),
        "POST /v1/contract-pricing/rate-cards/getRates": (NOT_FOUND, card | {"at": instant}),
        "POST /v1/contract-pricing/rate-cards/getRateSchedule": (NOT_FOUND, card | {"starting_at": instant}),
        "POST /v1/price": (OWN, {"price": {"model": "PER_UNIT", "unit_price": 1}, "quantity": 1}),
        "POST /v1/credit-types/create": (OWN, {"name": "Mine"}),
        "GET /v1/credit-types/list": (OWN, None),  # the currencies, the same for all
        "POST /v1/credit-types/archive": (NOT_FOUND, {"id": ids["pricing_unit_id"]}),
        "POST /v1/price/events": (
            NOT_FOUND,
            {
                "metric_id": ids["metric_id"],
                "customers": [ids["customer_id"], "acme"],
                "spans": [{"start": instant, "end": rfc3339(start + timedelta(days=70))}],
                "vector": [1_000_000],
            },
        ),
        "POST /v1/rate-cards/create": (NOT_FOUND, {"name": "Mine", "rates": [override]}),
        "POST /v1/rate-cards/override": (NOT_FOUND, customer | card | {"overrides": [override]}),
        "POST /v1/customers": (OWN, {"name": "Mine"}),
        "GET /v1/customers": (NOTHING, None),
        "GET /v1/customers/{customer_id}": (NOT_FOUND, None),
        "POST /v1/customers/{customer_id}/setIngestAliases": (NOT_FOUND, {"ingest_aliases": ["mine"]}),
        "POST /v1/customers/{customer_id}/setName": (NOT_FOUND, {"name": "Mine"}),
        "POST /v1/customers/archive": (NOT_FOUND, {"id": ids["customer_id"]}),
        "POST /v1/contracts/create": (NOT_FOUND, customer | card | {"starting_at": instant}),
        "POST /v1/contracts/get": (NOT_FOUND, contract),
        "POST /v2/contracts/get": (NOT_FOUND, contract),
        "POST /v1/contracts/list": (NOT_FOUND, customer),
        "POST /v2/contracts/list": (NOT_FOUND, customer),
        "POST /v1/contracts/preview": (NOT_FOUND, contract | card | month),
        "POST /v1/contracts/backtest": (NOT_FOUND, card | month),
        "POST /v1/contracts/customerBalances/list": (NOT_FOUND, customer),
        "POST /v1/contracts/customerBalances/getNetBalance": (NOT_FOUND, customer),
        "POST /v1/contracts/getBalance": (NOT_FOUND, customer),
        "GET /v1/contracts/getBalance": (NOT_FOUND, None),
        "POST /v1/contracts/addManualBalanceLedgerEntry": (NOT_FOUND, contract | entry),
        "GET /v1/customers/{customer_id}/ledger": (NOT_FOUND, None),
        "GET /v1/customers/{customer_id}/invoices": (NOT_FOUND, None),
        "GET /v1/customers/{customer_id}/invoices/{invoice_id}": (NOT_FOUND, None),
        "GET /v1/customers/{customer_id}/invoices/{invoice_id}/explain": (NOT_FOUND, None),
        "GET /v1/invoices": (NOT_FOUND, None),
        "GET /v1/test-clock": (OWN, None),
        "POST /v1/test-clock/advance": (OWN, {"to": "9999-01-01T00:00:00Z"}),
    }


# The test clock is the whole process's, and for tests only; moving it would finalize what other tests look at.
NOT_ASKED = "POST /v1/test-clock/advance"
EXPECTED = {route: expected for route, (expected, _) in asked(defaultdict(str)).items()}
# Lists come first, while the stranger has nothing of its own.
ROUTES = sorted(set(EXPECTED) - {NOT_ASKED}, key=lambda route: (EXPECTED[route] == OWN, route))


def test_the_table_names_every_route() -> None:
    assert set(EXPECTED) == set(every_route())


@pytest.mark.parametrize("route", ROUTES)
def test_a_stranger_gets_nothing_of_another_tenant(two: Two, route: str) -> None:
    expected, body = asked(two.ids)[route]

    answer = ask(two, two.stranger, route, body)

    assert SECRET not in answer.body.decode()
    if expected == NOT_FOUND:
        assert answer.status == 404, answer
    else:
        assert answer.status == 200, answer
        told = [id for id in two.ids.values() if body is None or id not in str(body)]  # not what it named itself
        assert not any(id in answer.body.decode() for id in told)
        if expected == NOTHING:
            assert (answer.json if isinstance(answer.json, list) else answer.json["data"]) == []


def ask(two: Two, client: RawClient, route: str, body: Body | None) -> Answer:
    method, path = route.split(" ")
    query = f"?customer_id={two.ids['customer_id']}" if path in ("/v1/invoices", "/v1/contracts/getBalance") else ""
    filled = path.format(**two.ids) + query
    return client.get(filled) if method == "GET" else client.post(filled, body)


def test_the_tenant_itself_gets_an_answer_on_every_route_that_reads(two: Two) -> None:
    """So that a 404 above means a stranger, not a wrong path."""
    reads = [name for name, route in every_route().items() if route.scope.value == "read"]

    answers = {name: ask(two, two.server.raw, name, asked(two.ids)[name][1]) for name in reads}

    assert {name: answer.status for name, answer in answers.items()} == dict.fromkeys(reads, 200)


def test_a_stranger_sends_nothing_into_a_backfill_of_another_tenant(two: Two) -> None:
    event = an_event("foreign", at=yesterday())

    answer = two.stranger.post(f"/v1/ingest?backfill_id={two.ids['backfill_id']}", [event])

    assert answer.status == 404, answer


def test_a_tenant_cannot_be_named_as_a_layer_of_another(two: Two) -> None:
    name = f"default#{two.ids['backfill_id']}"

    answer = two.server.raw.post("/v1/api-keys", {"name": "layer", "scopes": ["ingest"], "tenant": name})

    assert (answer.status, answer.json["field"]) == (400, "tenant")


def test_two_tenants_may_use_the_same_ids_and_aliases(two: Two) -> None:
    two.stranger.ingest([an_event(TRANSACTION, properties={"units": 1_000, "model": "other"})])
    metric = two.stranger.post("/v1/billable-metrics/create", a_sum_body("units")).json["data"]["id"]
    customer = two.stranger.post("/v1/customers", {"name": "Other", "ingest_aliases": ["acme"]}).json["data"]["id"]

    day, end = yesterday(), yesterday() + timedelta(days=1)
    eventually(lambda: stranger_usage(two, metric, customer), [1_000])
    eventually(lambda: two.server.usage(two.ids["metric_id"], "acme", day, end), {(day, ()): 7})


def stranger_usage(two: Two, metric: str, customer: str) -> list[Any]:
    query = {
        "billable_metric_id": metric,
        "customer_id": customer,
        "window_size": "NONE",
        "starting_on": rfc3339(yesterday()),
        "ending_before": rfc3339(yesterday() + timedelta(days=1)),
    }
    return [row["value"] for row in two.stranger.post("/v1/usage/groups", query).json["data"]]


@pytest.mark.parametrize(
    ("scope", "allowed"),
    [("ingest", {"ingest"}), ("read", {"read"}), ("write", {"read", "write"}), ("admin", {"ingest", "read", "write"})],
)
def test_a_key_may_do_only_what_its_scopes_say(two: Two, scope: str, allowed: set[str]) -> None:
    made = two.server.raw.post("/v1/api-keys", {"name": scope, "scopes": [scope], "tenant": "scopes"}).json["data"]
    client = RawClient(two.server.port, made["key"])

    statuses = {
        "ingest": client.post("/v1/ingest", [an_event(f"by-{scope}")]).status,
        "read": client.get("/v1/customers").status,
        "write": client.post("/v1/customers", {"name": scope}).status,
    }

    assert {name for name, status in statuses.items() if status == 200} == allowed
    assert set(statuses.values()) <= {200, 403}


def test_a_revoked_key_is_refused_at_once(two: Two) -> None:
    made = two.server.raw.post("/v1/api-keys", {"name": "short", "scopes": ["read"], "tenant": "globex"}).json["data"]
    client = RawClient(two.server.port, made["key"])
    assert client.get("/v1/customers").status == 200

    assert two.server.raw.post(f"/v1/api-keys/{made['id']}/revoke?tenant=globex", {}).status == 200

    assert client.get("/v1/customers").status == 401


def test_keys_of_the_command_line_are_in_force_while_the_server_runs(
    two: Two, capsys: pytest.CaptureFixture[str]
) -> None:
    own = ("--data-dir", str(two.server.data_dir), "--tenant", "globex")
    assert main(["keys", "create", "--name", "by hand", "--scopes", "read", *own]) == 0
    text = capsys.readouterr().out.strip()
    client = RawClient(two.server.port, text)
    eventually(lambda: client.get("/v1/customers").status, 200)

    assert main(["keys", "revoke", text.split("_")[1], *own]) == 0

    eventually(lambda: client.get("/v1/customers").status, 401)
