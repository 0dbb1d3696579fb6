"""PACKAGE: each begun package costs the same. The first units may be free."""

from __future__ import annotations

from decimal import Decimal

from penstock.kernel.charge import Part
from penstock.kernel.price import Package, TieredPackage
from penstock.kernel.quantity import ZERO
from penstock.rater.pricing.priced import Priced, summed


def package(price: Package, quantity: Decimal) -> Priced:
    packages = begun(max(quantity - price.free, ZERO), price.size)
    return summed([Part("package", packages, price.package_price, packages * price.package_price)])


def fault_of_size(price: Package | TieredPackage) -> str | None:
    return None if price.size > 0 else "size must be above zero"


def begun(quantity: Decimal, size: Decimal) -> Decimal:
    """How many packages so many units begin."""
    whole, rest = divmod(quantity, size)
    return whole + 1 if rest else whole
