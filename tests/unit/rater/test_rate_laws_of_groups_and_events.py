"""What holds for charges of every price that reads groups or events, wherever the period is cut and prices change."""

from __future__ import annotations

import random
from datetime import datetime, timedelta
from decimal import Decimal
from itertools import pairwise

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from builders import to_json
from penstock.kernel.charge import Charge
from penstock.kernel.meter import Aggregation
from penstock.kernel.money import USD
from penstock.kernel.price import (
    AnyPrice,
    Brings,
    Discounted,
    Dynamic,
    EachGroup,
    LargestGroup,
    Matrix,
    PriceInterval,
    ScaledGroups,
    Threshold,
    VolumeMinimum,
)
from penstock.kernel.quantity import exact
from penstock.kernel.window import Span
from penstock.rater.price_answer import price_anything
from unit.rater.eventful import a_bps, a_percentage, some_bulk
from unit.rater.grouped import REGION, between, cells, factors
from unit.rater.rating import JUNE, Used, an_interval, charged, graduated_usd, usd

TIERS = graduated_usd(("100", "0.015"), ("1000.5", "0.005"), (None, "0.0031"))
MATRIX = Matrix(USD, REGION, cells(("west", "0.0123"), (None, "0.5")), Decimal("0.031"))
PERCENTAGE = a_percentage("1.3", "0.2", free_events="2", free_amount="250", minimum="0.15", maximum="4")
OF_GROUPS: tuple[AnyPrice, ...] = (
    MATRIX,
    Matrix(USD, ("size", "region"), (), Decimal("0.031"), Decimal(50)),
    EachGroup(USD, between(TIERS, "1.11", "2.22"), REGION),
    LargestGroup(USD, TIERS, ("size",)),
    ScaledGroups(USD, TIERS, REGION, factors(("west", "1.5"), (None, "0"))),
    Discounted(USD, MATRIX, amount=Decimal("0.5"), percent=Decimal(3)),
    VolumeMinimum(USD, EachGroup(USD, TIERS, REGION), (Threshold(Decimal(10), Decimal(3)),)),
)
OF_EVENTS: tuple[AnyPrice, ...] = (
    PERCENTAGE,
    a_bps("25", "0.5"),
    some_bulk(("1000", "125", "5"), (None, "100", "4")),
    Dynamic(USD, default_rate=Decimal("0.3")),
    Dynamic(USD, Brings.AMOUNT, Decimal("0.3"), "cost"),
    between(PERCENTAGE, "1", "3.33"),
    EachGroup(USD, PERCENTAGE, REGION),
    ScaledGroups(USD, a_bps("25", "0.5"), REGION, factors(("west", "1.5"))),
)
OF_A_QUANTITY: tuple[AnyPrice, ...] = (usd("0.0123"), TIERS, between(TIERS, "1.11"))
LINEAR: tuple[AnyPrice, ...] = (
    usd("0.0123"),
    MATRIX,
    a_percentage("1.3", "0.2"),
    a_bps("25", "0.5"),
    Dynamic(USD, default_rate=Decimal("0.3")),
    EachGroup(USD, usd("0.07"), ("size",)),
)

instants = st.integers(0, 30 * 86_400 * 1_000_000 - 1).map(lambda us: JUNE.start + timedelta(microseconds=us))
numbers = st.decimals(min_value=-100, max_value=10_000, places=6).map(str)
regions = st.sampled_from([{}, {"region": "west"}, {"region": "east", "size": "s"}, {"size": "l"}])
brought = st.sampled_from([{}, {"rate": "0.25"}, {"rate": "0.0003", "cost": "7.125"}])
events_used = st.lists(
    st.builds(Used, at=instants, value=numbers, groups=regions, numbers=brought), min_size=1, max_size=10
).map(lambda events: [Used(e.at, e.value, e.groups, id=f"e{n}", numbers=e.numbers) for n, e in enumerate(events)])
cut_sets = st.sets(instants, max_size=5)
price_lists = st.lists(st.sampled_from([*OF_GROUPS, *OF_EVENTS, *OF_A_QUANTITY]), min_size=1, max_size=3)
lists_of_groups = st.lists(st.sampled_from(OF_GROUPS), min_size=1, max_size=2)
SUMS = st.sampled_from([Aggregation.SUM, Aggregation.COUNT])


