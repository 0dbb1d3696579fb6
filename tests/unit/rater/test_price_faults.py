"""A definition that is no price is refused by a sentence that names what is wrong with it."""

from __future__ import annotations

from decimal import Decimal

import msgspec
import pytest

from penstock.kernel.money import USD, Unit
from penstock.kernel.price import AnyPrice, EachGroup, LargestGroup, Matrix, MatrixCell, PerUnit, ScaledGroups
from penstock.rater.pricing.faults import NESTING_MAX, fault_of_price
from unit.rater.grouped import REGION, between, cells, factors
from unit.rater.rating import graduated_usd, usd

ONE = Decimal(1)
GRID = Matrix(USD, ("region", "size"), (MatrixCell(("west", None), ONE), MatrixCell(("west", "s"), ONE)), ONE)
EUR = Unit("eur", "EUR", 2)
ENDLESS = graduated_usd(("10", "1"))


def nested(depth: int) -> AnyPrice:
    price: AnyPrice = usd("1")
    for _ in range(depth - 1):
        price = between(price)
    return price


@pytest.mark.parametrize(
    ("price", "fault"),
    [
        (Matrix(USD, (), (), ONE), "keys must name at least one group key"),
        (EachGroup(USD, usd("1"), ()), "keys must name at least one group key"),
        (LargestGroup(USD, usd("1"), ("a", "b", "a")), 'the group key "a" stands twice'),
        (
            Matrix(USD, REGION, GRID.cells, ONE),
            'the cell for ["west", null] must have 1 value, one for each key',
        ),
        (
            Matrix(USD, ("region", "size"), cells(("west", "1")), ONE),
            'the cell for ["west"] must have 2 values, one for each key',
        ),
        (
            msgspec.structs.replace(GRID, cells=(*GRID.cells, MatrixCell(("west", None), Decimal(2)))),
            'there are two cells for ["west", null]',
        ),
        (Matrix(USD, REGION, cells(("west", "-1")), ONE), "cells[0].unit_price: must be zero or more"),
        (Matrix(USD, REGION, (), Decimal(-1)), "default: must be zero or more"),
        (Matrix(USD, REGION, (), ONE, Decimal(-1)), "allocation: must be zero or more"),
        (ScaledGroups(USD, usd("1"), REGION, factors(("west", "-1.5"))), "factors[0].factor: must be zero or more"),
        (ScaledGroups(USD, usd("1"), REGION, (), Decimal(-1)), "default: must be zero or more"),
        (
            ScaledGroups(USD, usd("1"), REGION, factors(("west", "1"), ("west", "2"))),
            'there are two factors for ["west"]',
        ),
        (
            ScaledGroups(USD, between(ScaledGroups(USD, GRID, REGION, ())), REGION, ()),
            "the price inside: the price inside: units may be scaled once",
        ),
        (between(usd("1"), "50", "40"), "the minimum 50 is above the maximum 40"),
        (between(usd("1"), "-1"), "minimum: must be zero or more"),
        (between(usd("1"), None, "-1"), "maximum: must be zero or more"),
        (ENDLESS, "tiers[0].up_to: the last tier must be open-ended"),
        (
            EachGroup(USD, between(ENDLESS), REGION),
            "price.price.tiers[0].up_to: the last tier must be open-ended",
        ),
        (between(PerUnit(EUR, ONE)), "the price inside: it is in EUR, but the one around it in USD (cents)"),
        (nested(NESTING_MAX + 1), "the price inside: " * NESTING_MAX + f"prices may be nested {NESTING_MAX} deep"),
    ],
)
def test_what_is_wrong_with_a_price_is_named(price: AnyPrice, fault: str) -> None:
    assert fault == fault_of_price(price)


@pytest.mark.parametrize(
    ("number", "fault"),
    [
        ("NaN", "is not a finite number"),
        ("-Infinity", "is not a finite number"),
        ("1" * 60, "has more than 26 digits before the point"),
        ("0." + "1" * 60, "has more than 12 digits after the point"),
        ("1e-13", "has more than 12 digits after the point"),
    ],
)
def test_a_number_that_is_none_or_too_long_is_named_by_its_place(number: str, fault: str) -> None:
    assert f"unit_price: {fault}" == fault_of_price(usd(number))
    assert f"price.tiers[1].unit_price: {fault}" == fault_of_price(
        between(graduated_usd(("10", "1"), (None, number)))
    )
    assert f"cells[0].unit_price: {fault}" == fault_of_price(Matrix(USD, REGION, cells(("west", number)), ONE))
    assert f"maximum: {fault}" == fault_of_price(between(usd("1"), "1", number))


@pytest.mark.parametrize(
    "price",
    [
        usd("0.000000000001"),
        graduated_usd(("10", "1"), (None, "0")),
        GRID,
        Matrix(USD, REGION, (), ONE),
        between(GRID, "40", "40"),
        EachGroup(USD, between(GRID), REGION),
        ScaledGroups(USD, GRID, REGION, factors(("west", "0"), (None, "1.5"))),
        nested(NESTING_MAX),
    ],
)
def test_a_price_without_a_fault_is_taken(price: AnyPrice) -> None:
    assert fault_of_price(price) is None
