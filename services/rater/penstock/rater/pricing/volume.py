"""VOLUME: the tier in which the total lies prices all units, and adds its flat fee."""

from __future__ import annotations

from decimal import Decimal

from penstock.kernel.charge import Part
from penstock.kernel.price import Volume
from penstock.kernel.quantity import ZERO
from penstock.rater.pricing.priced import Priced, summed


def volume(price: Volume, quantity: Decimal) -> Priced:
    level = next(n for n, tier in enumerate(price.tiers, 1) if tier.up_to is None or quantity <= tier.up_to)
    tier, below = price.tiers[level - 1], price.tiers[: level - 1]
    start = (below[-1].up_to or ZERO) if below else ZERO
    amount = quantity * tier.unit_price + tier.flat
    return summed([Part("tier", quantity, tier.unit_price, amount, level, start, tier.flat)])
