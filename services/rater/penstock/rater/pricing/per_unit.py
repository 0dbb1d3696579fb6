"""PER_UNIT: every unit costs the same. A total below zero charges the negative amount."""

from __future__ import annotations

from decimal import Decimal

from penstock.kernel.charge import TierPart
from penstock.kernel.price import Price
from penstock.kernel.quantity import ZERO


def per_unit(start: Decimal, end: Decimal, price: Price) -> tuple[Decimal, tuple[TierPart, ...]]:
    """The exact amount of the units between two counter readings; one part, which holds them all."""
    assert price.unit_price is not None, "a PER_UNIT price has a unit price"
    quantity = end - start
    if not quantity:
        return ZERO, ()
    amount = quantity * price.unit_price
    return amount, (TierPart(1, ZERO, quantity, price.unit_price, amount),)
