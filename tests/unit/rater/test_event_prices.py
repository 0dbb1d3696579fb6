"""Price models that read events: the worked examples of SURFACE.md section 5 with their amounts, and laws."""

from __future__ import annotations

from decimal import Decimal

import pytest

from penstock.kernel.money import USD, round_to_step
from penstock.kernel.price import (
    AnyPrice,
    Bounded,
    Bps,
    Brings,
    Discounted,
    Dynamic,
    Graduated,
    Percentage,
    Tier,
)
from penstock.kernel.quantity import ZERO
from penstock.rater.pricing.faults import fault_of_price
from penstock.rater.pricing.models import amount_of
from penstock.rater.pricing.percent_tiers import graduated_percentage, tiered_bps
from penstock.rater.pricing.priced import Priced
from penstock.rater.pricing.used import Used
from unit.rater.eventful import a_bps, a_percentage, cost, events, parts, priced, some_bulk

FOUR = ("100", "200", "300", "400")
MIXED = ("50", "100", "250", "400")
THREE = ("10", "80", "10000")
BOUNDS = {"minimum": "1.75", "maximum": "12"}


@pytest.mark.parametrize(
    ("price", "quantities", "dollars"),
    [
        pytest.param(a_percentage("1.3", "2"), FOUR, "21.00", id="21"),
        pytest.param(a_percentage("1.3", "2", free_events="2"), FOUR, "13.10", id="22"),
        pytest.param(a_percentage("1.3", "2", free_amount="250"), FOUR, "15.75", id="23"),
        pytest.param(a_percentage("1.3", "2", free_events="3", free_amount="250"), MIXED, "11.15", id="24"),
        pytest.param(a_percentage("1.3", "2", free_events="5"), FOUR, "0", id="25"),
        pytest.param(a_percentage("2.99", **BOUNDS), THREE, "16.142", id="26"),
        pytest.param(a_percentage("2.99", "2", **BOUNDS), THREE, "18.691", id="27"),
        pytest.param(a_percentage("2.99", free_events="2", **BOUNDS), THREE, "12", id="28"),
        pytest.param(a_percentage("2.99", free_amount="30", **BOUNDS), THREE, "13.794", id="29"),
        pytest.param(a_percentage("2.99", free_events="3", free_amount="10000", **BOUNDS), THREE, "2.691", id="30"),
        pytest.param(a_percentage("2.5", "0.10"), ("10.00", "20.50", "33.33"), "1.89575", id="31"),
    ],
)
def test_a_percentage_costs_what_lago_says(price: Percentage, quantities: tuple[str, ...], dollars: str) -> None:
    """Examples 21 to 31."""
    assert Decimal(dollars) == cost(price, *quantities)


def test_examples_26_and_31_are_rounded_to_the_cent_once() -> None:
    bounded = cost(a_percentage("2.99", **BOUNDS), *THREE)
    seeded = cost(a_percentage("2.5", "0.10"), "10.00", "20.50", "33.33")

    assert Decimal("16.14") == round_to_step(bounded, USD)
    assert Decimal("1.90") == round_to_step(seeded, USD)


def test_a_percentage_says_what_was_free_what_was_paid_and_what_each_event_cost() -> None:
    """Example 23: 250 of 1,000 are free and so is one of four events."""
    found = priced(a_percentage("1.3", "2", free_amount="250"), events(*FOUR))

    assert [
        ("free", Decimal(250), Decimal(0)),
        ("percentage", Decimal(750), Decimal("9.75")),
        ("fixed fee", Decimal(3), Decimal(6)),
    ] == parts(found)


def test_a_percentage_says_how_many_events_a_minimum_raised_and_a_maximum_lowered() -> None:
    """Example 26: 0.299 is raised to 1.75 and 299 lowered to 12."""
    found = priced(a_percentage("2.99", **BOUNDS), events(*THREE))

    assert [
        ("percentage", Decimal(10_090), Decimal("301.691")),
        ("minimum", Decimal(1), Decimal("1.451")),
        ("maximum", Decimal(1), Decimal("-287")),
    ] == parts(found)


def test_an_event_that_uses_up_the_free_amount_to_its_last_cent_costs_the_fixed_fee() -> None:
    assert Decimal("2") == cost(a_percentage("1", "2", free_amount="100"), "60", "40")
    assert Decimal("0") == cost(a_percentage("1", "2", free_amount="100.01"), "60", "40")


def test_of_two_limits_that_are_set_the_tighter_one_counts() -> None:
    assert Decimal("2.50") == cost(a_percentage("1", "2", free_events="1", free_amount="250"), "50", "50")
    assert Decimal("2.50") == cost(a_percentage("1", "2", free_events="1", free_amount="50"), "100")
    assert Decimal("3") == cost(a_percentage("1", "2", free_events="0", free_amount="250"), "100")


