"""Prices of groups, and prices around prices: worked examples with the amounts written out, and their laws."""

from __future__ import annotations

from decimal import Decimal

import msgspec
import pytest

from penstock.kernel.charge import Part
from penstock.kernel.metered_event import UsedEvent
from penstock.kernel.money import USD
from penstock.kernel.price import (
    AnyPrice,
    EachGroup,
    GroupValues,
    LargestGroup,
    Matrix,
    MatrixCell,
    Price,
    ScaledGroups,
)
from penstock.kernel.quantity import EXACT
from penstock.rater.pricing.each_group import each_group
from penstock.rater.pricing.faults import fault_of_price
from penstock.rater.pricing.models import amount_between, amount_of
from penstock.rater.pricing.priced import Priced, summed
from penstock.rater.pricing.scaled_groups import scaled_groups
from penstock.rater.pricing.used import Used
from unit.rater.grouped import NO_KEY, REGION, a_total, between, by_region, cells, factors, told
from unit.rater.rating import graduated_usd, june, usd

# Matrices.


def test_units_of_no_cell_cost_the_default() -> None:
    """Example 50: default 3.00, west 2.00; west 80 and east 40."""
    price = Matrix(USD, REGION, cells(("west", "2.00")), Decimal("3.00"))

    priced = amount_of(price, by_region(east="40", west="80"))

    assert Decimal("280.00") == priced.amount
    assert told(priced) == [("cell", ("west",), "80", "160.00"), ("default", ("east",), "40", "120.00")]


def test_a_filter_is_a_cell_and_other_values_of_its_key_are_no_match() -> None:
    """Example 34: gpt-4 at 0.03, 100 units; 200 that do not match at 0.01, with another model and with none."""
    price = Matrix(USD, ("model",), cells(("gpt-4", "0.03")), Decimal("0.01"))
    used: dict[GroupValues, Decimal] = {
        (("model", "gpt-4"),): Decimal(100),
        (("model", "o1"),): Decimal(150),
        (("model", None),): Decimal(50),
    }

    priced = amount_of(price, Used(by_group=used))

    assert Decimal(3) + Decimal(2) == priced.amount
    assert told(priced) == [
        ("cell", ("gpt-4",), "100", "3.00"),
        ("default", (None,), "50", "0.50"),
        ("default", ("o1",), "150", "1.50"),
    ]


def test_a_cell_of_null_prices_what_has_no_such_property() -> None:
    price = Matrix(USD, REGION, cells((None, "5")), Decimal(1))
    used: dict[GroupValues, Decimal] = {(("region", None),): Decimal(2), (("size", "s"),): Decimal(3)}

    assert Decimal(25) == amount_of(price, Used(by_group=used)).amount
    assert Decimal(35) == amount_of(price, a_total("7")).amount


def test_groups_with_more_keys_than_the_matrix_are_added_up() -> None:
    two = (MatrixCell(("s", "west"), Decimal(2)), MatrixCell(("l", None), Decimal(7)))
    price = Matrix(USD, ("size", "region"), two, Decimal(1))
    used: dict[GroupValues, Decimal] = {
        (("region", "west"), ("user", "ann"), ("size", "s")): Decimal(10),
        (("region", "west"), ("user", "bob"), ("size", "s")): Decimal(20),
        (("region", None), ("user", "bob"), ("size", "l")): Decimal(1),
        (("region", "west"), ("user", "bob"), ("size", "l")): Decimal(4),
    }

    priced = amount_of(price, Used(by_group=used))

    assert Decimal(60 + 7 + 4) == priced.amount
    assert told(priced) == [
        ("cell", ("s", "west"), "30", "60.00"),
        ("cell", ("l", None), "1", "7.00"),
        ("default", ("l", "west"), "4", "4.00"),
    ]


