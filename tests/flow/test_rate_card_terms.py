"""The terms of a rate card, from the event to the invoice line: converted quantities, and units of one's own."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from builders import a_commit_body, a_rate_body, a_sum_body, an_event, month_of, yesterday
from server import PenstockServer, eventually

START = month_of(yesterday())[0]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[PenstockServer]:
    with PenstockServer(tmp_path / "data") as running:
        yield running


def test_megabytes_are_billed_as_gigabytes_in_credits_and_what_no_commit_pays_in_dollars(
    server: PenstockServer,
) -> None:
    """Example 80 made into credits as example 88 has them: 1500 MB are 2 GB of 80 credits, 100 of them committed."""
    api = server.client.v1
    customer = api.customers.create(name="Acme", ingest_aliases=["acme"]).data.id
    metric = api.billable_metrics.create(**a_sum_body("megabytes")).data.id
    product = api.contracts.products.create(
        name="Storage",
        type="USAGE",
        billable_metric_id=metric,
        quantity_conversion={"conversion_factor": 1024, "operation": "DIVIDE"},
        quantity_rounding={"decimal_places": 0, "rounding_method": "ROUND_UP"},
    ).data.id
    unit = api.pricing_units.create(name="AI credits").data.id
    card = api.contracts.rate_cards.create(
        name="List", credit_type_conversions=[{"custom_credit_type_id": unit, "fiat_per_custom_credit": 50}]
    ).data.id
    api.contracts.rate_cards.rates.add(rate_card_id=card, **a_rate_body(product, START, price=80, credit_type_id=unit))
    commit = a_commit_body(product, 100, START, START + timedelta(days=400))
    commit["access_schedule"]["credit_type_id"] = unit
    api.contracts.create(customer_id=customer, rate_card_id=card, starting_at=START, commits=[commit])

    server.raw.ingest([an_event("1", properties={"megabytes": 1000}), an_event("2", properties={"megabytes": "500"})])
    eventually(
        lambda: lines(server, customer),
        [
            ("usage", "AI credits", 2, 160),
            ("applied_commit_or_credit", "AI credits", None, -100),
            ("cpu_conversion", "USD (cents)", 60, 3000),
        ],
    )

    [draft] = api.customers.invoices.list(customer_id=customer, status="DRAFT").data
    told = server.raw.get(f"/v1/customers/{customer}/invoices/{draft.id}/explain").json["data"]
    assert draft.total == 3000
    assert draft.line_items[0].to_dict()["metered_quantity"] == 1500
    assert told["charges"][0]["metered"]["quantity"] == 1500
    balance = api.contracts.get_net_balance(customer_id=customer, credit_type_id=unit).data
    assert (balance.balance, balance.credit_type_id) == (0, unit)


def test_a_commit_pays_at_its_own_rate_and_the_rest_is_at_list_price(server: PenstockServer) -> None:
    """Example 91: 15 units at 5 cents, 3 for commits; a commit of 30 cents pays 10 of them, and 5 cost 25 cents."""
    api = server.client.v1
    customer = api.customers.create(name="Acme", ingest_aliases=["acme"]).data.id
    metric = api.billable_metrics.create(**a_sum_body("units")).data.id
    product = api.contracts.products.create(name="Calls", type="USAGE", billable_metric_id=metric).data.id
    card = api.contracts.rate_cards.create(name="List").data.id
    commit_rate = {"rate_type": "FLAT", "price": 3}
    api.contracts.rate_cards.rates.add(
        rate_card_id=card, **a_rate_body(product, START, price=5, commit_rate=commit_rate)
    )
    commit = a_commit_body(product, 30, START, START + timedelta(days=400), rate_type="COMMIT_RATE")
    contract = api.contracts.create(customer_id=customer, rate_card_id=card, starting_at=START, commits=[commit])

    server.raw.ingest([an_event("1", properties={"units": 15})])
    eventually(
        lambda: lines(server, customer),
        [
            ("usage", "USD (cents)", 10, 30),
            ("usage", "USD (cents)", 5, 25),
            ("applied_commit_or_credit", "USD (cents)", None, -30),
        ],
    )

    [draft] = api.customers.invoices.list(customer_id=customer, status="DRAFT").data
    shown = server.client.v2.contracts.retrieve(customer_id=customer, contract_id=contract.data.id).data
    told = server.raw.get(f"/v1/customers/{customer}/invoices/{draft.id}/explain").json["data"]
    assert (draft.total, shown.commits[0].rate_type) == (25, "COMMIT_RATE")
    assert [line.to_dict()["rate_type"] for line in draft.line_items[:2]] == ["COMMIT_RATE", "LIST_RATE"]
    assert [(draw["kind"], draw["units"]) for draw in told["draws"]] == [("commit", [0, 10])]


def lines(server: PenstockServer, customer: str) -> list[tuple[Any, ...]]:
    drafts = server.client.v1.customers.invoices.list(customer_id=customer, status="DRAFT").data
    return [(line.type, line.credit_type.name, line.quantity, line.total) for d in drafts for line in d.line_items]
