"""TIERED_PACKAGE: each begun package costs what the tier in which its first unit lies says."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal

from penstock.kernel.charge import Part
from penstock.kernel.price import TieredPackage
from penstock.kernel.quantity import ZERO
from penstock.rater.pricing.package import begun
from penstock.rater.pricing.priced import Priced, summed


def tiered_package(price: TieredPackage, quantity: Decimal) -> Priced:
    return summed(_parts(price, begun(quantity, price.size)))


def _parts(price: TieredPackage, packages: Decimal) -> Iterator[Part]:
    lower = before = ZERO
    for level, tier in enumerate(price.tiers, start=1):
        if level > 1 and packages <= before:
            return
        end = packages if tier.up_to is None else min(packages, begun(tier.up_to, price.size))
        within = end - before
        yield Part("package", within, tier.unit_price, within * tier.unit_price + tier.flat, level, lower, tier.flat)
        lower, before = tier.up_to or lower, end
