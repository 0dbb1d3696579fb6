"""The units in which a rate card prices: one currency, and custom units with what each of theirs is worth in it."""

from __future__ import annotations

from decimal import Decimal

import msgspec

from penstock.kernel.money import USD, Unit


class UnitConversion(msgspec.Struct, frozen=True):
    """One of `unit` is worth `fiat_per_unit` of the card's currency, in major units."""

    unit: Unit
    fiat_per_unit: Decimal


class CardUnits(msgspec.Struct, frozen=True):
    """`fiat` is what invoices are in; `conversions` are of different custom units."""

    fiat: Unit = USD
    conversions: tuple[UnitConversion, ...] = ()

    def find(self, credit_type_id: str | None) -> Unit | None:
        """The unit with this id, the currency where none is named, or None where the card has no such unit."""
        known = (self.fiat, *(conversion.unit for conversion in self.conversions))
        return self.fiat if credit_type_id is None else next((u for u in known if u.id == credit_type_id), None)