def in_force_one_after_another(prices: list[AnyPrice]) -> list[PriceInterval]:
    width = timedelta(days=30) // len(prices)
    edges = [JUNE.start + width * i for i in range(len(prices))]
    return [an_interval(p, Span(a, b)) for p, (a, b) in zip(prices, pairwise([*edges, JUNE.end]), strict=True)]


def without_slices(charges: tuple[Charge, ...]) -> list[tuple[object, ...]]:
    return [(c.span, c.quantity, c.alternatives[0].exact, c.alternatives[0].parts) for c in charges]


@given(price_lists, events_used, cut_sets, SUMS)
@exact
def test_cutting_the_period_anywhere_changes_no_charge(
    prices: list[AnyPrice], events: list[Used], cuts: set[datetime], aggregation: Aggregation
) -> None:
    intervals = in_force_one_after_another(prices)

    whole, cut = charged(intervals, events, (), aggregation), charged(intervals, events, cuts, aggregation)

    assert without_slices(whole) == without_slices(cut)


@given(lists_of_groups, events_used, cut_sets, st.sampled_from(Aggregation))
@exact
def test_groups_of_every_metric_are_the_same_however_the_period_is_cut(
    prices: list[AnyPrice], events: list[Used], cuts: set[datetime], aggregation: Aggregation
) -> None:
    intervals = in_force_one_after_another(prices)

    whole, cut = charged(intervals, events, (), aggregation), charged(intervals, events, cuts, aggregation)

    assert without_slices(whole) == without_slices(cut)
    for charge in cut:
        assert sum(piece.amount for piece in charge.alternatives[0].slices) == charge.list_amount


@given(price_lists, events_used, cut_sets, SUMS)
@exact
def test_slices_and_parts_always_sum_to_their_charge_and_each_explanation_comes_to_it_again(
    prices: list[AnyPrice], events: list[Used], cuts: set[datetime], aggregation: Aggregation
) -> None:
    for charge in charged(in_force_one_after_another(prices), events, cuts, aggregation):
        listed = charge.alternatives[0]

        assert sum(piece.amount for piece in listed.slices) == listed.amount
        assert sum(piece.quantity for piece in listed.slices) == charge.quantity
        assert sum(part.amount for part in listed.parts) == listed.amount
        assert msgspec.json.decode(msgspec.json.encode(charge), type=Charge) == charge
        again = price_anything(to_json(charge))
        assert (again.priced.amount, again.amount) == (listed.exact, listed.amount)


@given(price_lists, events_used, cut_sets, SUMS, st.integers())
@exact
def test_in_which_order_events_arrive_changes_nothing(
    prices: list[AnyPrice], events: list[Used], cuts: set[datetime], aggregation: Aggregation, seed: int
) -> None:
    intervals = in_force_one_after_another(prices)
    shuffled = random.Random(seed).sample(events, len(events))

    assert charged(intervals, events, cuts, aggregation) == charged(intervals, shuffled, cuts, aggregation)


@given(st.sampled_from(LINEAR), events_used, SUMS)
@exact
def test_pricing_groups_of_a_linear_price_cost_together_what_one_without_groups_costs(
    price: AnyPrice, events: list[Used], aggregation: Aggregation
) -> None:
    """Before each is rounded."""
    values = sorted({event.groups.get("region") for event in events}, key=str)
    grouped = [an_interval(price, group_keys=REGION, group_values=(("region", value),)) for value in values]

    [whole] = charged([an_interval(price)], events, (), aggregation)
    parts = charged(grouped, events, (), aggregation)

    assert sum(charge.alternatives[0].exact for charge in parts) == whole.alternatives[0].exact


@given(st.sampled_from([*OF_GROUPS, *OF_EVENTS]), events_used, st.integers(1, 4), SUMS)
@exact
def test_the_same_price_in_several_intervals_costs_exactly_what_one_interval_costs(
    price: AnyPrice, events: list[Used], count: int, aggregation: Aggregation
) -> None:
    [whole] = charged([an_interval(price)], events, (), aggregation)
    split = charged(in_force_one_after_another([price] * count), events, (), aggregation)

    assert sum(charge.alternatives[0].exact for charge in split) == whole.alternatives[0].exact
