"""Charges by the column: what is to be priced is gathered by price, then each price is asked once."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal

from penstock.kernel.money import Unit
from penstock.kernel.price import AnyPrice
from penstock.kernel.quantity import ZERO
from penstock.rater.backtest.plan import Chain, Slot
from penstock.rater.backtest.price_column import steps_between

# A contract by its place in the page, and one of its periods by its place.
Place = tuple[int, int]
Totals = dict[Unit, dict[Place, Decimal]]
_Columns = tuple[list[Decimal], list[Decimal], list[Place]]


class Sheet:
    """Columns of one set of terms: of each price where the counter stood before and after, and whose charge it is."""

    def __init__(self) -> None:
        self._columns: dict[AnyPrice, _Columns] = {}
        self._of_slot: dict[Slot, _Columns] = {}  # to look a price up by its value costs more than all the rest

    def add(self, contract: int, used: Mapping[Slot, Decimal]) -> None:
        """Everything that one contract used, each slot with its whole quantity. Call inside the exact context."""
        chained: list[tuple[Slot, Decimal]] = []
        for slot, quantity in used.items():
            if slot.is_alone:
                starts, ends, places = self._of_slot.get(slot) or self._columns_of(slot)
                starts.append(ZERO)
                ends.append(quantity)
                places.append((contract, slot.period))
            else:
                chained.append((slot, quantity))
        if chained:
            self._add_chained(contract, chained)

    def _add_chained(self, contract: int, chained: list[tuple[Slot, Decimal]]) -> None:
        """Charges of one product and period go on counting where the one before ended."""
        counters: dict[tuple[int, Chain], Decimal] = {}
        for slot, quantity in sorted(chained, key=lambda held: held[0].span):
            counter = counters.get((slot.period, slot.chain), ZERO)
            counters[slot.period, slot.chain] = counter + quantity
            starts, ends, places = self._of_slot.get(slot) or self._columns_of(slot)
            starts.append(counter)
            ends.append(counter + quantity)
            places.append((contract, slot.period))

    def _columns_of(self, slot: Slot) -> _Columns:
        columns = self._of_slot[slot] = self._columns.setdefault(slot.price, ([], [], []))
        return columns

    def totals(self) -> Totals:
        """The rounded charges of each contract and period, by unit, added up in major units."""
        by_unit: dict[Unit, dict[Place, int]] = {}
        for price, (starts, ends, places) in self._columns.items():
            of_place = by_unit.setdefault(price.unit, {})
            for place, steps in zip(places, steps_between(price, starts, ends), strict=True):
                of_place[place] = of_place.get(place, 0) + steps
        return {
            unit: {place: Decimal(steps).scaleb(-unit.decimals) for place, steps in of_place.items()}
            for unit, of_place in by_unit.items()
        }