def test_an_allocation_makes_the_first_units_of_a_matrix_free() -> None:
    """Example 56: allocation 20, all cells 2.00; 120 units."""
    price = Matrix(USD, REGION, cells(("west", "2.00"), ("east", "2.00")), Decimal("2.00"), Decimal(20))

    assert Decimal("200.00") == amount_of(price, by_region(west="80", east="40")).amount


def test_an_allocation_is_used_up_in_the_order_of_the_cells_then_of_the_rest() -> None:
    price = Matrix(USD, REGION, cells(("west", "1"), ("east", "2")), Decimal(3), Decimal(20))

    within = amount_of(price, by_region(south="5", east="10", west="8"))
    beyond = amount_of(price, by_region(south="5", north="1", east="10", west="8"))

    assert told(within) == [
        ("free", ("west",), "8", "0.00"),
        ("free", ("east",), "10", "0.00"),
        ("free", ("south",), "2", "0.00"),
        ("default", ("south",), "3", "9.00"),
    ]
    assert Decimal(3 * 4) == beyond.amount
    assert ("free", ("north",), "1", "0.00") in told(beyond)


def test_a_cell_below_zero_charges_the_negative_amount_but_nothing_where_units_are_free() -> None:
    price = Matrix(USD, REGION, cells(("west", "2")), Decimal(1))
    used = by_region(west="-5", east="10")

    assert Decimal(-10 + 10) == amount_of(price, used).amount
    assert Decimal(10 - 4) == amount_of(msgspec.structs.replace(price, allocation=Decimal(4)), used).amount


# Each group, and the largest.


def test_each_group_has_tiers_of_its_own() -> None:
    """Example 57: A 70 and B 50 at 0.50 for the first 60, 0.10 after."""
    price = EachGroup(USD, graduated_usd(("60", "0.50"), (None, "0.10")), REGION)

    priced = amount_of(price, by_region(b="50", a="70"))

    assert Decimal("31") + Decimal("25") == priced.amount
    assert told(priced) == [
        ("tier", ("a",), "60", "30.00"),
        ("tier", ("a",), "10", "1.00"),
        ("tier", ("b",), "50", "25.00"),
    ]


def test_each_group_has_an_allocation_of_its_own() -> None:
    """Example 58: 55 free for each group, 0.20 beyond; A 70, B 50."""
    price = EachGroup(USD, graduated_usd(("55", "0"), (None, "0.20")), REGION)

    assert Decimal("3.00") == amount_of(price, by_region(a="70", b="50")).amount


def test_each_group_has_a_minimum_and_a_maximum_of_its_own() -> None:
    """Example 62: 0.10 a unit, at least 6 and at most 6.50; A 70 is 7, B 50 is 5."""
    price = EachGroup(USD, between(usd("0.10"), "6", "6.50"), REGION)

    priced = amount_of(price, by_region(a="70", b="50"))

    assert Decimal("6.50") + Decimal("6") == priced.amount
    assert told(priced) == [
        ("units", ("a",), "70", "7.00"),
        ("maximum", ("a",), "0", "-0.50"),
        ("units", ("b",), "50", "5.00"),
        ("minimum", ("b",), "0", "1.00"),
    ]


def test_no_groups_cost_nothing_though_each_has_a_minimum() -> None:
    minimum = between(usd("0.10"), "6")

    assert Priced(Decimal(0), ()) == amount_of(EachGroup(USD, minimum, REGION), Used(by_group={}))
    assert Priced(Decimal(0), ()) == amount_of(LargestGroup(USD, minimum, REGION), Used(by_event=()))


def test_a_group_may_be_priced_by_groups_within_it() -> None:
    price = EachGroup(USD, Matrix(USD, ("size",), cells(("l", "2")), Decimal(1), allocation=Decimal(5)), REGION)
    used: dict[GroupValues, Decimal] = {
        (("region", "west"), ("size", "l")): Decimal(4),
        (("region", "west"), ("size", "s")): Decimal(4),
        (("region", "east"), ("size", "l")): Decimal(6),
    }

    priced = amount_of(price, Used(by_group=used))

    assert Decimal(3 + 2) == priced.amount
    assert ("default", ("west", "s"), "3", "3.00") in told(priced)


