"""Overrides: exactly one acts at any instant, and what it makes of a price."""

from __future__ import annotations

from decimal import Decimal

import pytest

from penstock.kernel.contract import Override, OverrideKind, Prioritization, Specifier
from penstock.kernel.price import Price
from penstock.rater.override import acting, acts_on, repriced
from penstock.rater.pricing.models import amount_between
from unit.rater.rating import (
    LONG_AGO,
    NOW,
    a_multiplier,
    a_tiered,
    an_override,
    an_overwrite,
    graduated_usd,
    june,
    tiers,
    usd,
)

LOWEST, EXPLICIT = Prioritization.LOWEST_MULTIPLIER, Prioritization.EXPLICIT


def cost(price: Price, quantity: int) -> Decimal:
    return amount_between(Decimal(0), Decimal(quantity), price)[0]


def acting_id(overrides: list[Override], prioritization: Prioritization = LOWEST) -> str | None:
    override = acting(overrides, NOW, prioritization)
    return None if override is None else override.id


def test_a_multiplier_discounts_a_flat_price() -> None:
    """Example 77: 0.9 on 5 cents, 50 units are 225 cents."""
    assert Decimal("2.25") == cost(repriced(usd("0.05"), a_multiplier("o", "0.9")), 50)


def test_tiers_of_factors_discount_the_first_units_and_then_the_list_price_holds() -> None:
    """Example 78: 0.9 for the first 10, then list; 20 units at 5 cents are 45 + 50 cents."""
    price = repriced(usd("0.05"), a_tiered("o", ("10", "0.9")))

    _, parts = amount_between(Decimal(0), Decimal(20), price)

    assert [Decimal("0.45"), Decimal("0.50")] == [part.amount for part in parts]


def test_a_multiplier_multiplies_every_tier() -> None:
    price = repriced(graduated_usd(("10", "2"), (None, "1")), a_multiplier("o", "0.5"))

    assert graduated_usd(("10", "1"), (None, "0.5")) == price


def test_an_overwrite_replaces_the_price_by_a_flat_one_or_by_tiers() -> None:
    new_tiers = an_override("o", OverrideKind.OVERWRITE, tiers=tiers(("5", "3"), (None, "2")))

    assert usd("0.04") == repriced(graduated_usd((None, "1")), an_overwrite("o", "0.04"))
    assert graduated_usd(("5", "3"), (None, "2")) == repriced(usd("1"), new_tiers)


def test_an_overwrite_without_a_price_leaves_it() -> None:
    assert usd("0.05") == repriced(usd("0.05"), an_override("o", OverrideKind.OVERWRITE, entitled=True))


def test_an_overwrite_goes_before_every_multiplier() -> None:
    assert acting_id([a_multiplier("cheap", "0.1", priority=Decimal(1)), an_overwrite("dear", "9")]) == "dear"
    assert acting_id([a_multiplier("cheap", "0.1", priority=Decimal(1)), an_overwrite("dear", "9")], EXPLICIT) == "dear"


def test_of_several_overwrites_the_one_that_started_last_acts_and_then_the_first_given() -> None:
    overrides = [
        an_overwrite("old", "1", start=june(1)),
        an_overwrite("first", "2", start=june(5)),
        an_overwrite("second", "3", start=june(5)),
    ]

    assert acting_id(overrides) == "first"


def test_the_lowest_multiplier_acts_and_they_never_stack() -> None:
    overrides = [a_multiplier("a", "0.9"), a_multiplier("b", "0.8"), a_multiplier("c", "0.8")]

    override = acting(overrides, NOW, LOWEST)

    assert override is not None
    assert (override.id, usd("0.8")) == ("b", repriced(usd("1"), override))


def test_tiers_of_factors_count_by_the_greatest_discount_they_can_give() -> None:
    assert acting_id([a_multiplier("a", "0.9"), a_tiered("b", ("10", "0.7"), (None, "1.2"))]) == "b"
    assert acting_id([a_multiplier("a", "0.6"), a_tiered("b", ("10", "0.7"), (None, "1.2"))]) == "a"


def test_an_explicit_priority_goes_lowest_number_first_and_a_missing_one_last() -> None:
    overrides = [
        a_multiplier("none", "0.1"),
        a_multiplier("two", "0.5", priority=Decimal(2)),
        a_tiered("one", ("10", "0.9"), priority=Decimal(1)),
    ]

    assert acting_id(overrides, EXPLICIT) == "one"
    assert acting_id(overrides[:2], EXPLICIT) == "two"
    assert acting_id(overrides[:1], EXPLICIT) == "none"


@pytest.mark.parametrize(("start", "end", "acts"), [(NOW, None, True), (LONG_AGO, NOW, False), (june(21), None, False)])
def test_an_override_acts_from_its_start_until_before_its_end(start: object, end: object, acts: bool) -> None:
    assert acts == (acting([a_multiplier("o", "0.5", start=start, end=end)], NOW, LOWEST) is not None)


@pytest.mark.parametrize(
    ("specifiers", "acts"),
    [
        ((Specifier(),), True),
        ((), False),
        ((Specifier(product_id="tokens"),), True),
        ((Specifier(product_id="compute"),), False),
        ((Specifier(product_id="compute"), Specifier(product_id="tokens")), True),
        ((Specifier(product_tags=("llm",)),), True),
        ((Specifier(product_tags=("llm", "gpu")),), False),
        ((Specifier(product_id="tokens", product_tags=("gpu",)),), False),
        ((Specifier(group_values=(("model", "large"),)),), True),
        ((Specifier(group_values=(("region", "eu"), ("model", "large"))),), True),
        ((Specifier(group_values=(("model", "small"),)),), False),
        ((Specifier(group_values=(("model", None),)),), False),
    ],
)
def test_an_override_acts_where_any_specifier_matches_in_every_part(
    specifiers: tuple[Specifier, ...], acts: bool
) -> None:
    override = a_multiplier("o", "0.5", specifiers=specifiers)

    assert acts == acts_on(override, "tokens", ("llm", "beta"), (("model", "large"), ("region", "eu")))
