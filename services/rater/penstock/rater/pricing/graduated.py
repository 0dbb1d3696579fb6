"""GRADUATED: each unit costs what the tier in which it lies says. A total of zero costs the first tier's flat fee."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal

from penstock.kernel.charge import Part
from penstock.kernel.price import Graduated
from penstock.kernel.quantity import ZERO
from penstock.rater.pricing.priced import Priced, summed


def graduated(price: Graduated, quantity: Decimal) -> Priced:
    return summed(_parts(price, quantity))


def _parts(price: Graduated, quantity: Decimal) -> Iterator[Part]:
    lower = ZERO
    for level, tier in enumerate(price.tiers, start=1):
        if level > 1 and quantity <= lower:
            return
        within = (quantity if tier.up_to is None else min(quantity, tier.up_to)) - lower
        yield Part("tier", within, tier.unit_price, within * tier.unit_price + tier.flat, level, lower, tier.flat)
        lower = lower if tier.up_to is None else tier.up_to
