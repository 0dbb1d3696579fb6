"""Quantity terms: converted and rounded once, over the period's running total, so that every part adds up."""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.kernel.charge import Charge
from penstock.kernel.contract import Specifier
from penstock.kernel.quantity import exact
from penstock.kernel.quantity_terms import (
    Operation,
    QuantityConversion,
    QuantityRounding,
    QuantityTerms,
    RoundingMethod,
)
from penstock.kernel.window import Span
from penstock.rater.definitions import Product, ProductUpdate
from penstock.rater.priced_quantity import priced_between, priced_quantity
from penstock.rater.pricing.models import amount_between
from penstock.rater.rate_card import resolve
from unit.rater.rating import (
    JUNE,
    LONG_AGO,
    Used,
    a_multiplier,
    a_product,
    a_rate,
    an_interval,
    charged,
    graduated_usd,
    june,
    some_terms,
    usd,
)


def divided_by(factor: str) -> QuantityConversion:
    return QuantityConversion(Decimal(factor), Operation.DIVIDE)


def times(factor: str) -> QuantityConversion:
    return QuantityConversion(Decimal(factor), Operation.MULTIPLY)


def to_places(places: int, method: str) -> QuantityRounding:
    return QuantityRounding(places, RoundingMethod(method))


@pytest.mark.parametrize(
    ("total", "conversion", "rounding", "priced"),
    [
        ("1500", divided_by("1024"), to_places(0, "ROUND_UP"), "2"),  # example 80
        ("1500", divided_by("1024"), to_places(2, "ROUND_HALF_UP"), "1.46"),
        ("1500", divided_by("1024"), to_places(2, "ROUND_UP"), "1.47"),
        ("1500", divided_by("1024"), to_places(0, "ROUND_DOWN"), "1"),
        ("1500", divided_by("1024"), None, "1.46484375"),
        ("1", divided_by("3"), None, "0.333333333333"),  # 12 digits, as every quantity
        ("2", divided_by("3"), None, "0.666666666667"),
        ("-2", divided_by("3"), None, "-0.666666666667"),
        ("3.2", None, to_places(0, "ROUND_UP"), "4"),  # example 39
        ("2.5", None, to_places(0, "ROUND_HALF_UP"), "3"),
        ("-2.5", None, to_places(0, "ROUND_HALF_UP"), "-3"),
        ("-3.2", None, to_places(0, "ROUND_UP"), "-4"),
        ("-3.9", None, to_places(0, "ROUND_DOWN"), "-3"),
        ("-0.4", None, to_places(0, "ROUND_DOWN"), "0"),
        ("0.5", times("100"), None, "50"),
        ("0.000000000001", times("0.000001"), to_places(0, "ROUND_UP"), "1"),
        ("5.000000000001", divided_by("5"), to_places(0, "ROUND_UP"), "2"),  # the quotient has more than 12 digits
        ("4.999999999999", divided_by("10"), to_places(0, "ROUND_HALF_UP"), "0"),  # rounded once: not by way of 0.5
        ("0", divided_by("1024"), to_places(0, "ROUND_UP"), "0"),
        ("12345678901234567890123456.123456789012", None, None, "12345678901234567890123456.123456789012"),
    ],
)
def test_a_total_is_converted_exactly_and_then_rounded_once(
    total: str, conversion: QuantityConversion | None, rounding: QuantityRounding | None, priced: str
) -> None:
    assert str(priced_quantity(Decimal(total), QuantityTerms(conversion, rounding))) == priced


QUANTITIES = st.decimals(-(10**9), 10**9, places=6)
TERMS = st.builds(
    QuantityTerms,
    st.none()
    | st.builds(
        QuantityConversion, st.decimals(Decimal("0.001"), 5_000, places=3), st.sampled_from(Operation), st.none()
    ),
    st.none() | st.builds(QuantityRounding, st.integers(0, 12), st.sampled_from(RoundingMethod)),
)


