"""Price models: worked examples with the amounts written out, and the laws that every split of a counter keeps."""

from __future__ import annotations

from decimal import Decimal
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.kernel.money import USD
from penstock.kernel.price import AnyPrice, Graduated, Price, Tier
from penstock.kernel.quantity import exact
from penstock.rater.pricing.models import AROUND, EVENTS, GROUPS, TOTALS, amount_between
from penstock.rater.pricing.tiers import fault_of, multiplied
from unit.rater.rating import a_tiered, graduated_usd, tiers, usd

quantities = st.decimals(min_value=0, max_value=10**9, places=12)
readings = st.decimals(min_value=-(10**9), max_value=10**9, places=12)
prices = st.decimals(min_value=0, max_value=1000, places=8)


@st.composite
def tier_lists(draw: st.DrawFn) -> tuple[Tier, ...]:
    ends = sorted(draw(st.sets(st.decimals(min_value="0.000001", max_value=10**9, places=6), max_size=5)))
    return tuple(Tier(end, draw(prices)) for end in [*ends, None])


def cost(price: Price, quantity: str) -> Decimal:
    return amount_between(Decimal(0), Decimal(quantity), price)[0]


@pytest.mark.parametrize(
    ("units", "dollars"),
    [("1500", "3"), ("1000000", "2000"), ("12000000", "18000"), ("0", "0")],
)
def test_the_seeds_tiers_cost_what_metronome_says(units: str, dollars: str) -> None:
    """Example 75: 1M at 0.2 cents, 10M at 0.15, the rest at 0.1."""
    price = graduated_usd(("1000000", "0.002"), ("11000000", "0.0015"), (None, "0.001"))

    assert Decimal(dollars) == cost(price, units)


def test_each_tier_says_what_it_priced() -> None:
    """Example 76: 230,000 units are 20,000 + 15,000 + 3,000 cents."""
    price = graduated_usd(("100000", "0.002"), ("200000", "0.0015"), (None, "0.001"))

    total, parts = amount_between(Decimal(0), Decimal(230_000), price)

    assert Decimal("380") == total
    assert [(part.level, part.start, part.quantity, part.amount) for part in parts] == [
        (1, Decimal(0), Decimal(100_000), Decimal(200)),
        (2, Decimal(100_000), Decimal(100_000), Decimal(150)),
        (3, Decimal(200_000), Decimal(30_000), Decimal(30)),
    ]


def test_a_unit_price_multiplies_and_keeps_every_digit() -> None:
    total = cost(usd("0.000000000001"), "12345678901234567890123456.123456789012")

    assert Decimal("12345678901234.567890123456123456789012") == total


def test_a_fraction_of_a_unit_costs_a_fraction() -> None:
    assert Decimal("102.5") == cost(graduated_usd(("10", "10"), (None, "5")), "10.5")


def test_the_last_unit_of_a_tier_belongs_to_it() -> None:
    price = graduated_usd(("10", "0.50"), (None, "0.10"))

    assert Decimal("5.00") == cost(price, "10")
    assert Decimal("16.00") == cost(price, "120")


def test_a_flat_fee_is_charged_once_when_its_tier_is_entered() -> None:
    price = Graduated(
        USD,
        (
            Tier(Decimal(10), Decimal(10), Decimal(2)),
            Tier(Decimal(20), Decimal(5), Decimal(3)),
            Tier(None, Decimal(5), Decimal(3)),
        ),
    )

    assert [Decimal(0), Decimal(12), Decimal(102), Decimal(110), Decimal(115), Decimal(163)] == [
        cost(price, units) for units in ("0", "1", "10", "11", "12", "21")
    ]
    assert Decimal(5) == amount_between(Decimal(11), Decimal(12), price)[0]


def test_a_total_below_zero_charges_the_negative_amount_per_unit_and_nothing_in_tiers() -> None:
    assert Decimal("-0.15") == cost(usd("0.05"), "-3")
    assert (Decimal(0), ()) == amount_between(Decimal(0), Decimal(-3), graduated_usd((None, "0.05")))


