"""Graduated percentages and tiered basis points are GRADUATED: here a unit price is a share of the amount used."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from penstock.kernel.money import Unit
from penstock.kernel.price import Graduated, Tier
from penstock.kernel.quantity import exact


def graduated_percentage(unit: Unit, tiers: Iterable[Tier]) -> Graduated:
    """The `unit_price` of these tiers is in percent, their `flat` in major units."""
    return _shares(unit, tiers, 2)


def tiered_bps(unit: Unit, tiers: Iterable[Tier]) -> Graduated:
    """The `unit_price` of these tiers is in basis points, their `flat` in major units."""
    return _shares(unit, tiers, 4)


@exact
def _shares(unit: Unit, tiers: Iterable[Tier], digits: int) -> Graduated:
    return Graduated(
        unit, tuple(msgspec.structs.replace(tier, unit_price=tier.unit_price.scaleb(-digits)) for tier in tiers)
    )
