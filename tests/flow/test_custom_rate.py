"""Prices beyond flat and tiered on a rate card: what their invoice says is what `penstock price` says of the same."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from builders import Body, month_of, rfc3339
from server import PenstockServer, eventually

VOLUME: Body = {
    "model": "BOUNDED",
    "price": {
        "model": "VOLUME",
        "tiers": [{"up_to": "10", "unit_price": "0.5"}, {"up_to": None, "unit_price": "0.305", "flat": "1"}],
    },
    "minimum": "2",
    "maximum": None,
}
PACKAGE: Body = {"model": "PACKAGE", "size": "5", "package_price": "0.99", "free": "3"}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[PenstockServer]:
    with PenstockServer(tmp_path / "data") as running:
        yield running


def test_a_volume_with_a_minimum_and_half_the_price_of_packages_are_billed(server: PenstockServer) -> None:
    start, _ = month_of(datetime.now(UTC))
    customer = server.client.v1.customers.create(name="Acme", ingest_aliases=["acme"]).data.id
    products = {name: a_product(server, name) for name in ("call", "page")}
    card = server.client.v1.contracts.rate_cards.create(name="List").data.id
    for name, price in (("call", VOLUME), ("page", PACKAGE)):
        server.client.v1.contracts.rate_cards.rates.add(
            rate_card_id=card,
            product_id=products[name],
            entitled=True,
            rate_type="CUSTOM",
            custom_rate=price,
            starting_at=start,
        )
    server.client.v1.contracts.create(
        customer_id=customer,
        rate_card_id=card,
        starting_at=start,
        overrides=[{"type": "MULTIPLIER", "multiplier": 0.5, "product_id": products["page"], "starting_at": start}],
    )

    send(server, "call", 1)
    eventually(lambda: lines(server, customer), {"call": (1, 200)})  # the minimum
    send(server, "call", 12)
    send(server, "page", 9)
    # 1 + 13 x 0.305 = 4.965 is 4.97; 6 pages are two packages for 0.99, at half the price.
    eventually(lambda: lines(server, customer), {"call": (13, 497), "page": (9, 99)})

    asked = {"price": VOLUME, "quantity": 13}
    answer = server.raw.post("/v1/price", asked).json
    assert (answer["amount"], answer["exact"]) == ("4.97", "4.965")
    assert server.raw.post("/v1/price", answer["explanation"]).json["amount"] == "4.97"


def a_product(server: PenstockServer, name: str) -> str:
    metric = server.client.v1.billable_metrics.create(
        name=name, aggregation_type="COUNT", event_type_filter={"in_values": [name]}
    )
    products = server.client.v1.contracts.products
    return products.create(name=name, type="USAGE", billable_metric_id=metric.data.id).data.id


def send(server: PenstockServer, name: str, events: int) -> None:
    at = rfc3339(datetime.now(UTC) - timedelta(milliseconds=1))
    server.client.v1.usage.ingest(
        usage=[
            {"transaction_id": f"{name}-{events}-{n}", "customer_id": "acme", "event_type": name, "timestamp": at}
            for n in range(events)
        ]
    )


def lines(server: PenstockServer, customer: str) -> dict[str, tuple[Any, Any]]:
    """Quantity and total in cents of each product on the draft."""
    drafts = server.client.v1.customers.invoices.list(customer_id=customer, status="DRAFT").data
    return {line.name: (line.quantity, line.total) for draft in drafts for line in draft.line_items}
