"""The verb: usage and price intervals become charges, exact, rounded once, with parts that sum."""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.kernel.charge import Charge
from penstock.kernel.meter import Aggregation
from penstock.kernel.money import USD
from penstock.kernel.price import (
    AnyPrice,
    Bounded,
    Discounted,
    Graduated,
    Package,
    PriceInterval,
    TieredPackage,
    Volume,
)
from penstock.kernel.quantity import exact, to_text
from penstock.kernel.window import Span
from penstock.rater.pricing.models import amount_between
from penstock.rater.rate import Metered, source_of
from penstock.rater.unpriced import Unpriced, unpriced
from unit.rater.rating import (
    JUNE,
    Used,
    a_product,
    an_interval,
    charged,
    graduated_usd,
    june,
    rows_of,
    tiers,
    usd,
)

MICROSECOND = timedelta(microseconds=1)


def halves(first: AnyPrice, second: AnyPrice, **fields: object) -> list[PriceInterval]:
    """One price until the 15th of June, another from then on."""
    return [
        an_interval(first, Span(JUNE.start, june(15)), **fields),
        an_interval(second, Span(june(15), JUNE.end), **fields),
    ]


def amounts(charges: tuple[Charge, ...]) -> list[str]:
    return [str(charge.list_amount) for charge in charges]


def test_a_charge_names_what_was_used_and_what_it_costs() -> None:
    (charge,) = charged([an_interval(usd("0.05"), product_tags=("llm",))], [Used(june(3), "30"), Used(june(9), "20")])

    assert (charge.contract_id, charge.product_id, charge.product_name) == ("contract-1", "tokens", "Tokens")
    assert (charge.product_tags, charge.metric_id, charge.group_values) == (("llm",), "metric-1", ())
    assert (charge.span, charge.unit, charge.quantity) == (JUNE, USD, Decimal(50))
    (alternative,) = charge.alternatives
    assert (alternative.kind, alternative.counter, alternative.origin) == ("list", Decimal(0), {"rate_id": "rate-1"})
    assert (alternative.exact, alternative.amount, charge.list_amount) == (
        Decimal("2.5"),
        Decimal("2.50"),
        Decimal("2.50"),
    )


def test_no_usage_no_charge() -> None:
    assert charged([an_interval(usd("0.05"))], [Used(JUNE.end, "5"), Used(JUNE.start - MICROSECOND, "5")]) == ()


def test_a_price_change_splits_usage_to_the_microsecond() -> None:
    turn = june(15)
    events = [Used(turn - MICROSECOND, "10"), Used(turn, "1")]

    first, second = charged(halves(usd("1"), usd("2")), events)

    assert (first.quantity, first.list_amount, first.span.end) == (Decimal(10), Decimal("10.00"), turn)
    assert (second.quantity, second.list_amount, second.span.start) == (Decimal(1), Decimal("2.00"), turn)


def test_a_tier_counter_goes_on_over_a_price_change() -> None:
    """60 units fill most of the first tier of 100; of the next 60, 40 are in it and 20 in the second."""
    prices = graduated_usd(("100", "1"), (None, "0.5")), graduated_usd(("100", "2"), (None, "1"))

    first, second = charged(halves(*prices), [Used(june(3), "60"), Used(june(20), "60")])

    assert (first.alternatives[0].counter, first.list_amount) == (Decimal(0), Decimal("60.00"))
    assert (second.alternatives[0].counter, second.list_amount) == (Decimal(60), Decimal("100.00"))
    assert [(part.level, str(part.quantity)) for part in second.alternatives[0].parts] == [(1, "40"), (2, "20")]


def test_tier_counters_of_two_pricing_groups_and_products_are_apart() -> None:
    price = graduated_usd(("10", "1"), (None, "0"))
    intervals = [
        an_interval(price, product_id=product, group_keys=("model",), group_values=(("model", model),))
        for product in ("tokens", "calls")
        for model in ("small", "large")
    ]
    events = [Used(june(3), "15", {"model": "small"}), Used(june(4), "4", {"model": "large"})]

    charges = charged(intervals, events)

    assert [(c.product_id, c.group_values[0][1], str(c.list_amount)) for c in charges] == [
        ("tokens", "small", "10.00"),
        ("tokens", "large", "4.00"),
        ("calls", "small", "10.00"),
        ("calls", "large", "4.00"),
    ]


def test_usage_without_the_property_is_a_group_of_its_own() -> None:
    interval = an_interval(usd("1"), group_keys=("model",), group_values=(("model", None),))

    (charge,) = charged([interval], [Used(june(3), "2"), Used(june(3), "5", {"model": "small"})])

    assert (charge.group_values, charge.quantity) == ((("model", None),), Decimal(2))


def test_usage_where_no_price_is_in_force_is_not_charged_and_moves_no_counter() -> None:
    price = graduated_usd(("10", "1"), (None, "0"))
    gap = [an_interval(price, Span(JUNE.start, june(10))), an_interval(price, Span(june(20), JUNE.end))]

    charges = charged(gap, [Used(june(5), "6"), Used(june(15), "100"), Used(june(25), "6")])

    assert amounts(charges) == ["6.00", "4.00"]


