"""VOLUME_MINIMUM: at least the minimum of the volume in which the total lies, once for the whole amount."""

from __future__ import annotations

from penstock.kernel.charge import Part
from penstock.kernel.price import VolumeMinimum
from penstock.kernel.quantity import ZERO
from penstock.rater.pricing.around import AmountOf
from penstock.rater.pricing.priced import Priced, summed
from penstock.rater.pricing.used import Used


def volume_minimum(price: VolumeMinimum, used: Used, amount_of: AmountOf) -> Priced:
    priced, total = amount_of(price.price, used), used.total
    minimums = [minimum.amount for minimum in price.minimums if total > minimum.reached or not minimum.reached]
    missing = max(minimums[-1] - priced.amount, ZERO) if minimums else ZERO
    return summed([*priced.parts, Part("minimum", ZERO, None, missing)])
