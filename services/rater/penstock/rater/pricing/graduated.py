"""GRADUATED: each unit costs what the tier in which the counter stands says. Below zero nothing is charged.

The amount between two readings is the difference of one function of the counter, which is zero at and below zero. So
any split adds up, a counter that falls gives back what the tiers above took, and a period total below zero is free.
"""

from __future__ import annotations

from decimal import Decimal

from penstock.kernel.charge import TierPart
from penstock.kernel.price import Price
from penstock.kernel.quantity import ZERO


def graduated(start: Decimal, end: Decimal, price: Price) -> tuple[Decimal, tuple[TierPart, ...]]:
    """The exact amount of the units between two counter readings, and the part of each tier they touch.

    Units below zero are in no tier: the parts' quantities then do not add up to `end - start`. A tier's flat fee is in
    its part's amount, once the counter stands above where the tier begins.
    """
    assert price.tiers, "a GRADUATED price has tiers"
    parts, lower = [], ZERO
    for level, tier in enumerate(price.tiers, start=1):
        quantity = _within(end, lower, tier.up_to) - _within(start, lower, tier.up_to)
        if quantity:
            entered = int(end > lower) - int(start > lower)
            amount = quantity * tier.unit_price + entered * tier.flat
            parts.append(TierPart(level, lower, quantity, tier.unit_price, amount))
        lower = lower if tier.up_to is None else tier.up_to
    return sum((part.amount for part in parts), ZERO), tuple(parts)


def _within(counter: Decimal, lower: Decimal, upper: Decimal | None) -> Decimal:
    """How many of the first `counter` units lie in the tier (lower, upper]."""
    top = counter if upper is None else min(counter, upper)
    return max(top - lower, ZERO)