@given(QUANTITIES, TERMS)
def test_what_rounding_adds_is_less_than_one_step_and_at_most_half_where_it_is_to_the_nearest(
    total: Decimal, terms: QuantityTerms
) -> None:
    factor = Fraction(1) if terms.conversion is None else Fraction(terms.conversion.conversion_factor)
    divides = terms.conversion is not None and terms.conversion.operation is Operation.DIVIDE
    true = Fraction(total) / factor if divides else Fraction(total) * factor
    rounding = terms.rounding or to_places(12, "ROUND_HALF_UP")
    step, method = Fraction(1, 10**rounding.decimal_places), rounding.rounding_method

    added = abs(Fraction(priced_quantity(total, terms))) - abs(true)

    assert {
        RoundingMethod.ROUND_UP: 0 <= added < step,
        RoundingMethod.ROUND_DOWN: -step < added <= 0,
        RoundingMethod.ROUND_HALF_UP: -step / 2 < added <= step / 2,
    }[method]


@given(st.lists(QUANTITIES, min_size=1), st.lists(QUANTITIES), TERMS)
def test_a_total_divided_in_any_way_comes_to_the_same(
    parts: list[Decimal], earlier: list[Decimal], terms: QuantityTerms
) -> None:
    begun = sum(earlier, Decimal(0))
    running = [sum(parts[: place + 1], Decimal(0)) for place in range(len(parts))]

    priced = priced_between(begun, running, terms)

    assert priced[-1] + priced_quantity(begun, terms) == priced_quantity(begun + running[-1], terms)


GB = QuantityTerms(divided_by("1024"), to_places(0, "ROUND_UP"))


def test_a_charge_is_for_the_converted_quantity_and_tells_what_was_counted() -> None:
    """Example 80: 1500 MB are 1.46 GB, which are 2; at 0.10 that is 0.20."""
    (charge,) = charged([an_interval(usd("0.10"), quantity_terms=GB)], [Used(june(3), "1500")])

    assert (str(charge.quantity), str(charge.list_amount)) == ("2", "0.20")
    assert charge.metered is not None
    assert (str(charge.metered.quantity), charge.metered.terms) == ("1500", GB)


def test_slices_of_a_converted_quantity_are_differences_of_the_running_figure() -> None:
    events = [Used(june(3), "1000"), Used(june(10), "24"), Used(june(20), "1")]
    (charge,) = charged([an_interval(usd("0.10"), quantity_terms=GB)], events, cuts=[june(5), june(15)])

    slices = charge.alternatives[0].slices
    assert [(s.span.start, str(s.quantity), str(s.amount)) for s in slices] == [
        (june(1), "1", "0.10"),  # 1000 MB begin the first GB, and 24 more fill it
        (june(15), "1", "0.10"),
    ]


def test_a_price_change_goes_on_from_the_units_that_were_begun() -> None:
    """1500 MB at 0.10 begin two units; 500 more still lie in the second, so that none is begun at 0.20."""
    intervals = [
        an_interval(usd("0.10"), Span(JUNE.start, june(15)), quantity_terms=GB),
        an_interval(usd("0.20"), Span(june(15), JUNE.end), quantity_terms=GB),
    ]

    found = charged(intervals, [Used(june(3), "1500"), Used(june(20), "500"), Used(june(21), "100")])

    assert [(str(c.quantity), str(c.list_amount)) for c in found] == [("2", "0.20"), ("1", "0.20")]
    assert charged(intervals, [Used(june(3), "1500"), Used(june(20), "500")])[1].quantity == 0


