"""What was used earlier in a period, and a charge of an invoice as a question: they come to the charge's amount."""

from __future__ import annotations

import copy
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from builders import to_json
from penstock.kernel.charge import Charge
from penstock.kernel.money import CURRENCIES, USD, Unit
from penstock.kernel.price import AnyPrice, Matrix, PerUnit
from penstock.kernel.problems import Problem
from penstock.kernel.window import Span
from penstock.rater.price_answer import price_anything, replay, view
from penstock.web.exact_json import decode_exact
from unit.rater.eventful import a_percentage
from unit.rater.grouped import REGION, cells
from unit.rater.rating import JUNE, Used, an_interval, charged, graduated_usd, june

Json = dict[str, Any]
GRADUATED: Json = {
    "model": "GRADUATED",
    "tiers": [{"up_to": 10, "unit_price": "0.5"}, {"up_to": None, "unit_price": "0.1"}],
}
MATRIX: Json = {"model": "MATRIX", "keys": ["region"], "cells": [], "default": 2, "allocation": 20}
PERCENTAGE: Json = {"model": "PERCENTAGE", "percent": 1, "free_events": 2}
TIERS = graduated_usd(("10", "0.5"), (None, "0.1"))


def an_event(id: str, hour: int = 12, quantity: int = 100) -> Json:
    return {"id": id, "timestamp": f"2026-07-01T{hour:02}:00:00Z", "quantity": quantity}


def in_region(name: str, quantity: object) -> Json:
    return {"values": {"region": name}, "quantity": quantity}


@pytest.mark.parametrize(
    ("request_body", "amount"),
    [
        ({"price": GRADUATED, "quantity": 120, "before": {"quantity": 4}}, "14.40"),
        ({"price": GRADUATED, "quantity": 4, "before": {"quantity": 0}}, "2.00"),
        ({"price": GRADUATED, "quantity": -4, "before": {"quantity": 8}}, "-2.00"),
        (
            {"price": MATRIX, "groups": [in_region("a", 12)], "before": {"groups": [in_region("a", 15)]}},
            "14.00",
        ),
        (
            {"price": PERCENTAGE, "events": [an_event("c"), an_event("d")], "before": {"events": [an_event("a", 3)]}},
            "1.00",
        ),
    ],
)
def test_what_was_used_before_counts_in_tiers_allocations_and_free_events(request_body: Json, amount: str) -> None:
    told = view(price_anything(to_json(request_body)))

    assert told["amount"] == amount
    assert Decimal(amount) == replay(told["explanation"])
    assert list(told["explanation"]) == ["price", "currency", "before", "used", "parts", "rounding"]


@pytest.mark.parametrize(
    ("request_body", "field"),
    [
        ({"price": GRADUATED, "quantity": 1, "before": {}}, "before.quantity"),
        ({"price": GRADUATED, "quantity": 1, "before": {"groups": []}}, "before"),
        ({"price": GRADUATED, "quantity": 1, "before": {"quantity": "1e30"}}, "before.quantity"),
        ({"price": PERCENTAGE, "events": [an_event("a")], "before": {"events": [an_event("a")]}}, "before.events"),
    ],
)
def test_what_is_told_of_before_must_fit(request_body: Json, field: str) -> None:
    with pytest.raises(Problem) as problem:
        price_anything(to_json(request_body))

    assert (problem.value.status, problem.value.field) == (400, field)


def some_charges(price: AnyPrice) -> tuple[Charge, ...]:
    """Of two halves of June."""
    halves = [an_interval(price, Span(*ends)) for ends in ((JUNE.start, june(15)), (june(15), JUNE.end))]
    return charged(halves, [Used(june(day), "7", {"region": "a"}) for day in (2, 3, 20, 21)])


@pytest.mark.parametrize(
    ("price", "amounts"),
    [
        (TIERS, ["5.40", "1.40"]),
        (Matrix(USD, REGION, cells(("a", "2")), Decimal(1), Decimal(20)), ["0.00", "16.00"]),
        (a_percentage("10", free_events="3"), ["0.00", "0.70"]),
    ],
)
def test_a_charge_as_it_is_shown_comes_to_its_amount(price: AnyPrice, amounts: list[str]) -> None:
    charges = some_charges(price)

    assert [view(price_anything(to_json(charge)))["amount"] for charge in charges] == amounts
    assert [str(charge.list_amount) for charge in charges] == amounts


@pytest.mark.parametrize(("unit", "shown"), [(CURRENCIES["JPY"], "JPY"), (Unit("u", "credits", 1), None)])
def test_a_charge_is_replayed_in_its_own_unit(unit: Unit, shown: str | None) -> None:
    [charge] = charged([an_interval(PerUnit(unit, Decimal("0.07")))], [Used(june(2), "9")])

    told = view(price_anything(to_json(charge)))

    assert told["currency"] == shown or {"name": "credits", "decimals": 1}
    assert Decimal(told["amount"]) == charge.list_amount


@pytest.mark.parametrize(
    ("path", "value", "field"),
    [
        (("alternatives",), [], "alternatives"),
        (("alternatives",), 5, "alternatives"),
        (("unit",), None, "alternatives"),
        (("alternatives", 0, "price", "model"), "BARTER", "price.model"),
        (("alternatives", 0, "counter"), "many", "before.quantity"),
        (("alternatives", 0, "groups"), 5, "alternatives"),
        (("alternatives", 0, "groups"), [{"values": [["a", 1]], "quantity": 1, "before": None}], "used.groups[0]"),
        (("alternatives", 0, "events"), {"count": 1}, "alternatives"),
        (("alternatives", 0, "events"), {"count": 2, "before": 0, "listed": []}, "alternatives[0].events.listed"),
    ],
)
def test_what_is_no_charge_is_refused_by_name(path: tuple[Any, ...], value: object, field: str) -> None:
    charge = decode_exact(msgspec.json.encode(some_charges(TIERS)[0]))
    place = charge = copy.deepcopy(charge)
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value

    with pytest.raises(Problem) as problem:
        price_anything(to_json(charge))

    assert problem.value.status in (400, 422)
    assert (problem.value.field or "").startswith(field), problem.value.field