def test_a_counter_that_falls_gives_back_what_the_upper_tier_took() -> None:
    price = graduated_usd(("10", "1"), (None, "0.5"))

    assert Decimal("-4") == amount_between(Decimal(14), Decimal(8), price)[0]


def test_every_model_has_its_function() -> None:
    assert set(get_args(AnyPrice)) == {*TOTALS, *GROUPS, *EVENTS, *AROUND}


@given(tier_lists(), readings, readings, readings)
@exact
def test_the_amounts_of_two_stretches_are_the_amount_of_both(
    tier_list: tuple[Tier, ...], start: Decimal, middle: Decimal, end: Decimal
) -> None:
    for price in (Graduated(USD, tier_list), usd("0.000123")):
        first, second = amount_between(start, middle, price)[0], amount_between(middle, end, price)[0]

        assert amount_between(start, end, price)[0] == first + second


@given(tier_lists(), quantities, st.decimals(min_value="0.000001", max_value=10**9, places=6))
@exact
def test_splitting_a_tier_at_a_point_changes_no_amount(
    tier_list: tuple[Tier, ...], quantity: Decimal, point: Decimal
) -> None:
    level = next(i for i, tier in enumerate(tier_list) if tier.up_to is None or point <= tier.up_to)
    split = (*tier_list[:level], Tier(point, tier_list[level].unit_price), *tier_list[level:])
    if split[level].up_to == split[level + 1].up_to:
        split = tier_list

    whole = amount_between(Decimal(0), quantity, Graduated(USD, tier_list))[0]

    assert fault_of(split) is None
    assert whole == amount_between(Decimal(0), quantity, Graduated(USD, split))[0]


@given(tier_lists(), quantities, quantities)
@exact
def test_more_units_never_cost_less(tier_list: tuple[Tier, ...], one: Decimal, other: Decimal) -> None:
    price = Graduated(USD, tier_list)

    assert (
        amount_between(Decimal(0), min(one, other), price)[0] <= amount_between(Decimal(0), max(one, other), price)[0]
    )


@given(tier_lists(), readings, readings)
@exact
def test_tier_parts_sum_to_the_amount(tier_list: tuple[Tier, ...], start: Decimal, end: Decimal) -> None:
    total, parts = amount_between(start, end, Graduated(USD, tier_list))

    assert total == sum((part.amount for part in parts), Decimal(0))


@pytest.mark.parametrize(
    ("tier_list", "fault"),
    [
        ((), "a tier list has at least one tier"),
        (tiers(("10", "1")), "the last tier must be open-ended"),
        (tiers((None, "1"), (None, "1")), "tier 1 is open-ended, but only the last tier may be"),
        (tiers(("0", "1"), (None, "1")), "tier 1 must end above 0, where it begins"),
        (tiers(("10", "1"), ("5", "1"), (None, "1")), "tier 2 must end above 10, where it begins"),
        (tiers(("10", "1"), ("10", "1"), (None, "1")), "tier 2 must end above 10, where it begins"),
        (tiers(("10", "1"), (None, "1")), None),
    ],
)
def test_a_tier_list_that_is_not_whole_is_named(tier_list: tuple[Tier, ...], fault: str | None) -> None:
    assert fault == fault_of(tier_list)


def test_factors_over_tiers_are_cut_at_the_ends_of_both() -> None:
    factors = a_tiered("o", ("5", "0.5"), ("15", "0.8")).multiplier_tiers

    merged = multiplied(tiers(("10", "2"), (None, "1")), factors)

    assert tiers(("5", "1"), ("10", "1.6"), ("15", "0.8"), (None, "1")) == merged


def test_a_flat_fee_is_multiplied_once_where_its_tier_begins() -> None:
    factors = a_tiered("o", ("5", "0.5")).multiplier_tiers

    merged = multiplied((Tier(None, Decimal(2), Decimal(10)),), factors)

    assert (Tier(Decimal(5), Decimal(1), Decimal(5)), Tier(None, Decimal(2), Decimal(0))) == merged
