"""A charge that has a price for commits beside its list price: its units in order, each at the price of who pays it.

The parts of an alternative say what each unit costs: the first part's quantity at its unit price, then the next one's.
So a balance that ends inside the charge pays for as many units as it reaches, to 12 digits, and whoever comes next
begins behind them. What each price comes to is rounded once, and payments are differences of the running amount.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from typing import NamedTuple

from penstock.kernel.charge import Alternative, Charge, Part
from penstock.kernel.money import Unit, round_to_step
from penstock.kernel.quantity import STEP, ZERO, canonical


class Units(NamedTuple):
    """The units of a charge from `start` to `end`, counted from its first."""

    start: Decimal
    end: Decimal


class Paid(NamedTuple):
    """What some units cost at the price of this kind; without units it is a part of a list amount."""

    kind: str
    units: Units | None
    amount: Decimal


def steps(alternative: Alternative, units: Units) -> Iterator[tuple[Part, Decimal]]:
    """How many of `units` each part of the price is for."""
    begin = ZERO
    for part in alternative.parts:
        end = begin + part.quantity
        within = min(units.end, end) - max(units.start, begin)
        if within > 0:
            yield part, within
        begin = end


def exact_cost(alternative: Alternative, units: Units) -> Decimal:
    """What `units` cost, not rounded."""
    return sum((_price(part) * quantity for part, quantity in steps(alternative, units)), ZERO)


def _price(part: Part) -> Decimal:
    assert part.unit_price is not None, "beside a commit rate every unit has a price of its own"
    return part.unit_price


class Split:
    """The prices of one charge, and what was paid at each so far."""

    def __init__(self, charge: Charge) -> None:
        self._unit: Unit = charge.unit
        self._prices: Mapping[str, Alternative] = {each.kind: each for each in charge.alternatives}
        self._exact = dict.fromkeys(self._prices, ZERO)
        self._booked = dict.fromkeys(self._prices, ZERO)

    def pay(self, kind: str, units: Units, left: Decimal) -> Paid:
        """As many of `units`, from the first on, as cost no more than `left` at the price of this kind."""
        end = units.end if self._cost(kind, units) <= left else self._reach(kind, units, left)
        paid = Units(units.start, end)
        amount = self._cost(kind, paid)
        self._exact[kind] += exact_cost(self._prices[kind], paid)
        self._booked[kind] += amount
        return Paid(kind, paid, amount)

    def _cost(self, kind: str, units: Units) -> Decimal:
        reached = self._exact[kind] + exact_cost(self._prices[kind], units)
        return round_to_step(reached, self._unit) - self._booked[kind]

    def _reach(self, kind: str, units: Units, left: Decimal) -> Decimal:
        """Where the units end that cost at most `left`; it is less than all of them cost."""
        budget, end = left + self._booked[kind] - self._exact[kind], units.start
        for part, quantity in steps(self._prices[kind], units):
            cost = _price(part) * quantity
            if cost > budget:
                return canonical(end + max(budget, ZERO) // (_price(part) * STEP) * STEP)
            budget, end = budget - cost, end + quantity
        return end


def slices_as_units(charge: Charge) -> list[Units]:
    """The units of each slice of the list price."""
    out, reached = [], ZERO
    for each in charge.alternatives[0].slices:
        out.append(Units(reached, reached + each.quantity))
        reached += each.quantity
    return out


def can_be_split(charge: Charge) -> bool:
    """Whether units can be told apart: none of its slices takes away what another one used."""
    return len(charge.alternatives) > 1 and all(part.quantity >= 0 for part in charge.alternatives[0].slices)


def without(whole: Units, taken: Sequence[Units]) -> Iterator[Units]:
    """What is left of `whole`. `taken` are disjoint."""
    begin = whole.start
    for units in sorted(taken):
        if units.start > begin:
            yield Units(begin, units.start)
        begin = max(begin, units.end)
    if whole.end > begin:
        yield Units(begin, whole.end)
