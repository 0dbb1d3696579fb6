"""One price on many readings of counters at once: to the cent what `amount_between` gives for each of them."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from decimal import Decimal

import numpy as np

from penstock.kernel.money import round_to_step
from penstock.kernel.price import AnyPrice, PerUnit
from penstock.kernel.quantity import exact
from penstock.rater.backtest.column_models import COLUMN_MODELS, ColumnModel
from penstock.rater.backtest.columns import Column, Scale, column, digits_of, in_steps
from penstock.rater.pricing.models import amount_between


@exact
def steps_between(price: AnyPrice, starts: Sequence[Decimal], ends: Sequence[Decimal]) -> list[int]:
    """What the units between each two readings of a counter cost, rounded, in smallest steps of the price's unit."""
    model = COLUMN_MODELS.get(type(price))
    if model is None:
        return [_steps(price, start, end) for start, end in zip(starts, ends, strict=True)]
    scale = Scale(digits_of(itertools.chain(model.units(price), starts, ends)), digits_of(model.prices(price)))
    before, after = scale.units_of(starts) if any(starts) else [0], scale.units_of(ends)
    most = max(1, *map(abs, before), *map(abs, after))
    # A difference of two amounts, in steps that may be finer than the amount, and what rounding adds.
    finer = 10 ** max(price.unit.decimals - scale.amount_digits, 0)
    step = 10 ** max(scale.amount_digits - price.unit.decimals, 0)
    bound = 2 * model.bound(price, most, scale) * finer + step
    amounts = _reached(model, price, column(after, bound), most, scale)
    if any(before):
        amounts = amounts - _reached(model, price, column(before, bound), most, scale)
    steps: list[int] = in_steps(amounts, scale.amount_digits, price.unit.decimals).tolist()
    return steps


def _reached(model: ColumnModel, price: AnyPrice, totals: Column, most: int, scale: Scale) -> Column:
    """A total below zero is free, but PER_UNIT charges the negative amount."""
    return model.amounts(price, totals if isinstance(price, PerUnit) else np.maximum(totals, 0), most, scale)


def _steps(price: AnyPrice, start: Decimal, end: Decimal) -> int:
    return int(round_to_step(amount_between(start, end, price).amount, price.unit).scaleb(price.unit.decimals))
