"""PER_UNIT: every unit costs the same. A total below zero charges the negative amount."""

from __future__ import annotations

from decimal import Decimal

from penstock.kernel.charge import Part
from penstock.kernel.price import PerUnit
from penstock.rater.pricing.priced import Priced, summed


def per_unit(price: PerUnit, quantity: Decimal) -> Priced:
    return summed([Part("units", quantity, price.unit_price, quantity * price.unit_price)])
