"""Tier lists: what makes one whole, and how a list of factors is laid over a list of prices."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

from penstock.kernel.contract import MultiplierTier
from penstock.kernel.price import Graduated, PerUnit, Tier
from penstock.kernel.quantity import ZERO

ONE = Decimal(1)


def fault_of(tiers: Sequence[Tier]) -> str | None:
    """Why `tiers` is no tier list from zero to infinity without gap or overlap, or None where it is one."""
    if not tiers:
        return "a tier list has at least one tier"
    if tiers[-1].up_to is not None:
        return "the last tier must be open-ended"
    lower = ZERO
    for level, tier in enumerate(tiers[:-1], start=1):
        if tier.up_to is None:
            return f"tier {level} is open-ended, but only the last tier may be"
        if tier.up_to <= lower:
            return f"tier {level} must end above {lower}, where it begins"
        lower = tier.up_to
    return None


def tiers_of(price: PerUnit | Graduated) -> tuple[Tier, ...]:
    """The price as a tier list; a unit price is one open-ended tier."""
    return price.tiers if isinstance(price, Graduated) else (Tier(None, price.unit_price),)


def multiplied(tiers: Sequence[Tier], factors: Sequence[MultiplierTier]) -> tuple[Tier, ...]:
    """`tiers` with every unit's price times the factor of the factor tier in which it lies; 1 past the last factor.

    A flat fee is multiplied where its tier begins, and only there.
    """
    ends = {t.up_to for t in tiers} | {f.up_to for f in factors}
    begins = [ZERO, *(t.up_to for t in tiers[:-1])]
    out, lower = [], ZERO
    for upper in [*sorted(end for end in ends if end is not None), None]:
        begin, tier = next((b, t) for b, t in zip(begins, tiers, strict=True) if t.up_to is None or t.up_to > lower)
        factor = next((f.multiplier for f in factors if f.up_to is None or f.up_to > lower), ONE)
        out.append(Tier(upper, tier.unit_price * factor, tier.flat * factor if begin == lower else ZERO))
        lower = lower if upper is None else upper
    return tuple(out)
