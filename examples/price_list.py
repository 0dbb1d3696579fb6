"""What the vendor sells, at which price and to whom on which terms; and what its invoices must therefore say.

Amounts are in cents, as in the API. What is expected is computed here, by nothing of Penstock's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from typing import Any, NamedTuple

from examples.vendor_day import CUSTOMERS, MEASURES, Event, VendorDay
from loadtest.server import Server

Prices = tuple["Tier", ...]
LineKey = tuple[str, str, int | None]  # product, group, tier


class Tier(NamedTuple):
    """The next `size` units (None: all the others) cost `cents` each. A flat price is a single open-ended tier."""

    size: int | None
    cents: Decimal


class Product(NamedTuple):
    """Named as what it measures; `prices` are by value of the property `key`, in print for `shown_per` units."""

    key: str
    shown_per: int
    shown_unit: str
    prices: dict[str, Prices]


def _graduated(size: int, first: str, then: str) -> Prices:
    return Tier(size, Decimal(first)), Tier(None, Decimal(then))


def _flat(price: str) -> Prices:
    return (Tier(None, Decimal(price)),)


PRODUCTS = {
    "Output tokens": Product(
        "model",
        1_000_000,
        "/M",
        {
            "atlas-large": _graduated(2_000_000, "0.003", "0.0024"),
            "atlas-small": _graduated(2_000_000, "0.0006", "0.00045"),
        },
    ),
    "GPU seconds": Product("region", 1, "", {"eu-west": _flat("0.12"), "us-east": _flat("0.105")}),
}
# What one customer negotiated, apart from the list, and what it has paid or been given in advance for its tokens.
NEGOTIATOR, NEGOTIATED_PRODUCT, NEGOTIATED_GROUP = "acme", "Output tokens", "atlas-large"
NEGOTIATED = _graduated(1_500_000, "0.0024", "0.0018")
CREDIT, CREDIT_CENTS, COMMIT, COMMIT_CENTS = "Launch credit", 1_000, "Prepaid commit", 25_000


class Line(NamedTuple):
    """A usage line of an invoice. `level` is the tier's, None where the price is flat."""

    level: int | None
    quantity: Decimal
    unit_cents: Decimal
    cents: Decimal


def prices(customer: str, product: str, group: str) -> Prices:
    if (customer, product, group) == (NEGOTIATOR, NEGOTIATED_PRODUCT, NEGOTIATED_GROUP):
        return NEGOTIATED
    return PRODUCTS[product].prices[group]


def expected_lines(day: VendorDay, customer: str) -> dict[LineKey, Line]:
    """The usage lines of the customer's invoice, from the events that happened."""
    return {
        (name, group, line.level): line
        for name, product in PRODUCTS.items()
        for (who, group), quantity in day.tally(name, _by_customer_and(product.key)).items()
        if who == customer
        for line in lines(quantity, prices(customer, name, group))
    }


def _by_customer_and(key: str) -> Callable[[Event], tuple[str, str]]:
    return lambda event: (event.customer, getattr(event, key))


def lines(quantity: Decimal, tiers: Prices) -> Iterator[Line]:
    """A line per tier that is entered. A charge is rounded once: a tier is what the rounded amount grows by."""
    left, exact, rounded = quantity, Decimal(0), Decimal(0)
    for level, tier in enumerate(tiers, 1):
        part = left if tier.size is None else min(left, Decimal(tier.size))
        exact += part * tier.cents
        amount = exact.quantize(Decimal(1), ROUND_HALF_UP) - rounded
        if part:
            yield Line(level if len(tiers) > 1 else None, part, tier.cents, amount)
        left, rounded = left - part, rounded + amount


class Shop(NamedTuple):
    """The ids under which Penstock knows what is sold."""

    start: datetime
    metrics: dict[str, str]
    products: dict[str, str]
    rate_card: str
    override: str