def test_tiers_count_converted_units_also_behind_a_change_of_the_conversion() -> None:
    """Two units before the change, and three behind it: the first three at 0.10, two at 0.01."""
    tiers = graduated_usd(("3", "0.10"), (None, "0.01"))
    half_up = QuantityTerms(divided_by("1000"), to_places(0, "ROUND_HALF_UP"))
    intervals = [
        an_interval(tiers, Span(JUNE.start, june(15)), quantity_terms=GB),
        an_interval(tiers, Span(june(15), JUNE.end), quantity_terms=half_up),
    ]

    first, second = charged(intervals, [Used(june(3), "1500"), Used(june(20), "3000")])

    assert (str(first.quantity), str(second.quantity)) == ("2", "3")  # 4500 are 5 of the second terms, 1500 were 2
    assert (first.list_amount, second.list_amount) == (Decimal("0.20"), Decimal("0.12"))


@given(st.lists(st.tuples(st.integers(1, 28), st.decimals(0, 10_000, places=3)), max_size=8), TERMS)
def test_what_a_charge_tells_is_enough_to_come_to_its_amount_again(
    used: list[tuple[int, Decimal]], terms: QuantityTerms
) -> None:
    price = graduated_usd(("5", "0.13"), (None, "0.07"))
    intervals = [
        an_interval(price, Span(JUNE.start, june(9)), quantity_terms=terms),
        an_interval(usd("0.11"), Span(june(9), JUNE.end), quantity_terms=terms),
    ]

    for charge in charged(intervals, [Used(june(day), str(value)) for day, value in used], cuts=[june(4), june(20)]):
        told = msgspec.json.decode(msgspec.json.encode(charge), type=Charge)

        assert replayed(told) == charge.alternatives[0].exact
        assert sum(s.quantity for s in told.alternatives[0].slices) == charge.quantity


@exact
def replayed(charge: Charge) -> Decimal:
    listed, quantity = charge.alternatives[0], charge.quantity
    if charge.metered is not None:
        [quantity] = priced_between(charge.metered.counter, [charge.metered.quantity], charge.metered.terms)
    return amount_between(listed.counter, listed.counter + quantity, listed.price).amount


def an_update(starting_at: datetime, **changes: Any) -> ProductUpdate:
    return ProductUpdate(starting_at, LONG_AGO, "key-1", **changes)


def resolved(product: Product, *overrides: Any) -> list[tuple[datetime, str, Any, QuantityTerms]]:
    found = resolve(some_terms(*overrides), JUNE, [a_rate()], {"tokens": product})
    return [(i.span.start, i.product_name, i.price, i.quantity_terms) for i in found]


def test_a_product_is_converted_as_its_updates_say_when() -> None:
    updates = (an_update(june(20), quantity_conversion=None), an_update(june(10), quantity_rounding=GB.rounding))
    product = a_product(quantity_conversion=GB.conversion, updates=updates)

    assert [(start, terms) for start, _, _, terms in resolved(product)] == [
        (june(1), QuantityTerms(GB.conversion)),
        (june(10), GB),
        (june(20), QuantityTerms(None, GB.rounding)),
    ]


def test_another_name_alone_divides_no_charge() -> None:
    product = a_product(updates=(an_update(june(10), name="Words"), an_update(LONG_AGO, name="Letters")))

    assert [(start, name) for start, name, _, _ in resolved(product)] == [(june(1), "Letters")]


def test_an_override_acts_on_a_product_while_it_has_the_tag() -> None:
    product = a_product(updates=(an_update(june(10), tags=("llm",)),))
    half = a_multiplier("half", "0.5", specifiers=(Specifier(product_tags=("llm",)),))

    assert [(start, price) for start, _, price, _ in resolved(product, half)] == [
        (june(1), usd("0.05")),
        (june(10), usd("0.025")),
    ]


def test_of_two_updates_from_one_instant_on_the_later_one_holds() -> None:
    product = a_product(updates=(an_update(june(10), name="A"), an_update(june(10), name="B")))

    assert (product.at(june(9)).name, product.at(june(10)).name) == ("Tokens", "B")
    assert product.at(june(10) - timedelta(microseconds=1)).name == "Tokens"
