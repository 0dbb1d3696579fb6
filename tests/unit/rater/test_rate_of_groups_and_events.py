"""Charges at prices that read groups or events: what is counted over the period, in slices, over price changes."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from itertools import pairwise
from typing import Any

import pytest

from builders import to_json
from penstock.kernel.charge import Charge
from penstock.kernel.meter import Aggregation
from penstock.kernel.money import USD
from penstock.kernel.price import (
    AnyPrice,
    Brings,
    Dynamic,
    EachGroup,
    LargestGroup,
    Matrix,
    PriceInterval,
    ScaledGroups,
)
from penstock.kernel.quantity_terms import Operation, QuantityConversion, QuantityTerms
from penstock.kernel.window import Span
from penstock.rater.price_answer import price_anything
from penstock.rater.rate import EVENTS_LISTED_MAX
from unit.rater.eventful import a_bps, a_percentage, some_bulk
from unit.rater.grouped import REGION, between, cells, factors
from unit.rater.rating import JUNE, Used, an_interval, charged, graduated_usd, june, usd

MATRIX = Matrix(USD, REGION, cells(("west", "2.00")), Decimal("3.00"))
ALLOCATION = Matrix(USD, REGION, (), Decimal(2), Decimal(20))
TIERS = graduated_usd(("60", "0.50"), (None, "0.10"))
HALF = june(15)


def halves(first: AnyPrice, second: AnyPrice, **fields: object) -> list[PriceInterval]:
    """One price until the 15th of June, another from then on."""
    return [
        an_interval(first, Span(JUNE.start, HALF), **fields),
        an_interval(second, Span(HALF, JUNE.end), **fields),
    ]


def used(day: int, value: str, region: str | None = None, **fields: Any) -> Used:
    return Used(june(day), value, {} if region is None else {"region": region}, **fields)


def amounts(charges: tuple[Charge, ...]) -> list[str]:
    for charge in charges:
        answer = price_anything(to_json(charge))
        assert (answer.priced.amount, answer.amount) == (charge.alternatives[0].exact, charge.list_amount)
    return [str(charge.list_amount) for charge in charges]


def slices(charge: Charge) -> list[tuple[int, str, str]]:
    """The day on which each begins, its units, its amount."""
    return [(s.span.start.day, str(s.quantity), str(s.amount)) for s in charge.alternatives[0].slices]


WEST_80_EAST_40 = [used(3, "50", "west"), used(4, "40", "east"), used(20, "30", "west")]
A_70_B_50 = [used(2, "70", "a"), used(2, "50", "b")]


@pytest.mark.parametrize(
    ("price", "events", "amount"),
    [
        pytest.param(MATRIX, WEST_80_EAST_40, "280.00", id="example 50"),
        pytest.param(ALLOCATION, WEST_80_EAST_40, "200.00", id="example 56"),
        pytest.param(EachGroup(USD, TIERS, REGION), A_70_B_50, "56.00", id="example 57"),
        pytest.param(LargestGroup(USD, TIERS, REGION), A_70_B_50, "31.00", id="the larger half of example 57"),
        pytest.param(
            ScaledGroups(USD, usd("0.10"), REGION, factors(("west", "1.5"))), WEST_80_EAST_40, "16.00", id="example 61"
        ),
        pytest.param(
            EachGroup(USD, between(usd("0.10"), "6", "6.50"), REGION), A_70_B_50, "12.50", id="like example 62"
        ),
        pytest.param(
            a_percentage("1.3", "2", free_events="3", free_amount="250"),
            [used(day, value) for day, value in ((2, "50"), (3, "100"), (9, "250"), (20, "400"))],
            "11.15",
            id="example 24",
        ),
        pytest.param(a_bps("25", "25"), [used(2, "20000"), used(3, "100")], "25.25", id="example 67"),
        pytest.param(
            some_bulk(("1000000", "125", "19"), (None, "115", "4")),
            [used(2, "600000"), used(3, "600000")],
            "8.00",
            id="example 68",
        ),
        pytest.param(
            Dynamic(USD, default_rate=Decimal(0)),
            [used(2, "40", numbers={"rate": "0.25"}), used(3, "80", numbers={"rate": "0.5"}), used(4, "9")],
            "50.00",
            id="example 63, with an event that brings nothing",
        ),
        pytest.param(
            Dynamic(USD, Brings.AMOUNT, property="cents"),
            [used(2, "1", numbers={"cents": "123.45"}), used(3, "1", numbers={"cents": "67.8"})],
            "191.25",
            id="example 35, before it is rounded in cents",
        ),
    ],
)
def test_what_is_used_is_charged_whatever_cuts_it(price: AnyPrice, events: list[Used], amount: str) -> None:
    """Worked examples of SURFACE.md."""
    assert amounts(charged([an_interval(price)], events)) == [amount]
    assert amounts(charged([an_interval(price)], events, [june(3), june(10), june(25)])) == [amount]


def test_each_pricing_group_has_a_charge_and_the_price_reads_groups_within_it() -> None:
    intervals = [
        an_interval(MATRIX, group_keys=("model",), group_values=(("model", model),)) for model in ("small", "large")
    ]
    events = [
        Used(june(2), "10", {"model": "small", "region": "west"}),
        Used(june(3), "1", {"model": "large", "region": "west"}),
        Used(june(3), "1", {"model": "large"}),
        Used(june(3), "100", {"model": "other"}),
    ]

    charges = charged(intervals, events)

    assert [(c.group_values[0][1], c.quantity, a) for c, a in zip(charges, amounts(charges), strict=True)] == [
        ("small", Decimal(10), "20.00"),
        ("large", Decimal(2), "5.00"),
    ]


def test_a_pricing_group_key_may_be_a_key_of_the_matrix_too() -> None:
    interval = an_interval(MATRIX, group_keys=REGION, group_values=(("region", "west"),))

    assert amounts(charged([interval], WEST_80_EAST_40)) == ["160.00"]


def test_an_allocation_is_used_up_once_in_a_period_whatever_the_price_does() -> None:
    """20 units are free: 15 of the first half and 5 of the second, in the order of the cells."""
    first, second = (Matrix(USD, REGION, (), Decimal(each), Decimal(20)) for each in (2, 5))

    charges = charged(halves(first, second), [used(2, "15", "west"), used(20, "12", "west")])

    assert amounts(charges) == ["0.00", "35.00"]
    [group] = charges[1].alternatives[0].groups
    assert (group.values, group.before, group.quantity) == ((("region", "west"),), Decimal(15), Decimal(12))


def test_free_events_are_counted_over_the_period() -> None:
    """Three events are free: two before the price change, one after it."""
    first, second = a_percentage("1", "0", free_events="3"), a_percentage("2", "0", free_events="3")
    days = (2, 3, 20, 21)

    charges = charged(halves(first, second), [used(day, "100") for day in days])

    assert amounts(charges) == ["0.00", "2.00"]
    events = charges[1].alternatives[0].events
    assert events is not None
    assert (events.count, events.before, [event.at.day for event in events.listed]) == (4, 2, list(days))


def test_a_price_change_between_a_quantity_and_events_forgets_nothing() -> None:
    """What was used by quantity are events for the next price, and the other way round."""
    events = [used(2, "100"), used(3, "100"), used(20, "100"), used(21, "100")]
    percentage = a_percentage("1", "0", free_events="3")

    assert amounts(charged(halves(usd("0.5"), percentage), events)) == ["100.00", "1.00"]
    assert amounts(charged(halves(percentage, graduated_usd(("300", "1"), (None, "2"))), events)) == [
        "0.00",
        "300.00",
    ]
    assert amounts(charged(halves(MATRIX, percentage), events)) == ["600.00", "1.00"]


def test_two_dynamic_prices_read_a_property_each() -> None:
    prices = (Dynamic(USD, default_rate=Decimal(0), property=name) for name in ("old", "new"))
    events = [used(day, "10", numbers={"old": "1", "new": "3"}) for day in (2, 20)]

    charges = charged(halves(*prices), events)

    assert amounts(charges) == ["10.00", "30.00"]
    sources = [charge.alternatives[0].events for charge in charges]
    assert [events.source.numbers for events in sources if events and events.source] == [("old",), ("new",)]


def test_a_slice_is_what_the_running_amount_grew_by_even_where_a_tier_turns() -> None:
    """600,000 cost 19; with 600,000 more the second tier prices both at 4."""
    bulk = some_bulk(("1000000", "125", "19"), (None, "115", "4"))

    [charge] = charged([an_interval(bulk)], [used(2, "600000"), used(20, "600000")], [june(10)])

    assert slices(charge) == [(1, "600000", "19.00"), (10, "600000", "-11.00")]


def test_a_group_has_its_minimum_in_the_slice_in_which_it_is_first_used() -> None:
    price = EachGroup(USD, between(usd("0.01"), "5"), REGION)

    [charge] = charged([an_interval(price)], [*A_70_B_50, used(20, "10", "c")], [june(10)])
    first, second = charged(halves(price, price), [*A_70_B_50, used(20, "10", "c"), used(21, "1", "a")])

    assert slices(charge) == [(1, "120", "10.00"), (10, "10", "5.00")]
    assert amounts((first, second)) == ["10.00", "5.00"]
    before = {group.values[0][1]: group.before for group in second.alternatives[0].groups}
    assert before == {"a": Decimal(70), "b": Decimal(50), "c": None}


def test_usage_where_no_price_is_in_force_counts_in_no_counter_and_stands_in_no_source() -> None:
    price = a_percentage("1", "0", free_events="2")
    spans = [Span(JUNE.start, june(5)), Span(june(10), JUNE.end)]

    charges = charged([an_interval(price, span) for span in spans], [used(day, "100") for day in (2, 7, 20, 21)])

    assert amounts(charges) == ["0.00", "1.00"]
    events = charges[1].alternatives[0].events
    assert events is not None
    assert events.source is not None
    assert (events.source.spans, events.count) == (tuple(spans), 3)


@pytest.mark.parametrize(
    ("aggregation", "quantity", "amount", "days"),
    [
        (Aggregation.MAX, "12", "31.00", [20]),
        (Aggregation.LATEST, "8", "21.00", [20]),
        (Aggregation.UNIQUE, "4", "10.00", [1, 10, 20]),
    ],
)
def test_each_combination_of_values_has_its_own_figure_of_a_metric_that_does_not_add_up(
    aggregation: Aggregation, quantity: str, amount: str, days: list[int]
) -> None:
    events = [used(2, "5", "west"), used(11, "3", "west"), used(12, "7", "east"), used(21, "5", "east")]

    [charge] = charged([an_interval(MATRIX)], events, [june(10), june(20)], aggregation)

    assert str(charge.quantity) == quantity
    assert amounts((charge,)) == [amount]
    assert [day for day, _, _ in slices(charge)] == days


@pytest.mark.parametrize("aggregation", [Aggregation.UNIQUE, Aggregation.MAX])
def test_a_price_of_groups_leaves_the_figure_of_the_quantity_before_it_alone(aggregation: Aggregation) -> None:
    """One distinct value in two regions is one value; the greatest of two regions is one figure."""
    events = [used(day, "5", region) for day in (2, 20) for region in ("west", "east")]

    first, second = charged(halves(usd("1"), MATRIX), events, (), aggregation)
    figure = 1 if aggregation is Aggregation.UNIQUE else 5

    assert (first.quantity, second.quantity) == (Decimal(figure), Decimal(2 * figure))
    assert amounts((first, second)) == [f"{figure}.00", f"{5 * figure}.00"]
    [without, *_] = second.alternatives[0].groups
    assert (without.values, without.before) == ((("region", None),), Decimal(figure))


def test_what_was_used_before_without_groups_is_one_with_usage_of_no_region_since() -> None:
    """Else the charge would list a group twice, and could not be priced again from its explanation."""
    charges = charged(halves(usd("1"), MATRIX), [used(2, "5"), used(20, "7")], (), Aggregation.MAX)

    assert amounts(charges) == ["5.00", "21.00"]
    assert [group.values for group in charges[1].alternatives[0].groups] == [(("region", None),)]


def test_tiers_go_on_with_converted_units_behind_a_price_that_was_told_what_was_counted() -> None:
    """10,240 MB are 10 GB; a price of groups is told MB, and the tiers after it go on from 20 GB."""
    terms = QuantityTerms(QuantityConversion(Decimal(1024), Operation.DIVIDE))
    prices = [graduated_usd(("100", "1.00"), (None, "0.50")), EachGroup(USD, usd("0.001"), REGION)]
    thirds = [Span(a, b) for a, b in pairwise([JUNE.start, june(8), HALF, JUNE.end])]
    intervals = [
        an_interval(price, span, quantity_terms=terms)
        for price, span in zip([*prices, prices[0]], thirds, strict=True)
    ]

    charges = charged(intervals, [used(day, "10240", "west") for day in (2, 10, 20)])

    assert amounts(charges) == ["10.00", "10.24", "10.00"]
    assert [str(charge.alternatives[0].counter) for charge in charges] == ["0", "10240", "20"]


def test_events_are_priced_by_their_own_time_to_the_microsecond() -> None:
    prices = a_bps("100", "1"), a_bps("100", "2")
    events = [Used(HALF - timedelta(microseconds=1), "1000"), Used(HALF, "1000")]

    assert amounts(charged(halves(*prices), events)) == ["1.00", "2.00"]


def test_more_events_than_are_kept_are_named_by_their_source_alone() -> None:
    minute = timedelta(minutes=1)
    events = [Used(june(1) + n * minute, "100") for n in range(EVENTS_LISTED_MAX + 1)]

    [few] = charged([an_interval(a_bps("100"))], events[1:])
    [many] = charged([an_interval(a_bps("100"))], events)

    listed, counted = few.alternatives[0].events, many.alternatives[0].events
    assert listed is not None
    assert counted is not None
    assert (listed.count, len(listed.listed)) == (EVENTS_LISTED_MAX, EVENTS_LISTED_MAX)
    assert (counted.count, counted.listed, counted.source is not None) == (EVENTS_LISTED_MAX + 1, (), True)
    assert str(many.list_amount) == "1001.00"
