"""Rates that read groups and events: from events over HTTP to lines to the cent, each explanation replayed."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from builders import Body, month_of, rfc3339, to_json
from server import PenstockServer, eventually

PER_UNIT: Body = {"model": "PER_UNIT", "unit_price": "0.10"}
TIERS: Body = {
    "model": "GRADUATED",
    "tiers": [{"up_to": "60", "unit_price": "0.50"}, {"up_to": None, "unit_price": "0.10"}],
}
PACKAGES: Body = {
    "model": "TIERED_PACKAGE",
    "size": "1",
    "tiers": [{"up_to": "50", "unit_price": "4"}, {"up_to": None, "unit_price": "3"}],
}
WEST: Body = {"values": ["west"], "unit_price": "2.00"}
MATRIX: Body = {"model": "MATRIX", "keys": ["region"], "cells": [WEST], "default": "3.00"}
ALLOCATION: Body = MATRIX | {"default": "2.00", "allocation": "20"}
EACH: Body = {"model": "EACH_GROUP", "keys": ["region"], "price": TIERS}
LARGEST: Body = {"model": "LARGEST_GROUP", "keys": ["region"], "price": PACKAGES}
SCALED: Body = {
    "model": "SCALED_GROUPS",
    "keys": ["region"],
    "factors": [{"values": ["west"], "factor": "1.5"}],
    "price": PER_UNIT,
}
PERCENTAGE: Body = {"model": "PERCENTAGE", "percent": "1.3", "fixed": "2", "free_events": "3", "free_amount": "250"}
BPS: Body = {"model": "BPS", "bps": "25", "cap": "25"}
BULK_BPS: Body = {
    "model": "BULK_BPS",
    "tiers": [{"up_to": "1000000", "bps": "125", "cap": "19"}, {"up_to": None, "bps": "115", "cap": "4"}],
}
DYNAMIC: Body = {"model": "DYNAMIC", "property": "unit_cost", "default_rate": "0"}
DISCOUNTED: Body = {"model": "DISCOUNTED", "price": MATRIX, "amount": "30", "percent": "10"}
LEAST: Body = {"model": "VOLUME_MINIMUM", "price": EACH, "minimums": [{"reached": "0", "amount": "60"}]}

LATER = "a later event"
# The price, what each event says, and what the invoice's line is: its quantity, its cents.
Line = tuple[Body, list[Body], tuple[int, int]]
WEST_AND_EAST: list[Body] = [{"units": 50, "region": "west"}, {"units": 40}, {"units": 30, "region": "west"}]
A_AND_B: list[Body] = [{"units": 70, "region": "a"}, {"units": 50, "region": "b"}]
LINES: dict[str, Line] = {
    "example 50": (MATRIX, WEST_AND_EAST, (120, 280_00)),
    "example 56": (ALLOCATION, WEST_AND_EAST, (120, 200_00)),
    "example 57": (EACH, A_AND_B, (120, 56_00)),
    "example 60": (LARGEST, A_AND_B, (120, 260_00)),
    "example 61": (SCALED, WEST_AND_EAST, (120, 16_00)),
    "a discount around groups": (DISCOUNTED, WEST_AND_EAST, (120, 225_00)),
    "a minimum around groups": (LEAST, A_AND_B, (120, 60_00)),
    "example 24": (PERCENTAGE, [{"units": n} for n in (50, 100, 250, 400)], (800, 11_15)),
    "example 67": (BPS, [{"units": 20_000}, {"units": 100}], (20_100, 25_25)),
    "example 68": (BULK_BPS, [{"units": 600_000}, {"units": 600_000}], (1_200_000, 8_00)),
    "example 63": (DYNAMIC, [{"units": 40, "unit_cost": "0.25"}, {"units": 80, "unit_cost": 0.5}], (120, 50_00)),
    LATER: (DYNAMIC, [{"units": 40, "unit_cost": "0.25"}, {"units": 80, "unit_cost": 0.5}], (120, 50_00)),
    "a maximum around events": (
        {"model": "BOUNDED", "price": PERCENTAGE, "maximum": "9.99"},
        [{"units": n} for n in (50, 100, 250, 400)],
        (800, 9_99),
    ),
}


@dataclass
class Billed:
    """A customer who has used one product of each kind."""

    server: PenstockServer
    customer: str


@pytest.fixture(scope="module")
def billed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Billed]:
    with PenstockServer(tmp_path_factory.mktemp("rates") / "data") as server:
        start, _ = month_of(datetime.now(UTC))
        customer = server.client.v1.customers.create(name="Acme", ingest_aliases=["acme"]).data.id
        card = server.client.v1.contracts.rate_cards.create(name="List").data.id
        for name, (price, _, _) in LINES.items():
            server.client.v1.contracts.rate_cards.rates.add(
                rate_card_id=card,
                product_id=a_product(server, name),
                entitled=True,
                rate_type="CUSTOM",
                custom_rate=price,
                starting_at=start,
            )
        server.client.v1.contracts.create(customer_id=customer, rate_card_id=card, starting_at=start)
        for name, (_, used, _) in LINES.items():
            send(server, name, used)
        eventually(lambda: len(lines(server, customer)), len(LINES))
        yield Billed(server, customer)


@pytest.mark.parametrize("name", [name for name in LINES if name != LATER])
def test_a_line_of_each_kind_is_billed_to_the_cent_and_its_explanation_replayed(billed: Billed, name: str) -> None:
    eventually(lambda: lines(billed.server, billed.customer)[name], LINES[name][2])

    charge = explained(billed, name)
    answer = billed.server.raw.post("/v1/price", charge).json
    assert Decimal(answer["amount"]) * 100 == LINES[name][2][1]
    assert Decimal(answer["exact"]) == charge["alternatives"][0]["exact"]
    assert billed.server.raw.post("/v1/price", answer["explanation"]).json == answer
    assert price_command(charge) == answer


def test_the_events_of_a_charge_are_read_again_as_they_were(billed: Billed) -> None:
    """Page by page, as of the charge's vector: a later event does not show."""
    charge = explained(billed, LATER)
    listed = charge["alternatives"][0]["events"]
    send(billed.server, LATER, [{"units": 1, "unit_cost": 9}], "late")
    eventually(lambda: lines(billed.server, billed.customer)[LATER], (121, 59_00))

    path = "/v1/price/events?limit=1"
    first = billed.server.raw.post(path, listed["source"]).json
    second = billed.server.raw.post(f"{path}&next_page={first['next_page']}", listed["source"]).json

    assert (len(first["data"]), len(second["data"]), second["next_page"]) == (1, 1, None)
    asked = {"price": DYNAMIC, "currency": "USD", "events": first["data"] + second["data"]}
    assert billed.server.raw.post("/v1/price", asked).json["amount"] == "50.00"
    without = {**charge, "alternatives": [{**charge["alternatives"][0], "events": {**listed, "listed": []}}]}
    refused = billed.server.raw.post("/v1/price", without)
    assert (refused.status, refused.json["field"]) == (422, "alternatives[0].events.listed")