def test_an_event_of_zero_is_an_event() -> None:
    assert Decimal("2") == cost(a_percentage("1", "2"), "0")
    assert Decimal("1.75") == cost(a_percentage("1", **BOUNDS), "0")
    assert Decimal("2") == cost(a_percentage("1", "2", free_events="1"), "0", "0")


def test_no_events_cost_nothing() -> None:
    for price in (a_percentage("1", "2", **BOUNDS), a_bps("25", "25"), some_bulk((None, "25", None)), Dynamic(USD)):
        assert Priced(ZERO, ()) == priced(price, ())


def test_a_refund_gives_back_its_percentage() -> None:
    assert Decimal("0") == cost(a_percentage("2.5"), "100", "-100")
    assert Decimal("1") == cost(a_percentage("1", free_amount="100"), "200", "-150", "150")


@pytest.mark.parametrize(
    ("units", "dollars"), [("0", "200"), ("1", "200.01"), ("10", "200.10"), ("11", "500.12"), ("25", "900.45")]
)
def test_a_graduated_percentage_is_graduated(units: str, dollars: str) -> None:
    """Examples 9 to 11: 1 %, 2 % and 3 %, with 200, 300 and 400 for each range that is reached."""
    price = graduated_percentage(
        USD,
        [
            Tier(Decimal(10), Decimal(1), Decimal(200)),
            Tier(Decimal(20), Decimal(2), Decimal(300)),
            Tier(None, Decimal(3), Decimal(400)),
        ],
    )

    assert Decimal(dollars) == amount_of(price, Used(Decimal(units))).amount


def test_a_graduated_percentage_of_wide_ranges() -> None:
    """Example 12: 10 + 81 + 32."""
    price = graduated_percentage(
        USD,
        [
            Tier(Decimal(1000), Decimal(1)),
            Tier(Decimal(5000), Decimal(2), Decimal(1)),
            Tier(None, Decimal(3), Decimal(2)),
        ],
    )

    found = amount_of(price, Used(Decimal(6000)))

    assert [Decimal(10), Decimal(81), Decimal(32)] == [part.amount for part in found.parts]
    assert Decimal("123.00") == found.amount


def test_tiered_basis_points_are_graduated() -> None:
    """Example 69: 100 up to 1,000, then 50; payments of 600 and 600 are 10 + 1."""
    price = tiered_bps(USD, [Tier(Decimal(1000), Decimal(100)), Tier(None, Decimal(50))])

    found = amount_of(price, Used(by_event=events("600", "600")))

    assert [Decimal(10), Decimal(1)] == [part.amount for part in found.parts]
    assert Decimal("11") == found.amount


def test_a_share_with_many_digits_is_translated_exactly() -> None:
    price = tiered_bps(USD, [Tier(None, Decimal("12345678901234567890.123456789012"))])

    assert Graduated(USD, (Tier(None, Decimal("1234567890123456.7890123456789012")),)) == price


@pytest.mark.parametrize(
    ("price", "quantity", "dollars"),
    [
        (a_bps("25", "25"), "100", "0.25"),
        (a_bps("25", "25"), "10000", "25.00"),
        (a_bps("25", "25"), "20000", "25"),
        (a_bps("125", "11"), "1000", "11"),
        (a_bps("125"), "1000", "12.50"),
    ],
)
def test_basis_points_of_an_event_are_capped(price: Bps, quantity: str, dollars: str) -> None:
    """Example 67."""
    assert Decimal(dollars) == cost(price, quantity)


def test_the_cap_is_each_events_own() -> None:
    found = priced(a_bps("25", "25"), events("100", "20000", "30000"))

    assert Decimal("50.25") == found.amount
    assert [("basis points", Decimal(50_100), Decimal("125.25")), ("cap", Decimal(2), Decimal(-75))] == parts(found)


@pytest.mark.parametrize(
    ("quantities", "dollars"),
    [
        (("600000", "600000"), "8"),
        (("100", "200"), "3.75"),
        (("500000", "500000"), "38"),
        (("500000", "500000.01"), "8"),
    ],
)
def test_the_total_decides_which_bulk_basis_points_and_cap_every_event_has(
    quantities: tuple[str, ...], dollars: str
) -> None:
    """Example 68: up to 1,000,000 of 125 with a cap of 19, above it of 115 with a cap of 4; the end is in its tier."""
    price = some_bulk(("1000000", "125", "19"), (None, "115", "4"))

    assert Decimal(dollars) == cost(price, *quantities)