def test_a_charge_is_rounded_once_half_away_from_zero() -> None:
    """Thirty days of 0.4 cents would vanish if each day were rounded."""
    events = [Used(june(day), "1") for day in range(1, 31)]

    (charge,) = charged([an_interval(usd("0.0045"))], events, cuts=[june(day) for day in range(2, 31)])

    assert (str(charge.list_amount), charge.alternatives[0].exact) == ("0.14", Decimal("0.135"))
    assert len(charge.alternatives[0].slices) == 30
    assert sum(piece.amount for piece in charge.alternatives[0].slices) == Decimal("0.14")


def test_slices_cut_the_charge_where_told_and_leave_out_the_empty_ones() -> None:
    cuts = [june(5), june(10), june(15)]

    (charge,) = charged([an_interval(usd("0.015"))], [Used(june(2), "1"), Used(june(12), "1")], cuts)

    assert [(s.span, s.quantity, str(s.amount)) for s in charge.alternatives[0].slices] == [
        (Span(JUNE.start, june(5)), Decimal(1), "0.02"),
        (Span(june(10), june(15)), Decimal(1), "0.01"),
    ]


def test_tier_parts_sum_to_the_rounded_charge() -> None:
    price = graduated_usd(("1", "0.005"), ("2", "0.005"), (None, "0.005"))

    (charge,) = charged([an_interval(price)], [Used(june(2), "3")])

    assert [str(part.amount) for part in charge.alternatives[0].parts] == ["0.01", "0.00", "0.01"]
    assert charge.list_amount == Decimal("0.02")


def test_a_negative_total_is_charged_per_unit_and_free_in_tiers() -> None:
    events = [Used(june(2), "5"), Used(june(3), "-8")]

    (flat,) = charged([an_interval(usd("0.05"))], events)
    (tiered,) = charged([an_interval(graduated_usd((None, "0.05")))], events, cuts=[june(3)])

    assert (flat.quantity, str(flat.list_amount)) == (Decimal(-3), "-0.15")
    assert tiered.list_amount == 0
    assert [str(piece.amount) for piece in tiered.alternatives[0].slices] == ["0.25", "-0.25"]


def test_usage_that_sums_to_zero_is_still_a_charge() -> None:
    (charge,) = charged([an_interval(usd("0.05"))], [Used(june(2), "5"), Used(june(3), "-5")])

    assert (charge.quantity, charge.list_amount, charge.alternatives[0].parts) == (Decimal(0), Decimal(0), ())


def test_numbers_past_any_float_stay_exact() -> None:
    quantity = "99999999999999999999999999.999999999999"

    (charge,) = charged([an_interval(usd("0.01"))], [Used(june(2), quantity)])

    assert to_text(charge.alternatives[0].exact) == "999999999999999999999999.99999999999999"
    assert to_text(charge.list_amount) == "1000000000000000000000000"


@pytest.mark.parametrize(
    ("aggregation", "quantity", "slices"),
    [
        (Aggregation.COUNT, 4, [(1, 2), (2, 1), (3, 1)]),
        (Aggregation.SUM, 17, [(1, 8), (2, 5), (3, 4)]),
        (Aggregation.UNIQUE, 3, [(1, 2), (3, 1)]),
        (Aggregation.MAX, 5, [(3, 5)]),
        (Aggregation.MIN, 3, [(3, 3)]),
        (Aggregation.LATEST, 4, [(3, 4)]),
    ],
)
def test_what_each_metric_bills_and_in_which_slice(
    aggregation: Aggregation, quantity: int, slices: list[tuple[int, int]]
) -> None:
    """Distinct values fall where they were first seen; one figure of the whole falls in the last slice."""
    events = [Used(june(2), "5"), Used(june(3), "3"), Used(june(12), "5"), Used(june(25), "4")]
    thirds = [Span(JUNE.start, june(11)), Span(june(11), june(21)), Span(june(21), JUNE.end)]

    (charge,) = charged([an_interval(usd("1"))], events, [june(11), june(21)], aggregation)

    assert charge.quantity == quantity
    found = [(thirds.index(piece.span) + 1, int(piece.quantity)) for piece in charge.alternatives[0].slices]
    assert found == slices


def test_a_level_is_billed_for_as_long_as_it_stood_whatever_the_price_does() -> None:
    """Two seats from 6 June, one from 26 June; 0.36 an hour each, and half of that from the middle of June."""
    events = [Used(june(6), "2"), Used(june(26), "-1")]

    charges = charged(halves(usd("0.0001"), usd("0.00005")), events, (), Aggregation.TIME_WEIGHTED_SUM)

    day = 86_400
    assert [c.quantity for c in charges] == [9 * 2 * day, (11 * 2 + 5) * day]
    assert [str(c.list_amount) for c in charges] == ["155.52", "116.64"]


def test_a_metric_that_does_not_add_up_begins_anew_with_a_new_price() -> None:
    events = [Used(june(2), "ann"), Used(june(3), "bob"), Used(june(20), "ann")]

    charges = charged(halves(usd("1"), usd("2")), events, aggregation=Aggregation.UNIQUE)

    assert [(c.quantity, str(c.list_amount)) for c in charges] == [(Decimal(2), "2.00"), (Decimal(1), "2.00")]