def a_product(server: PenstockServer, name: str) -> str:
    metric = server.client.v1.billable_metrics.create(
        name=name,
        aggregation_type="SUM",
        aggregation_key="units",
        event_type_filter={"in_values": [name]},
        group_keys=[["region"]],
    )
    products = server.client.v1.contracts.products
    return products.create(name=name, type="USAGE", billable_metric_id=metric.data.id).data.id


def send(server: PenstockServer, name: str, used: list[Body], batch: str = "first") -> None:
    """The last event comes first: their own time says in which order they are read."""
    newest = datetime.now(UTC) - timedelta(milliseconds=1)
    events = [
        {
            "transaction_id": f"{name}-{batch}-{place}",
            "customer_id": "acme",
            "event_type": name,
            "timestamp": rfc3339(newest - timedelta(milliseconds=len(used) - place)),
            "properties": properties,
        }
        for place, properties in enumerate(used)
    ]
    server.raw.ingest(events[::-1])


def drafts(server: PenstockServer, customer: str) -> list[Any]:
    return server.client.v1.customers.invoices.list(customer_id=customer, status="DRAFT").data


def lines(server: PenstockServer, customer: str) -> dict[str, tuple[Any, Any]]:
    """Quantity and total in cents of each product on the draft."""
    return {
        line.name: (line.quantity, line.total) for draft in drafts(server, customer) for line in draft.line_items
    }


def explained(billed: Billed, name: str) -> Body:
    """The charge of a product, as the draft's explanation shows it."""
    [draft] = drafts(billed.server, billed.customer)
    path = f"/v1/customers/{billed.customer}/invoices/{draft.id}/explain"
    charges: list[Body] = billed.server.raw.get(path).json["data"]["charges"]
    return next(charge for charge in charges if charge["product_name"] == name)


def price_command(charge: Body) -> Body:
    """What `penstock price -` makes of a charge as it was shown: no server is asked."""
    command = [sys.executable, "-m", "penstock", "price", "-", "--json"]
    done = subprocess.run(command, input=to_json(charge), capture_output=True, check=True)
    told: Body = json.loads(done.stdout)
    return told
