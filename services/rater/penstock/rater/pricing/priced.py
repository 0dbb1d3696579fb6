"""What a price model answers: an exact amount, and the parts that it is the sum of."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from typing import NamedTuple

from penstock.kernel.charge import Part
from penstock.kernel.quantity import ZERO


class Priced(NamedTuple):
    """An amount in major units, never rounded. Parts of nothing are left out."""

    amount: Decimal
    parts: tuple[Part, ...]


NOTHING = Priced(ZERO, ())


def summed(parts: Iterable[Part]) -> Priced:
    """The parts as an amount."""
    kept = tuple(part for part in parts if part.quantity or part.amount)
    return Priced(sum((part.amount for part in kept), ZERO), kept)