def test_events_are_grouped_by_their_keys() -> None:
    events = tuple(
        UsedEvent(june(day), f"e{day}", Decimal(quantity), (("region", name),))
        for day, name, quantity in ((1, "a", "40"), (2, "b", "50"), (3, "a", "30"))
    )
    tiers = graduated_usd(("60", "0.50"), (None, "0.10"))

    assert Decimal(56) == amount_of(EachGroup(USD, tiers, REGION), Used(by_event=events)).amount
    assert Decimal(31) == amount_of(LargestGroup(USD, tiers, REGION), Used(by_event=events)).amount


def test_only_the_largest_group_is_priced() -> None:
    """Example 60 with tiers instead of packages of 1, which cost the same: 50 at 4, 20 at 3."""
    price = LargestGroup(USD, graduated_usd(("50", "4"), (None, "3")), REGION)

    priced = amount_of(price, by_region(b="50", a="70", c="69"))

    assert Decimal(260) == priced.amount
    assert told(priced) == [("tier", ("a",), "50", "200.00"), ("tier", ("a",), "20", "60.00")]


def test_of_groups_equally_large_the_first_by_its_name_is_priced() -> None:
    price = LargestGroup(USD, usd("1"), REGION)

    assert told(amount_of(price, by_region(b="7", a="7"))) == [("units", ("a",), "7", "7.00")]


# Scaled groups.


@pytest.mark.parametrize(
    ("inner", "amount"),
    [(usd("0.10"), "16.00"), (graduated_usd(("100", "0.10"), (None, "0.05")), "13.00")],
    ids=["unit price", "tiers"],
)
def test_units_are_scaled_by_their_group_before_they_are_priced(inner: AnyPrice, amount: str) -> None:
    """Example 61: west 80 x 1.5 and east 40 x 1 are 160 units."""
    price = ScaledGroups(USD, inner, REGION, factors(("west", "1.5"), ("east", "1")))

    assert Decimal(amount) == amount_of(price, by_region(east="40", west="80")).amount


def test_groups_without_a_factor_are_scaled_by_the_default() -> None:
    price = ScaledGroups(USD, usd("1"), REGION, factors(("west", "0.5")))
    used = by_region(east="3", west="8")

    assert Decimal(7) == amount_of(price, used).amount
    assert Decimal(10) == amount_of(msgspec.structs.replace(price, default=Decimal(2)), used).amount


def test_groups_stay_known_when_they_are_scaled() -> None:
    price = ScaledGroups(USD, Matrix(USD, REGION, cells(("west", "1")), Decimal(10)), REGION, factors(("west", "3")))

    assert Decimal(6 + 10) == amount_of(price, by_region(west="2", east="1")).amount


def test_a_price_inside_may_read_the_events_of_its_group_and_scaled() -> None:
    events = tuple(
        UsedEvent(june(day), f"e{day}", Decimal(quantity), (("region", name),))
        for day, name, quantity in ((2, "west", "4"), (3, "east", "5"), (1, "west", "2"))
    )
    scaled = ScaledGroups(USD, usd("1"), REGION, factors(("west", "3")))

    def first_event(price: Price, used: Used) -> Priced:
        event = used.events[0]
        return summed([Part("event", event.quantity, Decimal(1), event.quantity, key=(event.id,))])

    assert told(scaled_groups(scaled, Used(by_event=events), first_event)) == [("event", ("e1",), "6", "6.00")]
    assert told(each_group(EachGroup(USD, usd("1"), REGION), Used(by_event=events), first_event)) == [
        ("event", ("east", "e3"), "5", "5.00"),
        ("event", ("west", "e1"), "2", "2.00"),
    ]