def test_the_explanation_is_enough_to_compute_the_amount_again() -> None:
    prices = graduated_usd(("100", "0.001"), (None, "0.0005")), usd("0.0007")
    charges = charged(halves(*prices), [Used(june(3), "160.5"), Used(june(20), "33.3")])

    for charge in charges:
        alternative = charge.alternatives[0]
        again, _ = amount_between(alternative.counter, alternative.counter + charge.quantity, alternative.price)
        assert again == alternative.exact


def test_unpriced_usage_is_listed() -> None:
    product = a_product(pricing_group_key=("model",))
    interval = an_interval(
        usd("1"), Span(june(10), JUNE.end), group_keys=("model",), group_values=(("model", "small"),)
    )
    events = [
        Used(june(2), "1", {"model": "small"}),
        Used(june(12), "2", {"model": "small"}),
        Used(june(12), "3", {"model": "other"}),
        Used(june(12), "4"),
    ]
    spans = [Span(JUNE.start, june(10)), interval.span]
    rows = tuple(row for span in spans for row in rows_of(Aggregation.SUM, events, span, ("model",)))

    listed = unpriced([product], [interval], {source_of(interval): Metered(Aggregation.SUM, rows)})

    assert listed == (
        Unpriced("tokens", "Tokens", (("model", "small"),), spans[0], Decimal(1)),
        Unpriced("tokens", "Tokens", (("model", "other"),), spans[1], Decimal(3)),
        Unpriced("tokens", "Tokens", (("model", None),), spans[1], Decimal(4)),
    )


instants = st.integers(0, 30 * 86_400 * 1_000_000 - 1).map(lambda us: JUNE.start + timedelta(microseconds=us))
numbers = st.decimals(min_value=-1000, max_value=10_000, places=6).map(str)
events_used = st.lists(st.builds(Used, at=instants, value=numbers), min_size=1, max_size=12)
cut_sets = st.sets(instants, max_size=6)
price_lists = st.lists(
    st.sampled_from(
        [
            usd("0.0123"),
            usd("0"),
            graduated_usd(("100", "0.015"), ("1000.5", "0.005"), (None, "0.0031")),
            Graduated(USD, tiers(("0.5", "7"), (None, "0.001"))),
            Volume(USD, tiers(("100", "0.015"), (None, "0.0031"))),
            Package(USD, Decimal(50), Decimal("0.335"), Decimal(7)),
            TieredPackage(USD, Decimal(50), tiers(("120", "0.335"), (None, "0.1"))),
            Bounded(USD, usd("0.0123"), Decimal("1.11"), Decimal("2.22")),
            Discounted(USD, graduated_usd(("100", "0.015"), (None, "0.0031")), Decimal(20), Decimal("0.5"), Decimal(3)),
        ]
    ),
    min_size=1,
    max_size=3,
)


def in_force_one_after_another(prices: list[AnyPrice]) -> list[PriceInterval]:
    width = timedelta(days=30) // len(prices)
    edges = [JUNE.start + width * i for i in range(len(prices))]
    return [an_interval(p, Span(a, b)) for p, (a, b) in zip(prices, pairwise([*edges, JUNE.end]), strict=True)]


@given(price_lists, events_used, cut_sets, st.sampled_from(Aggregation))
@exact
def test_cutting_the_period_anywhere_changes_no_charge(
    prices: list[AnyPrice], events: list[Used], cuts: set[datetime], aggregation: Aggregation
) -> None:
    intervals = in_force_one_after_another(prices)

    whole, cut = charged(intervals, events, (), aggregation), charged(intervals, events, cuts, aggregation)

    assert [(c.span, c.quantity, c.list_amount) for c in whole] == [(c.span, c.quantity, c.list_amount) for c in cut]
    assert [c.alternatives[0].parts for c in whole] == [c.alternatives[0].parts for c in cut]


@given(price_lists, events_used, cut_sets, st.sampled_from(Aggregation))
@exact
def test_slices_and_tiers_always_sum_to_their_charge(
    prices: list[AnyPrice], events: list[Used], cuts: set[datetime], aggregation: Aggregation
) -> None:
    for charge in charged(in_force_one_after_another(prices), events, cuts, aggregation):
        listed = charge.alternatives[0]

        assert sum(piece.amount for piece in listed.slices) == listed.amount
        assert sum(piece.quantity for piece in listed.slices) == charge.quantity
        assert sum(part.amount for part in listed.parts) == listed.amount


@given(st.sampled_from([usd("0.0123"), graduated_usd(("100", "0.015"), (None, "0.0031"))]), events_used)
@exact
def test_charges_of_one_price_in_two_intervals_cost_exactly_what_one_interval_costs(
    price: AnyPrice, events: list[Used]
) -> None:
    whole = charged([an_interval(price)], events)
    split = charged(halves(price, price), events)

    assert sum(c.alternatives[0].exact for c in split) == sum(c.alternatives[0].exact for c in whole)
