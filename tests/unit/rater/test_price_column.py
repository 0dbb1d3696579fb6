"""The columnar path is the exact one: `steps_between` is held against what `rate` books, for any price and quantity."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from penstock.kernel.money import CURRENCIES, USD, Unit, round_to_step
from penstock.kernel.price import AnyPrice, Bounded, Discounted, Graduated, Package, PerUnit, Tier, Volume
from penstock.kernel.quantity import ZERO, exact
from penstock.rater.backtest.columns import INT64_BOUND, column
from penstock.rater.backtest.price_column import steps_between
from penstock.rater.pricing.models import amount_between
from unit.rater.rating import graduated_usd

HUGE = Decimal("99999999999999999999999999.999999999999")  # the greatest quantity there is

UNITS = st.sampled_from([USD, CURRENCIES["JPY"], CURRENCIES["KWD"], Unit("tokens", "tokens", 12)])
SMALL = st.decimals(0, 200, places=1)
PRICES = st.one_of(SMALL, st.decimals(0, 3, places=12), st.sampled_from([ZERO, Decimal("0.005"), HUGE]))
QUANTITIES = st.one_of(
    SMALL,
    st.integers(-50, 5_000_000).map(Decimal),
    st.decimals(HUGE.copy_negate(), HUGE, places=12),
    st.decimals(-1, 1, places=12),
    st.sampled_from([ZERO, HUGE, HUGE.copy_negate(), Decimal("1E-12")]),
)


@st.composite
def tier_lists(draw: st.DrawFn) -> tuple[Tier, ...]:
    """Whole ones: ends ascend, and so near to the small quantities that many of these lie on one."""
    ends = sorted(draw(st.sets(st.one_of(SMALL, QUANTITIES).filter(lambda end: end > 0), max_size=4)))
    return tuple(Tier(end, draw(PRICES), draw(PRICES)) for end in [*ends, None])


@st.composite
def prices(draw: st.DrawFn) -> AnyPrice:
    unit, size = draw(UNITS), draw(st.one_of(SMALL, st.decimals(0, 9, places=12)).filter(lambda size: size > 0))
    inner = draw(
        st.one_of(
            st.builds(PerUnit, st.just(unit), PRICES),
            st.builds(Graduated, st.just(unit), tier_lists()),
            st.builds(Volume, st.just(unit), tier_lists()),
            st.builds(Package, st.just(unit), st.just(size), PRICES, st.one_of(st.just(ZERO), SMALL)),
        )
    )
    around: list[AnyPrice] = [Bounded(unit, inner, minimum=Decimal(7)), Discounted(unit, inner, percent=Decimal(15))]
    return draw(st.sampled_from([inner, inner, inner, *around]))


@exact
def one_by_one(price: AnyPrice, starts: list[Decimal], ends: list[Decimal]) -> list[Decimal]:
    """As `rate` rounds a charge between two readings of the counter."""
    return [
        round_to_step(amount_between(start, end, price).amount, price.unit)
        for start, end in zip(starts, ends, strict=True)
    ]


@exact
def by_column(price: AnyPrice, starts: list[Decimal], ends: list[Decimal]) -> list[Decimal]:
    return [Decimal(steps).scaleb(-price.unit.decimals) for steps in steps_between(price, starts, ends)]


@given(prices(), st.lists(st.tuples(st.one_of(st.just(ZERO), QUANTITIES), QUANTITIES), max_size=6))
@example(Graduated(USD, (Tier(None, Decimal("0.005")),)), [(ZERO, Decimal(1)), (Decimal(1), ZERO)])
@example(Graduated(USD, (Tier(None, HUGE, HUGE),)), [(ZERO, ZERO)])
@example(Graduated(USD, (Tier(None, ZERO, HUGE),)), [(ZERO, Decimal(1)), (ZERO, Decimal(-1))])
@example(Package(USD, HUGE, Decimal("0.01"), HUGE), [(ZERO, Decimal(1)), (ZERO, HUGE)])
def test_a_column_is_priced_as_each_of_its_rows_is(price: AnyPrice, rows: list[tuple[Decimal, Decimal]]) -> None:
    starts, ends = [start for start, _ in rows], [end for _, end in rows]

    assert by_column(price, starts, ends) == one_by_one(price, starts, ends)


@pytest.mark.parametrize(
    ("price", "start", "end", "amount"),
    [
        (graduated_usd(("100", "0.10"), ("1000", "0.08"), (None, "0.05")), "0", "2500", "157.00"),
        (graduated_usd(("100", "0.10"), (None, "0.05")), "90", "110", "1.50"),
        (PerUnit(USD, Decimal("0.005")), "0", "1", "0.01"),  # half a cent is a cent
        (PerUnit(USD, Decimal("0.005")), "0", "-1", "-0.01"),
        (PerUnit(CURRENCIES["JPY"], Decimal("0.5")), "0", "3", "2"),
        (PerUnit(CURRENCIES["KWD"], Decimal("0.0005")), "0", "3", "0.002"),
        (Volume(USD, (Tier(Decimal(10), Decimal(1)), Tier(None, Decimal("0.5"), Decimal(2)))), "0", "10.1", "7.05"),
        (Package(USD, Decimal(5), Decimal("0.99"), Decimal(3)), "0", "9", "1.98"),
        (graduated_usd((None, "0.10")), "0", "-5", "0"),  # below zero only a unit price charges
    ],
)
def test_amounts_written_out(price: AnyPrice, start: str, end: str, amount: str) -> None:
    assert by_column(price, [Decimal(start)], [Decimal(end)]) == [Decimal(amount)]


@pytest.mark.parametrize(("bound", "kind"), [(INT64_BOUND - 1, "int64"), (INT64_BOUND, "object")])
def test_a_column_is_in_int64_only_where_it_cannot_overflow(bound: int, kind: str) -> None:
    held: Any = column([1, 2], bound)

    assert held.dtype == kind


def test_neighbours_of_the_int64_bound_are_exact_on_both_sides() -> None:
    """2**60 smallest steps are some 11.5 thousand millions of millions of dollars."""
    price = PerUnit(USD, Decimal("0.01"))
    ends = [Decimal(2**power + offset) for power in range(57, 66) for offset in (-1, 0, 1)]

    assert [steps_between(price, [ZERO], [end]) for end in ends] == [[int(end)] for end in ends]
