"""BOUNDED: an amount is raised to a minimum, then lowered to a maximum. Each difference is a part of its own."""

from __future__ import annotations

from decimal import Decimal

from penstock.kernel.charge import Part
from penstock.kernel.price import Bounded
from penstock.kernel.quantity import ZERO
from penstock.rater.pricing.around import AmountOf
from penstock.rater.pricing.priced import Priced, summed
from penstock.rater.pricing.used import Used


def bounded(price: Bounded, used: Used, amount_of: AmountOf) -> Priced:
    """Usage below zero and no usage at all cost the minimum too."""
    inner = amount_of(price.price, used)
    at_least = inner.amount if price.minimum is None else max(inner.amount, price.minimum)
    at_most = at_least if price.maximum is None else min(at_least, price.maximum)
    return summed([*inner.parts, _part("minimum", at_least - inner.amount), _part("maximum", at_most - at_least)])


def fault_of_bounded(price: Bounded) -> str | None:
    """Why `price` has no range to lie in, or None where it has."""
    if price.minimum is not None and price.maximum is not None and price.minimum > price.maximum:
        return f"the minimum {price.minimum} is above the maximum {price.maximum}"
    return None


def _part(what: str, difference: Decimal) -> Part:
    return Part(what, ZERO, None, difference)
