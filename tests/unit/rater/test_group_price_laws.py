"""Laws of the prices of groups, and of prices around prices."""

from __future__ import annotations

from decimal import Decimal
from random import Random

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from penstock.kernel.money import USD
from penstock.kernel.price import (
    AnyPrice,
    EachGroup,
    GroupValues,
    LargestGroup,
    Matrix,
    MatrixCell,
    ScaledGroups,
)
from penstock.kernel.quantity import exact
from penstock.rater.pricing.models import amount_of
from penstock.rater.pricing.used import Used
from unit.rater.grouped import REGION, between, cells, factors
from unit.rater.rating import graduated_usd, usd

quantities = st.decimals(min_value=-(10**6), max_value=10**9, places=6)
values = st.sampled_from([None, "a", "b", "c"])
groups_of_two = st.tuples(st.tuples(st.just("region"), values), st.tuples(st.just("size"), values))
used_groups = st.dictionaries(groups_of_two, quantities)
CELLS = (MatrixCell(("a", "b"), Decimal(2)), MatrixCell((None, "a"), Decimal(3)))
GRID = Matrix(USD, ("size", "region"), CELLS, Decimal(1))
TIERS = graduated_usd(("10", "1"), ("1000", "0.5"), (None, "0.3"))
MODELS: tuple[AnyPrice, ...] = (
    GRID,
    msgspec.structs.replace(GRID, allocation=Decimal(50)),
    EachGroup(USD, TIERS, REGION),
    EachGroup(USD, between(TIERS, "5", "600"), ("size",)),
    LargestGroup(USD, TIERS, REGION),
    ScaledGroups(USD, TIERS, REGION, factors(("a", "1.5"), (None, "0"))),
    between(GRID, "5", "600"),
)


@given(used_groups, st.randoms())
def test_the_order_of_the_groups_changes_nothing(groups: dict[GroupValues, Decimal], random: Random) -> None:
    shuffled = list(groups.items())
    random.shuffle(shuffled)

    for price in MODELS:
        assert amount_of(price, Used(by_group=groups)) == amount_of(price, Used(by_group=dict(shuffled)))


@given(used_groups)
@exact
def test_the_parts_sum_to_the_amount(groups: dict[GroupValues, Decimal]) -> None:
    for price in MODELS:
        priced = amount_of(price, Used(by_group=groups))

        assert priced.amount == sum((part.amount for part in priced.parts), Decimal(0))
        if isinstance(price, Matrix) and not price.allocation:
            assert sum(groups.values()) == sum(part.quantity for part in priced.parts)


@given(used_groups)
def test_a_unit_price_for_each_group_is_that_price_for_all(groups: dict[GroupValues, Decimal]) -> None:
    used = Used(by_group=groups)

    assert amount_of(usd("0.07"), used).amount == amount_of(EachGroup(USD, usd("0.07"), REGION), used).amount


@given(used_groups)
def test_a_matrix_of_one_price_is_that_unit_price(groups: dict[GroupValues, Decimal]) -> None:
    used = Used(by_group=groups)
    unit_price = amount_of(usd("0.07"), used).amount

    assert unit_price == amount_of(Matrix(USD, REGION, (), Decimal("0.07")), used).amount
    assert unit_price == amount_of(Matrix(USD, REGION, cells(("a", "0.07")), Decimal("0.07")), used).amount


@given(used_groups)
def test_no_bounds_and_factors_of_one_change_nothing(groups: dict[GroupValues, Decimal]) -> None:
    used = Used(by_group=groups)

    for price in MODELS:
        assert amount_of(price, used) == amount_of(between(price), used)
        assert amount_of(price, used) == amount_of(ScaledGroups(USD, price, REGION, factors(("a", "1"))), used)


@given(used_groups, st.decimals(min_value=0, max_value=10**9, places=6))
@exact
def test_an_allocation_takes_units_from_cells_and_never_money_back(
    groups: dict[GroupValues, Decimal], allocation: Decimal
) -> None:
    """In a matrix of one price what is left to pay are the units beyond the allocation."""
    used = {group: abs(quantity) for group, quantity in groups.items()}
    price = Matrix(USD, REGION, cells(("a", "2"), ("b", "2")), Decimal(2), allocation)

    beyond = max(sum(used.values(), Decimal(0)) - allocation, Decimal(0))

    assert 2 * beyond == amount_of(price, Used(by_group=used)).amount
