"""What a whole column of totals costs, for the models that most rates have: `pricing/models.py` in whole numbers.

Each model is two functions: the greatest number that stands anywhere in its computation, and the amounts.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from decimal import Decimal
from typing import Any, NamedTuple

import numpy as np

from penstock.kernel.price import Graduated, Package, PerUnit, Price, Tier, Volume
from penstock.kernel.quantity import ZERO
from penstock.rater.backtest.columns import Column, Scale


class ColumnModel(NamedTuple):
    """`units` and `prices` are the price's parameters of each kind, which say how fine the column must be.

    `bound` and `amounts` take the price, the greatest total or all of them, in the column's scale. Totals are zero or
    more but for PER_UNIT, and one of zero costs nothing.
    """

    units: Callable[[Any], Iterable[Decimal]]
    prices: Callable[[Any], Iterable[Decimal]]
    bound: Callable[[Any, int, Scale], int]
    amounts: Callable[[Any, Column, int, Scale], Column]


def _ends(price: Graduated | Volume) -> Iterator[Decimal]:
    return (tier.up_to for tier in price.tiers if tier.up_to is not None)


def _tier_prices(price: Graduated | Volume) -> Iterator[Decimal]:
    return itertools.chain.from_iterable((tier.unit_price, tier.flat) for tier in price.tiers)


def _tiers_bound(price: Graduated | Volume, most: int, scale: Scale) -> int:
    """All units at the dearest price, and every flat fee."""
    dearest = max(abs(scale.price(tier.unit_price)) for tier in price.tiers)
    return most * max(dearest, 1) + sum(abs(scale.amount(tier.flat)) for tier in price.tiers)


def _within(tiers: Sequence[Tier], most: int, scale: Scale) -> Iterator[tuple[int, int, Tier]]:
    """Where each tier that some total reaches begins and ends; no end is above `most`, the greatest total."""
    lower = ZERO
    for tier in tiers:
        begin = scale.units(lower)
        if begin and begin >= most:
            return
        yield begin, most if tier.up_to is None else min(scale.units(tier.up_to), most), tier
        lower = lower if tier.up_to is None else tier.up_to


def _graduated(price: Graduated, totals: Column, most: int, scale: Scale) -> Column:
    amounts = np.zeros_like(totals)
    for begin, end, tier in _within(price.tiers, most, scale):
        amounts += (np.clip(totals, begin, max(begin, end)) - begin) * scale.price(tier.unit_price)
        if tier.flat:
            amounts = np.where(totals > begin, amounts + scale.amount(tier.flat), amounts)
    return amounts


def _volume(price: Volume, totals: Column, most: int, scale: Scale) -> Column:
    amounts = np.zeros_like(totals)
    for begin, _, tier in _within(price.tiers, most, scale):
        amounts = np.where(totals > begin, totals * scale.price(tier.unit_price) + scale.amount(tier.flat), amounts)
    return amounts


def _package_bound(price: Package, most: int, scale: Scale) -> int:
    begun = most // scale.units(price.size) + 1
    parameters = scale.units(price.size) + scale.units(price.free)
    return most + parameters + begun * abs(scale.amount(price.package_price))


def _package(price: Package, totals: Column, most: int, scale: Scale) -> Column:
    over = np.maximum(totals - scale.units(price.free), 0)
    amounts: Column = -(-over // scale.units(price.size)) * scale.amount(price.package_price)
    return amounts


COLUMN_MODELS: dict[type[Price], ColumnModel] = {
    PerUnit: ColumnModel(
        units=lambda price: (),
        prices=lambda price: (price.unit_price,),
        bound=lambda price, most, scale: most * max(abs(scale.price(price.unit_price)), 1),
        amounts=lambda price, totals, most, scale: totals * scale.price(price.unit_price),
    ),
    Graduated: ColumnModel(_ends, _tier_prices, _tiers_bound, _graduated),
    Volume: ColumnModel(_ends, _tier_prices, _tiers_bound, _volume),
    Package: ColumnModel(
        units=lambda price: (price.size, price.free),
        prices=lambda price: (price.package_price,),
        bound=_package_bound,
        amounts=_package,
    ),
}