def test_bulk_basis_points_name_the_tier() -> None:
    found = priced(some_bulk(("1000", "125", None), (None, "100", None)), events("600", "600"))

    assert [(2, Decimal(1000), Decimal("0.01"), Decimal(12))] == [
        (part.level, part.start, part.unit_price, part.amount) for part in found.parts
    ]


def test_a_dynamic_price_multiplies_each_events_quantity_with_the_rate_that_it_brings() -> None:
    """Example 63: 40 at 0.25 and 80 at 0.50."""
    found = priced(Dynamic(USD), events("40", "80", rates=("0.25", "0.5")))

    assert Decimal(50) == found.amount
    assert [("rate", Decimal(40), Decimal(10)), ("rate", Decimal(80), Decimal(40))] == parts(found)


def test_a_dynamic_price_says_each_rate_once() -> None:
    found = priced(Dynamic(USD), events("40", "80", "2", rates=("0.25", "0.5", "0.250")))

    assert [("rate", Decimal(42), Decimal("10.5")), ("rate", Decimal(80), Decimal(40))] == parts(found)


def test_an_event_may_bring_its_amount() -> None:
    """Example 35: 123.45 and 67.8 cents are 191.25 cents, which is booked as 191; no units cost nothing."""
    price = Dynamic(USD, Brings.AMOUNT)

    found = cost(price, "10", "5", rates=("1.2345", "0.678"))

    assert Decimal("1.9125") == found
    assert Decimal("1.91") == round_to_step(found, USD)
    assert Decimal(0) == cost(price, "0", "0", rates=("1.2345", "0.678"))


@pytest.mark.parametrize("brings", Brings)
def test_an_event_that_brings_nothing_is_refused_by_name(brings: Brings) -> None:
    with pytest.raises(ValueError, match=f"^event e2 brings no {brings.value.lower()}$"):
        cost(Dynamic(USD, brings), "1", "2", "3", rates=("1", None, "1"))


def test_an_event_that_brings_nothing_costs_the_default_where_there_is_one() -> None:
    assert Decimal("7") == cost(Dynamic(USD, default_rate=Decimal(3)), "1", "2", rates=("1", None))


def test_a_price_of_events_cannot_be_told_from_a_total() -> None:
    with pytest.raises(ValueError, match="reads the events themselves"):
        amount_of(a_percentage("1"), Used(Decimal(100)))


def test_a_discount_and_a_maximum_go_around_a_price_of_events() -> None:
    """Example 21 less 10 %: 21.00 is 18.90; and at most 20."""
    price = a_percentage("1.3", "2")

    assert Decimal("18.90") == cost(Discounted(USD, price, percent=Decimal(10)), *FOUR)
    assert Decimal(20) == cost(Bounded(USD, price, maximum=Decimal(20)), *FOUR)


@pytest.mark.parametrize(
    ("price", "fault"),
    [
        (a_percentage("-1"), "percent: must be zero or more"),
        (a_percentage("1", "-0.01"), "fixed: must be zero or more"),
        (a_percentage("1", free_events="-1"), "free_events: must be zero or more"),
        (a_percentage("1", free_events="1.5"), "free_events must be a whole number"),
        (a_percentage("1", free_amount="-1"), "free_amount: must be zero or more"),
        (a_percentage("1", minimum="-1"), "minimum: must be zero or more"),
        (a_percentage("1", maximum="-1"), "maximum: must be zero or more"),
        (a_percentage("1", minimum="2", maximum="1.99"), "minimum must not be above maximum"),
        (a_percentage("1", "2", free_events="2", free_amount="0.5", minimum="2", maximum="2"), None),
        (a_bps("-1"), "bps: must be zero or more"),
        (a_bps("1", "-1"), "cap: must be zero or more"),
        (a_bps("0", "0"), None),
        (some_bulk(), "tiers: a tier list has at least one tier"),
        (some_bulk(("10", "1", None)), "tiers: the last tier must be open-ended"),
        (
            some_bulk(("9", "1", None), ("5", "1", None), (None, "1", None)),
            "tiers: tier 2 must end above 9, where it begins",
        ),
        (some_bulk(("10", "1", None), (None, "-1", None)), "tiers[1].bps: must be zero or more"),
        (some_bulk(("10", "1", "-1"), (None, "1", None)), "tiers[0].cap: must be zero or more"),
        (some_bulk(("10", "1", "1"), (None, "1", None)), None),
        (Dynamic(USD, default_rate=Decimal(-1)), "default_rate: must be zero or more"),
        (Dynamic(USD), None),
    ],
)
def test_what_is_wrong_with_a_price_is_named(price: AnyPrice, fault: str | None) -> None:
    assert fault == fault_of_price(price)
