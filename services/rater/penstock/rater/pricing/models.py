"""Which function prices which model: a new model is a new file and one line here."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal

from penstock.kernel.charge import TierPart
from penstock.kernel.price import Model, Price
from penstock.kernel.quantity import exact
from penstock.rater.pricing.graduated import graduated
from penstock.rater.pricing.per_unit import per_unit

# From one counter reading to another: the exact amount, and the part of each tier in order of level.
PricingFunction = Callable[[Decimal, Decimal, Price], tuple[Decimal, tuple[TierPart, ...]]]

MODELS: dict[Model, PricingFunction] = {
    Model.PER_UNIT: per_unit,
    Model.GRADUATED: graduated,
}


@exact
def amount_between(start: Decimal, end: Decimal, price: Price) -> tuple[Decimal, tuple[TierPart, ...]]:
    """What the units between the counter readings `start` and `end` cost, exact in major units, never rounded.

    For any m: the amounts of start..m and m..end sum to that of start..end.
    """
    return MODELS[price.model](start, end, price)
