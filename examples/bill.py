"""The bill of each customer: what it must come to, and the invoices that Penstock writes, held against that."""

from __future__ import annotations

import time
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, NamedTuple

from examples.price_list import (
    COMMIT,
    COMMIT_CENTS,
    CREDIT,
    CREDIT_CENTS,
    NEGOTIATED_PRODUCT,
    NEGOTIATOR,
    Line,
    LineKey,
    expected_lines,
)
from examples.truth import DoesNotAddUp, expect
from examples.vendor_day import CUSTOMERS, VendorDay
from loadtest.server import Server

FINAL_WITHIN_S = 60
ZERO = Decimal(0)
Invoices = Mapping[str, Any]  # by customer


class Bill(NamedTuple):
    """What a customer's invoice must come to, in cents; `paid` by the name of the balance that pays."""

    lines: dict[LineKey, Line]
    paid: dict[str, Decimal]

    @classmethod
    def of(cls, day: VendorDay, customer: str) -> Bill:
        """The credit, priority 1, pays for tokens until it is empty; then the commit does, priority 2."""
        lines = expected_lines(day, customer)
        if customer != NEGOTIATOR:
            return cls(lines, {})
        tokens = sum((line.cents for (product, _, _), line in lines.items() if product == NEGOTIATED_PRODUCT), ZERO)
        credit = min(tokens, Decimal(CREDIT_CENTS))
        return cls(lines, {CREDIT: credit, COMMIT: min(tokens - credit, Decimal(COMMIT_CENTS))})

    @property
    def usage(self) -> Decimal:
        return sum((line.cents for line in self.lines.values()), ZERO)

    @property
    def due(self) -> Decimal:
        return self.usage - sum(self.paid.values())


def first_invoices(server: Server, status: str) -> Invoices:
    """The first invoice of each customer that has one with that status."""
    answers = {c: server.call("GET", f"/v1/customers/{c}/invoices?status={status}")["data"] for c in CUSTOMERS}
    return {customer: data[0] for customer, data in answers.items() if data}


def await_final(server: Server) -> Invoices:
    """The invoices once they are final: the usage that was accepted by then is folded first."""
    deadline = time.monotonic() + FINAL_WITHIN_S
    while len(found := first_invoices(server, "FINALIZED")) < len(CUSTOMERS):
        if time.monotonic() > deadline:
            raise DoesNotAddUp(f"after {FINAL_WITHIN_S} s only {len(found)} of {len(CUSTOMERS)} invoices are final")
        time.sleep(0.1)
    return found


def balances(server: Server) -> dict[str, dict[str, Any]]:
    """The negotiator's commit and credit, by name, with what is left of them."""
    body = {"customer_id": NEGOTIATOR, "include_balance": True}
    found = server.call("POST", "/v1/contracts/customerBalances/list", body)["data"]
    return {balance["name"]: balance for balance in found}


def check_invoices(invoices: Invoices, bills: Mapping[str, Bill], balance_names: Mapping[str, str]) -> None:
    """Every line, what every balance paid, and the total, of every customer."""
    expect("customers with an invoice", sorted(invoices), sorted(CUSTOMERS))
    for customer, invoice in invoices.items():
        name, bill = CUSTOMERS[customer], bills[customer]
        items, paid = invoice["line_items"], dict.fromkeys(bill.paid, ZERO)
        for item in items:
            if item["type"] != "usage":
                paid[balance_names[item["applied_commit_or_credit"]["id"]]] -= Decimal(item["total"])
        expect(f"{name}'s lines", dict(_line(item) for item in items if item["type"] == "usage"), bill.lines)
        expect(f"{name}'s draws", paid, bill.paid)
        expect(f"{name}'s total", Decimal(invoice["total"]), bill.due)


def group_of(item: Mapping[str, Any]) -> str:
    """The one pricing group value of an invoice's line."""
    [value] = item["pricing_group_values"].values()
    return str(value)


def _line(item: Mapping[str, Any]) -> tuple[LineKey, Line]:
    level = item["tier"] and item["tier"]["level"]
    quantity, unit_cents, cents = (Decimal(item[name]) for name in ("quantity", "unit_price", "total"))
    return (item["name"], group_of(item), level), Line(level, quantity, unit_cents, cents)
