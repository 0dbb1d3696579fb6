"""The Metronome snippets of the seed document, sent as they are written there: short paths, an alias as customer.

The seed's own spelling is accepted beside the SDK's (reference/SURFACE.md section 4, M1 to M9): lower-case enums,
prices in dollars on `/v1/rate-cards/*`, commits in cents with a bare `amount`. Only ids and instants are filled in.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from builders import Body, month_of, rfc3339
from server import PenstockServer, eventually


@pytest.fixture
def server(tmp_path: Path) -> Iterator[PenstockServer]:
    with PenstockServer(tmp_path / "data") as running:
        running.client.v1.customers.create(name="Customer 42", ingest_aliases=["cust_42"])
        yield running


def test_the_metronome_snippets_of_the_seed_work_as_written(server: PenstockServer) -> None:
    ingest(server, "first", tokens=1_500)
    api_metric_id = post(server, "/v1/billable-metrics/create", API_METRIC)["data"]["id"]
    compute_metric_id = post(server, "/v1/billable-metrics/create", COMPUTE_METRIC)["data"]["id"]
    api_product_id = create_product(server, "API Calls", api_metric_id)
    compute_product_id = create_product(server, "Compute", compute_metric_id)
    rate_card = post(server, "/v1/rate-cards/create", rate_card_body(api_product_id, compute_product_id))
    contract = post(server, "/v1/contracts/create", contract_body(rate_card["id"], api_product_id, compute_product_id))

    # 1,500 tokens at $0.002: $3.00 of the $50,000 commit.
    eventually(lambda: balance(server), {"balance": 5_000_000 - 300, "consumed": 300})

    # From now on $0.0015: 1,000 tokens more are $1.50.
    override = post(server, "/v1/rate-cards/override", override_body(rate_card["id"], api_product_id))
    ingest(server, "second", tokens=1_000)
    eventually(lambda: balance(server), {"balance": 5_000_000 - 450, "consumed": 450})
    assert contract["data"]["id"] in str(override)

    assert post(server, "/v1/usage", usage_body(api_metric_id))["data"] == []
    rows = post(server, "/v1/usage", usage_body(api_metric_id, datetime.now(UTC)))["data"]
    assert sum(row["value"] for row in rows) == 2_500
    assert {row["group"]["model"] for row in rows} == {"gpt-4"}
    assert all(datetime.fromisoformat(row["start"]).hour == 0 for row in rows)

    month_start, month_end = month_of(datetime.now(UTC))
    assert server.raw.get("/v1/invoices?customer_id=cust_42&status=finalized").status == 200
    assert month_start not in finalized(server)
    server.advance_clock(month_end + timedelta(days=2))
    eventually(lambda: month_start in finalized(server), True)
    invoice = finalized(server)[month_start]
    assert invoice["status"] == "FINALIZED"
    assert invoice["total"] == 0
    assert sorted(line["total"] for line in invoice["line_items"]) == [-300, -150, 150, 300]


@pytest.mark.parametrize("price", [{"rate_type": "flat", "price": 0.05}, {"rate_type": "FLAT", "price": "0.05"}])
def test_the_seed_names_prices_in_dollars_where_the_api_names_cents(shared_server: PenstockServer, price: Body) -> None:
    metric_id = post(shared_server, "/v1/billable-metrics/create", COMPUTE_METRIC)["data"]["id"]
    product_id = create_product(shared_server, "Compute", metric_id)

    card = post(
        shared_server, "/v1/rate-cards/create", {"name": "Dollars", "rates": [{"product_id": product_id, **price}]}
    )

    assert card["id"] == card["data"]["id"]
    (rate,) = shared_server.client.v1.contracts.rate_cards.rates.list(rate_card_id=card["id"], at=datetime.now(UTC))
    assert rate.rate.price == 5


def test_an_alias_names_the_customer_on_every_path(server: PenstockServer) -> None:
    metric_id = post(server, "/v1/billable-metrics/create", API_METRIC)["data"]["id"]
    product_id = create_product(server, "API Calls", metric_id)
    card = post(server, "/v1/rate-cards/create", {"name": "Empty"})["id"]
    post(server, "/v1/contracts/create", contract_body(card, product_id, product_id))
    api, month_start = server.client.v1, month_of(datetime.now(UTC))[0]
    own_id = api.customers.retrieve(customer_id="cust_42").data.id
    days: Any = {"starting_on": month_start, "ending_before": month_start + timedelta(days=1)}

    for key in ("cust_42", own_id):
        assert api.customers.retrieve(customer_id=key).data.id == own_id
        assert [contract.customer_id for contract in api.contracts.list(customer_id=key).data] == [own_id]
        assert api.contracts.get_net_balance(customer_id=key).data.balance == 5_000_000
        assert [commit.type for commit in api.contracts.list_balances(customer_id=key)] == ["PREPAID"]
        assert {invoice.customer_id for invoice in api.customers.invoices.list(customer_id=key)} == {own_id}
        assert {row.customer_id for row in api.usage.list(window_size="DAY", customer_ids=[key], **days)} == {own_id}
        groups = api.usage.list_with_groups(
            billable_metric_id=metric_id, customer_id=key, window_size="DAY", group_key=["model"], **days
        )
        assert groups.data == []


def post(server: PenstockServer, path: str, body: Body) -> Any:
    answer = server.raw.post(path, body)
    assert answer.status == 200, answer
    return answer.json


def ingest(server: PenstockServer, transaction_id: str, tokens: int) -> None:
    event = {
        "customer_id": "cust_42",
        "event_type": "api_call",
        "timestamp": rfc3339(datetime.now(UTC)),
        "transaction_id": transaction_id,
        "properties": {"tokens": tokens, "model": "gpt-4", "region": "us-east-1"},
    }
    server.raw.ingest([event])


def create_product(server: PenstockServer, name: str, metric_id: str) -> str:
    product = {"name": name, "type": "usage", "billable_metric_id": metric_id}
    return str(post(server, "/v1/contract-pricing/products/create", product)["data"]["id"])


def balance(server: PenstockServer) -> Body:
    answer = server.raw.get("/v1/contracts/getBalance?customer_id=cust_42")
    assert answer.status == 200, answer
    return {name: answer.json[name] for name in ("balance", "consumed")}


def finalized(server: PenstockServer) -> dict[datetime, Any]:
    """Final invoices by the start of their month. Months without usage have one too."""
    answer = server.raw.get("/v1/invoices?customer_id=cust_42&status=finalized&sort=date_desc")
    assert answer.status == 200, answer
    return {datetime.fromisoformat(invoice["start_timestamp"]): invoice for invoice in answer.json["data"]}


API_METRIC: Body = {
    "name": "API Token Usage",
    "aggregation_type": "sum",
    "aggregation_key": "tokens",
    "event_type_filter": {"in_values": ["api_call"]},
    "group_keys": [["model"], ["region"]],
}
COMPUTE_METRIC: Body = {
    "name": "Weighted Compute Units",
    "aggregation_type": "sum",
    "aggregation_key": "compute_units",
    "event_type_filter": {"in_values": ["compute"]},
}


def rate_card_body(api_product_id: str, compute_product_id: str) -> Body:
    return {
        "name": "Enterprise Rate Card",
        "rates": [
            {
                "product_id": api_product_id,
                "entitled": True,
                "rate_type": "tiered",
                "tiers": [
                    {"size": 1000000, "price": 0.002},
                    {"size": 10000000, "price": 0.0015},
                    {"size": None, "price": 0.001},
                ],
            },
            {"product_id": compute_product_id, "entitled": True, "rate_type": "flat", "price": 0.05},
        ],
    }


def contract_body(rate_card_id: str, api_product_id: str, compute_product_id: str) -> Body:
    return {
        "customer_id": "cust_42",
        "starting_at": "2026-01-01T00:00:00Z",
        "rate_card_id": rate_card_id,
        "commits": [
            {
                "product_id": api_product_id,
                "type": "prepaid",
                "amount": 50000_00,
                "priority": 1,
                "applicable_product_ids": [api_product_id, compute_product_id],
            },
        ],
    }


def override_body(rate_card_id: str, api_product_id: str) -> Body:
    return {
        "rate_card_id": rate_card_id,
        "customer_id": "cust_42",
        "overrides": [
            {
                "product_id": api_product_id,
                "rate_type": "tiered",
                "tiers": [{"size": 1000000, "price": 0.0015}, {"size": None, "price": 0.0008}],
            },
        ],
    }


def usage_body(api_metric_id: str, today: datetime | None = None) -> Body:
    """The seed asks for a week of March; with `today`, for the two days up to and with it."""
    body = {
        "customer_id": "cust_42",
        "billable_metric_id": api_metric_id,
        "window_size": "day",
        "starting_on": "2026-03-01T00:00:00Z",
        "ending_before": "2026-03-09T00:00:00Z",
        "group_by": {"key": "model"},
    }
    if today is not None:
        midnight = today.replace(hour=0, minute=0, second=0, microsecond=0)
        body["starting_on"] = rfc3339(midnight - timedelta(days=1))
        body["ending_before"] = rfc3339(midnight + timedelta(days=1))
    return body
