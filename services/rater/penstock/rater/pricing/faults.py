"""Why a definition is no price, in a sentence: what every model asks of its parameters, and its own beside."""

from __future__ import annotations

from penstock.kernel.price import Graduated, Price
from penstock.rater.pricing.parameters import fault_of_parameters
from penstock.rater.pricing.tiers import fault_of


def fault_of_price(price: Price) -> str | None:
    """What is wrong with `price`, or None where nothing is.

    A fault that begins with a parameter's name or place, such as `tiers[1].flat`, is a fault of that one.
    """
    fault = fault_of_parameters(price)
    if fault is not None:
        return f"{fault.place}: {fault.why}"
    return fault_of(price.tiers) if isinstance(price, Graduated) else None
