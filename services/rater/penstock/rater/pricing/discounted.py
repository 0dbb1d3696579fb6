"""DISCOUNTED: units, then an amount, then a percentage off a price, in this order. Never below zero."""

from __future__ import annotations

from decimal import Decimal

from penstock.kernel.charge import Part
from penstock.kernel.price import Discounted, Graduated, Package, PerUnit, TieredPackage, Volume
from penstock.kernel.quantity import ZERO
from penstock.rater.pricing.around import AmountOf
from penstock.rater.pricing.priced import Priced, summed
from penstock.rater.pricing.used import Used

PERCENT, HUNDRED = Decimal("0.01"), Decimal(100)
# Prices of a total: of others it cannot be said which of their units are free.
OF_UNITS = (PerUnit, Graduated, Volume, Package, TieredPackage)


def fault_of_discounted(price: Discounted) -> str | None:
    if price.percent > HUNDRED:
        return "percent is at most 100"
    if price.units and not isinstance(price.price, OF_UNITS):
        return "units may be taken off a price that reads a total only"
    return None


def discounted(price: Discounted, used: Used, amount_of: AmountOf) -> Priced:
    free = min(price.units, max(used.total, ZERO)) if price.units else ZERO
    priced = amount_of(price.price, Used(used.total - free) if free else used)
    amount = min(price.amount, max(priced.amount, ZERO))
    percent = (priced.amount - amount) * price.percent * PERCENT
    return summed(
        [
            *priced.parts,
            Part("usage discount", free, None, ZERO),
            Part("amount discount", ZERO, None, -amount),
            Part("percentage discount", ZERO, None, -percent),
        ]
    )