def test_the_longest_numbers_that_are_taken_lose_no_digit() -> None:
    nines = "9" * 26 + "." + "9" * 12
    price = ScaledGroups(USD, Matrix(USD, REGION, cells(("west", nines)), Decimal(0)), REGION, factors(("west", nines)))

    amount = amount_of(price, by_region(west=nines)).amount

    assert int(amount.scaleb(36, EXACT)) == (10**38 - 1) ** 3
    assert fault_of_price(price) is None


# Minimum and maximum.


def test_a_true_up_says_what_is_missing_to_the_minimum() -> None:
    """Example 40: minimum 10.00, usage 6.40; and a minimum of half of it, after half the period."""
    full, half = between(usd("0.01"), "10.00"), between(usd("0.01"), "5.00")

    assert told(amount_of(full, a_total("640"))) == [("units", NO_KEY, "640", "6.40"), ("minimum", NO_KEY, "0", "3.60")]
    assert Decimal("10.00") == amount_of(full, a_total("640")).amount
    assert told(amount_of(half, a_total("640"))) == [("units", NO_KEY, "640", "6.40")]


def test_a_minimum_comes_before_a_maximum() -> None:
    """Example 70, its last two steps: 27 is raised to 28; 27 is raised to 50, then lowered to 40."""
    discounted = usd("0.09")
    lifted = between(discounted, "50")

    assert Decimal(28) == amount_of(between(discounted, "28"), a_total("300")).amount
    assert Decimal(40) == amount_of(between(lifted, None, "40"), a_total("300")).amount
    assert told(amount_of(between(lifted, None, "40"), a_total("300"))) == [
        ("units", NO_KEY, "300", "27.00"),
        ("minimum", NO_KEY, "0", "23.00"),
        ("maximum", NO_KEY, "0", "-10.00"),
    ]


@pytest.mark.parametrize(
    ("calls", "subtotal", "total"),
    [
        ("9", "22.50", "50.00"),
        ("19", "47.50", "50.00"),
        ("20", "50.00", "50.00"),
        ("28", "70.00", "70.00"),
        ("36", "90.00", "90.00"),
    ],
)
def test_costs_so_far_are_at_least_the_minimum(calls: str, subtotal: str, total: str) -> None:
    """Example 71: 2.50 a call, at least 50."""
    assert Decimal(subtotal) == amount_of(usd("2.50"), a_total(calls)).amount
    assert Decimal(total) == amount_of(between(usd("2.50"), "50"), a_total(calls)).amount


def test_a_minimum_is_charged_once_over_a_counter_and_given_back_as_it_is_used() -> None:
    price = between(usd("2.50"), "50")

    first, later = (amount_between(Decimal(start), Decimal(end), price) for start, end in ((0, 9), (9, 28)))

    assert told(first) == [("units", NO_KEY, "9", "22.50"), ("minimum", NO_KEY, "0", "27.50")]
    assert told(later) == [("units", NO_KEY, "19", "47.50"), ("minimum", NO_KEY, "0", "-27.50")]


def test_no_usage_costs_the_minimum() -> None:
    for used in (a_total("0"), a_total("-3"), Used(by_group={}), Used(by_event=())):
        assert Decimal(50) == amount_of(between(usd("2.50"), "50"), used).amount


# Every price that holds another, on the wire.


def test_prices_within_prices_are_the_same_after_a_round_trip_through_json() -> None:
    grid = Matrix(USD, REGION, cells(("west", "2.50"), (None, "1")), Decimal("0.1"), Decimal(20))
    scaled: AnyPrice = ScaledGroups(USD, grid, REGION, factors(("west", "1.5")))
    price: AnyPrice = LargestGroup(USD, EachGroup(USD, between(scaled, "6", "6.50"), REGION), ("user",))

    text = msgspec.json.encode(price)

    assert price == msgspec.json.decode(text, type=AnyPrice)
    assert b'"model":"MATRIX"' in text
