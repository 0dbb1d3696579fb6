"""DISCOUNTED: units, then an amount, then a percentage off a price, in this order. Never below zero."""

from __future__ import annotations

from decimal import Decimal

from penstock.kernel.charge import Part
from penstock.kernel.price import Discounted
from penstock.kernel.quantity import ZERO
from penstock.rater.pricing.priced import Priced, summed

PERCENT = Decimal("0.01")


def units_left(price: Discounted, quantity: Decimal) -> Decimal:
    return max(quantity - price.units, ZERO)


def discounted(price: Discounted, quantity: Decimal, priced: Priced) -> Priced:
    """`priced` is what the inner price says of `units_left`."""
    units = quantity - units_left(price, quantity)
    amount = min(price.amount, max(priced.amount, ZERO))
    percent = (priced.amount - amount) * price.percent * PERCENT
    return summed(
        [
            *priced.parts,
            Part("usage discount", units, None, ZERO),
            Part("amount discount", ZERO, None, -amount),
            Part("percentage discount", ZERO, None, -percent),
        ]
    )
