"""Why a definition is no price that could be billed, whatever its model."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal

import msgspec

from penstock.kernel.price import Price, Tier
from penstock.rater.pricing.tiers import fault_of


def fault_of_price(price: Price) -> str | None:
    """What is wrong with `price`, or None where nothing is.

    A fault that begins with a parameter's name or place, such as `tiers[1].flat`, is a fault of that one.
    """
    for place, number in _numbers(price, ""):
        if number < 0:
            return f"{place} must be zero or more"
    return next(_faults_of_tiers(price), None)


def _faults_of_tiers(price: Price) -> Iterator[str]:
    for field in msgspec.structs.fields(price):
        value = getattr(price, field.name)
        if isinstance(value, tuple) and (field.name == "tiers" or any(isinstance(item, Tier) for item in value)):
            fault = fault_of(value)
            if fault is not None:
                yield f"{field.name}: {fault}"


def _numbers(value: object, place: str) -> Iterator[tuple[str, Decimal]]:
    if isinstance(value, Decimal):
        yield place, value
    elif isinstance(value, tuple):
        for index, item in enumerate(value):
            yield from _numbers(item, f"{place}[{index}]")
    elif isinstance(value, msgspec.Struct):
        for name in value.__struct_fields__:
            yield from _numbers(getattr(value, name), f"{place}.{name}".lstrip("."))
