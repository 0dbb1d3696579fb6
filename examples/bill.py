"""The money of the demo: charges, prepaid balances and invoices as Penstock answers them, checked and printed."""

from __future__ import annotations

import time
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, NamedTuple

from examples.price_list import (
    COMMIT,
    COMMIT_CENTS,
    CREDIT,
    CREDIT_CENTS,
    NEGOTIATED_GROUP,
    NEGOTIATED_PRODUCT,
    NEGOTIATOR,
    PRODUCTS,
    Line,
    LineKey,
    Prices,
    Shop,
    Tier,
    expected_lines,
    lines,
)
from examples.terminal import dollars, heading, number, say, table
from examples.truth import adds_up, expect
from examples.vendor_day import CUSTOMERS, VendorDay
from loadtest.server import Server

GRACE = timedelta(hours=24)
FINAL_WITHIN_S = 60
Invoices = dict[str, dict[str, Any]]  # by customer


class Bill(NamedTuple):
    """What a customer's invoice must come to, in cents."""

    lines: dict[LineKey, Line]
    paid: dict[str, Decimal]  # by the name of the balance

    @classmethod
    def of(cls, day: VendorDay, customer: str) -> Bill:
        """The credit, priority 1, pays tokens until it is empty; then the commit does."""
        found = expected_lines(day, customer)
        if customer != NEGOTIATOR:
            return cls(found, {})
        tokens = sum((line.cents for (product, _, _), line in found.items() if product == NEGOTIATED_PRODUCT), Decimal())
        credit = min(tokens, Decimal(CREDIT_CENTS))
        return cls(found, {CREDIT: credit, COMMIT: min(tokens - credit, Decimal(COMMIT_CENTS))})

    @property
    def usage(self) -> Decimal:
        return sum((line.cents for line in self.lines.values()), Decimal())

    @property
    def due(self) -> Decimal:
        return self.usage - sum(self.paid.values())


def invoices(server: Server, status: str) -> Invoices:
    """The first invoice of each customer with that status."""
    found = {}
    for customer in CUSTOMERS:
        data = server.call("GET", f"/v1/customers/{customer}/invoices?status={status}")["data"]
        if data:
            found[customer] = data[0]
    return found


def check(found: Invoices, bills: dict[str, Bill], balance_names: dict[str, str]) -> None:
    """Every line, what every balance paid, and the total of every customer's invoice."""
    expect("customers with an invoice", sorted(found), sorted(CUSTOMERS))
    for customer, invoice in found.items():
        name, bill, paid = CUSTOMERS[customer], bills[customer], dict.fromkeys(bills[customer].paid, Decimal())
        for item in invoice["line_items"]:
            if item["type"] == "applied_commit_or_credit":
                paid[balance_names[item["applied_commit_or_credit"]["id"]]] -= Decimal(item["total"])
        expect(f"{name}'s lines", dict(map(_line, filter(_is_usage, invoice["line_items"]))), bill.lines)
        expect(f"{name}'s draws", paid, bill.paid)
        expect(f"{name}'s total", Decimal(invoice["total"]), bill.due)


def _is_usage(item: dict[str, Any]) -> bool:
    return bool(item["type"] == "usage")


def _line(item: dict[str, Any]) -> tuple[LineKey, Line]:
    level = item["tier"] and item["tier"]["level"]
    [group] = item["pricing_group_values"].values()
    figures = (Decimal(item[name]) for name in ("quantity", "unit_price", "total"))
    return (item["name"], group, level), Line(level, *figures)


def show_charges(server: Server, shop: Shop, drafts: Invoices, bills: dict[str, Bill]) -> None:
    """The negotiator's charges at list prices and at its own."""
    invoice, names = drafts[NEGOTIATOR], {id: name for name, id in shop.products.items()}
    charges = server.call("GET", f"/v1/customers/{NEGOTIATOR}/invoices/{invoice['id']}/explain")["data"]["charges"]
    listed = _list_prices(server, shop, names)
    expect("list prices", listed, {(n, g): p for n, product in PRODUCTS.items() for g, p in product.prices.items()})
    rows, saved = [], Decimal()
    for charge in charges:
        product, [[_, group]] = names[charge["product_id"]], charge["group_values"]
        [price] = charge["alternatives"]
        quantity, to_pay = Decimal(charge["quantity"]), Decimal(price["amount"]).scaleb(2)
        at_list = sum((line.cents for line in lines(quantity, listed[product, group])), Decimal())
        own = _text(product, _tiers(price["price"])) if "override_id" in price["origin"] else "list"
        rows.append((product, group, number(quantity), _text(product, listed[product, group]), dollars(at_list), own, dollars(to_pay)))
        saved += at_list - to_pay
    heading(f"The charges of {CUSTOMERS[NEGOTIATOR]}, so far, in USD")
    table(("product", "for", "quantity", "list price", "at list", "own price", "charged"), rows, texts=2)
    say(f"  The negotiated price of {NEGOTIATED_PRODUCT.lower()} on {NEGOTIATED_GROUP} saves it {dollars(saved)}.")
    charged = sum((bill.usage for bill in bills.values()), Decimal())
    adds_up(f"{dollars(charged)} over all {len(CUSTOMERS)} customers, each line equal to what the events cost by hand")


def _list_prices(server: Server, shop: Shop, names: dict[str, str]) -> dict[tuple[str, str], Prices]:
    body = {"rate_card_id": shop.rate_card, "at": shop.start.isoformat()}
    found = {}
    for rate in server.call("POST", "/v1/contract-pricing/rate-cards/getRates", body)["data"]:
        [group], price = rate["pricing_group_values"].values(), rate["rate"]
        tiers = price["tiers"] or [{"price": price["price"], "size": None}]
        found[names[rate["product_id"]], group] = tuple(Tier(t["size"], Decimal(t["price"])) for t in tiers)
    return found


def _tiers(price: dict[str, Any]) -> Prices:
    """An explanation's price: major units, tiers by where they end."""
    tiers = price["tiers"] or [{"up_to": None, "unit_price": price["unit_price"]}]
    return tuple(Tier(tier["up_to"], Decimal(tier["unit_price"]).scaleb(2)) for tier in tiers)


def _text(product: str, tiers: Prices) -> str:
    per = PRODUCTS[product].shown_per
    unit = " /1M" if per > 1 else ""
    return ", then ".join(_unit_price(product, tier.cents) for tier in tiers) + unit


def _unit_price(product: str, cents: Decimal) -> str:
    """In dollars, with at least two digits after the point."""
    price = (cents * PRODUCTS[product].shown_per).scaleb(-2).normalize()
    return f"{price:.2f}" if price == round(price, 2) else f"{price:f}"
