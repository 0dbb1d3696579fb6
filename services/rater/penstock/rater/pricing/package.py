"""PACKAGE: each begun package costs the same. The first units may be free."""

from __future__ import annotations

from decimal import Decimal

from penstock.kernel.charge import Part
from penstock.kernel.price import Package
from penstock.kernel.quantity import ZERO
from penstock.rater.pricing.priced import Priced, summed


def package(price: Package, quantity: Decimal) -> Priced:
    packages = begun(max(quantity - price.free, ZERO), price.size)
    return summed([Part("package", packages, price.package_price, packages * price.package_price)])


def fault_of_package(price: Package) -> str | None:
    if price.free < 0:
        return "free must be zero or more"
    return fault_of_size(price.size)


def fault_of_size(size: Decimal) -> str | None:
    return None if size > 0 else "size must be above zero"


def begun(quantity: Decimal, size: Decimal) -> Decimal:
    """How many packages so many units begin."""
    whole, rest = divmod(quantity, size)
    return whole + 1 if rest else whole