def open_shop(server: Server, start: datetime) -> Shop:
    """Metrics, products, a rate card and a contract for each customer from `start` on, by the public API."""
    metrics = {name: _create(server, "billable-metrics", _metric(name)) for name in MEASURES}
    products = {name: _create(server, "contract-pricing/products", _product(name, metrics)) for name in PRODUCTS}
    fee = _create(server, "contract-pricing/products", {"name": "Prepaid usage", "type": "FIXED"})
    card = _create(server, "contract-pricing/rate-cards", {"name": "List prices"})
    rates = [
        {
            "product_id": products[name],
            "entitled": True,
            "starting_at": start.isoformat(),
            "pricing_group_values": {product.key: group},
            **_rate(tiers),
        }
        for name, product in PRODUCTS.items()
        for group, tiers in product.prices.items()
    ]
    server.call("POST", "/v1/contract-pricing/rate-cards/addRates", {"rate_card_id": card, "rates": rates})
    for alias, name in CUSTOMERS.items():
        server.call("POST", "/v1/customers", {"name": name, "ingest_aliases": [alias]})
    terms = {NEGOTIATOR: _negotiated(start, products[NEGOTIATED_PRODUCT], fee)}
    agreed = {alias: _sign(server, alias, card, start, terms.get(alias, {})) for alias in CUSTOMERS}
    return Shop(start, metrics, products, card, override=agreed[NEGOTIATOR]["overrides"][0]["id"])


def _sign(server: Server, customer: str, card: str, start: datetime, terms: dict[str, Any]) -> dict[str, Any]:
    """A contract billed by the month from its start, so that the demo is inside its first month on any date."""
    body = {
        "customer_id": customer,
        "rate_card_id": card,
        "starting_at": start.isoformat(),
        "usage_statement_schedule": {"frequency": "MONTHLY", "day": "CONTRACT_START"},
        **terms,
    }
    agreed: dict[str, Any] = server.call("POST", "/v1/contracts/create", body)["data"]["contract"]
    return agreed


def _create(server: Server, kind: str, body: dict[str, Any]) -> str:
    created: str = server.call("POST", f"/v1/{kind}/create", body)["data"]["id"]
    return created


def _metric(name: str) -> dict[str, Any]:
    kind = {"aggregation_type": "SUM", "aggregation_key": name.lower().replace(" ", "_")}
    return {
        "name": name,
        **(kind if name != "Requests" else {"aggregation_type": "COUNT"}),
        "event_type_filter": {"in_values": ["llm.completion"]},
        "group_keys": [["model", "region"]],
    }


def _product(name: str, metrics: dict[str, str]) -> dict[str, Any]:
    key = [PRODUCTS[name].key]
    return {"name": name, "type": "USAGE", "billable_metric_id": metrics[name], "pricing_group_key": key}


def _rate(tiers: Prices) -> dict[str, Any]:
    """Decimals are sent as text: every digit arrives."""
    if len(tiers) == 1:
        return {"rate_type": "FLAT", "price": str(tiers[0].cents)}
    bodies = [{"price": str(t.cents)} | ({} if t.size is None else {"size": t.size}) for t in tiers]
    return {"rate_type": "TIERED", "tiers": bodies}


def _negotiated(start: datetime, tokens: str, fee: str) -> dict[str, Any]:
    """A price of its own; a free credit that goes first, and a prepaid commit after it, both for tokens."""
    year = {"starting_at": start.isoformat(), "ending_before": (start + timedelta(days=365)).isoformat()}
    override = {
        "type": "OVERWRITE",
        "starting_at": start.isoformat(),
        "override_specifiers": [{"product_id": tokens, "pricing_group_values": {"model": NEGOTIATED_GROUP}}],
        "overwrite_rate": _rate(NEGOTIATED),
    }

    def balance(name: str, cents: int, priority: int) -> dict[str, Any]:
        return {
            "name": name,
            "product_id": fee,
            "priority": priority,
            "applicable_product_ids": [tokens],
            "access_schedule": {"schedule_items": [{"amount": cents, **year}]},
        }

    commit = {"type": "PREPAID", **balance(COMMIT, COMMIT_CENTS, 2)}
    return {"overrides": [override], "commits": [commit], "credits": [balance(CREDIT, CREDIT_CENTS, 1)]}
