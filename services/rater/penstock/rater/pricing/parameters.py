"""What a price's parameters must be whatever its model: numbers of zero or more, and tier lists that are whole."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import NamedTuple, get_args

import msgspec

from penstock.kernel.price import Price, Tier
from penstock.kernel.problems import OutOfRange
from penstock.kernel.quantity import ZERO, bounded
from penstock.rater.pricing.tiers import fault_of

_OPEN = Tier(None, ZERO)


class Fault(NamedTuple):
    """`place` is that of a parameter, such as `tiers[1].up_to`."""

    place: str
    why: str


def fault_of_parameters(price: Price) -> Fault | None:
    """The first fault in `price` and in the prices that it holds, or None where there is none."""
    return next(_faults(price, ""), None)


def _faults(value: object, place: str) -> Iterator[Fault]:
    if isinstance(value, Decimal):
        why = _fault_of_number(value)
        if why is not None:
            yield Fault(place, why)
    elif isinstance(value, tuple):
        for index, item in enumerate(value):
            yield from _faults(item, f"{place}[{index}]")
        if value and all(isinstance(item, Tier) for item in value):
            yield from _faults_of_tiers(value, place)
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _faults(item, f"{place}.{key}")
    elif isinstance(value, msgspec.Struct):
        for field in msgspec.structs.fields(value):
            item, inner = getattr(value, field.name), f"{place}.{field.name}".lstrip(".")
            if item == () and field.required and Tier in get_args(field.type):
                yield Fault(inner, "a tier list has at least one tier")
            yield from _faults(item, inner)


def _fault_of_number(number: Decimal) -> str | None:
    if not number.is_finite():
        return "is not a finite number"
    try:
        bounded(number)
    except OutOfRange as exc:
        return f"has {exc.detail}"
    return "must be zero or more" if number < 0 else None


def _faults_of_tiers(tiers: Sequence[Tier], place: str) -> Iterator[Fault]:
    why = fault_of(tiers)  # asked for only where no number is at fault: `fault_of_parameters` takes the first
    if why is not None:
        yield Fault(f"{place}[{_wrong(tiers)}].up_to", why)


def _wrong(tiers: Sequence[Tier]) -> int:
    """Where the list stops being whole: its end, or else the first tier that no open-ended one may follow."""
    last = len(tiers) - 1
    if tiers[last].up_to is not None:
        return last
    return next(index for index in range(last) if fault_of((*tiers[: index + 1], _OPEN)) is not None)
