"""VOLUME_MINIMUM: at least the minimum of the volume in which the total lies, once for the whole amount."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal

from penstock.kernel.charge import Part
from penstock.kernel.price import Price, VolumeMinimum
from penstock.kernel.quantity import ZERO
from penstock.rater.pricing.priced import Priced, summed


def volume_minimum(price: VolumeMinimum, quantity: Decimal, inner: Callable[[Price, Decimal], Priced]) -> Priced:
    reached = [minimum.amount for minimum in price.minimums if quantity > minimum.reached or not minimum.reached]
    priced = inner(price.price, quantity)
    missing = max(reached[-1] - priced.amount, ZERO) if reached else ZERO
    return summed([*priced.parts, Part("minimum", ZERO, None, missing)])
