"""What holds for every price that reads events, whatever its parameters and the events are."""

from __future__ import annotations

import random
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.kernel.metered_event import UsedEvent
from penstock.kernel.money import USD
from penstock.kernel.price import Bps, BpsTier, Brings, BulkBps, Dynamic, Percentage, PerUnit, Price
from penstock.kernel.quantity import ZERO, exact
from penstock.rater.pricing.models import amount_of
from penstock.rater.pricing.used import Used
from unit.rater.eventful import a_bps, a_percentage, cost, events, priced, some_bulk
from unit.rater.rating import june

numbers = st.decimals(min_value=0, max_value=10**9, places=6)
signed = st.decimals(min_value=-(10**9), max_value=10**9, places=6)
shares = st.decimals(min_value=0, max_value=1000, places=4)

EVERY_MODEL: tuple[Price, ...] = (
    a_percentage("1.3", "2", free_events="2", free_amount="250", minimum="1", maximum="4"),
    a_percentage("1.3", "2", free_amount="250"),
    a_bps("25", "0.5"),
    some_bulk(("1000", "125", "5"), (None, "100", "4")),
    Dynamic(USD, default_rate=Decimal("0.3")),
    Dynamic(USD, Brings.AMOUNT, Decimal("0.3")),
)


@pytest.mark.parametrize("price", EVERY_MODEL)
@given(quantities=st.lists(st.tuples(signed, st.integers(0, 3)), max_size=8), seed=st.integers())
def test_in_which_order_events_arrive_changes_nothing(
    price: Price, quantities: list[tuple[Decimal, int]], seed: int
) -> None:
    used = [UsedEvent(june(1, hour), f"e{n}", quantity) for n, (quantity, hour) in enumerate(quantities)]
    shuffled = random.Random(seed).sample(used, len(used))

    assert priced(price, tuple(used)) == priced(price, tuple(shuffled))


@given(st.lists(signed, max_size=8), shares)
@exact
def test_a_bare_percentage_is_a_unit_price(quantities: list[Decimal], percent: Decimal) -> None:
    unit_price = PerUnit(USD, percent.scaleb(-2))

    assert amount_of(unit_price, Used(by_event=events(*quantities))).amount == cost(
        Percentage(USD, percent), *quantities
    )


@given(st.lists(signed, max_size=8), shares)
@exact
def test_basis_points_without_a_cap_are_a_unit_price(quantities: list[Decimal], bps: Decimal) -> None:
    expected = amount_of(PerUnit(USD, bps.scaleb(-4)), Used(by_event=events(*quantities))).amount

    assert expected == cost(Bps(USD, bps), *quantities)
    assert expected == cost(BulkBps(USD, (BpsTier(None, bps),)), *quantities)


limits = st.none() | numbers


@st.composite
def percentages(draw: st.DrawFn) -> Percentage:
    ends = sorted(draw(st.tuples(numbers, numbers)))
    free_events = draw(st.none() | st.integers(0, 6))
    return Percentage(
        USD,
        draw(shares),
        draw(numbers),
        None if free_events is None else Decimal(free_events),
        draw(limits),
        draw(st.sampled_from([None, ends[0]])),
        draw(st.sampled_from([None, ends[1]])),
    )


@given(percentages(), st.lists(numbers, max_size=8), st.integers(0, 8), numbers)
@exact
def test_more_free_events_or_a_larger_free_amount_never_cost_more(
    price: Percentage, quantities: list[Decimal], more_events: int, more: Decimal
) -> None:
    def changed(**fields: Decimal | None) -> Decimal:
        values: dict[str, Any] = {name: getattr(price, name) for name in Percentage.__struct_fields__} | fields
        return cost(Percentage(**values), *quantities)

    events_free, amount_free = price.free_events or ZERO, price.free_amount or ZERO

    assert changed(free_events=events_free + more_events) <= changed(free_events=events_free)
    assert changed(free_amount=amount_free + more) <= changed(free_amount=amount_free)


@given(percentages(), st.lists(numbers, min_size=1, max_size=8))
@exact
def test_what_all_events_cost_lies_between_the_minimums_and_the_maximums_of_the_paid_ones(
    price: Percentage, quantities: list[Decimal]
) -> None:
    paid = len(quantities)
    if price.free_events is not None or price.free_amount is not None:
        running = [exact(sum)(quantities[: n + 1], ZERO) for n in range(len(quantities))]
        paid -= sum(
            (price.free_events is None or n < price.free_events)
            and (price.free_amount is None or total < price.free_amount)
            for n, total in enumerate(running)
        )

    total = cost(price, *quantities)

    assert (price.minimum or ZERO) * paid <= total
    assert price.maximum is None or total <= price.maximum * paid
