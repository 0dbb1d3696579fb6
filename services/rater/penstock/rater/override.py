"""Overrides: which one acts on a rate at an instant, and what the rate's price becomes.

At any instant exactly one acts; they never stack (DESIGN.md section 7). The one that acts also says whether the product
is entitled, where it says anything of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from decimal import Decimal

import msgspec

from penstock.kernel.contract import MultiplierTier, Override, OverrideKind, Prioritization, Specifier
from penstock.kernel.price import AnyPrice, Discounted, Graduated, GroupValues, PerUnit
from penstock.kernel.quantity import ZERO
from penstock.rater.pricing.tiers import ONE, multiplied, tiers_of

HUNDRED = Decimal(100)


def acting(overrides: Iterable[Override], instant: datetime, prioritization: Prioritization) -> Override | None:
    """The one override that acts at `instant`, of those that match the rate, in the contract's order; or None.

    An overwrite goes before everything; of several the one that started last, then the first in order. Else the
    multiplier or tiers that `prioritization` puts first; a missing priority is last, and a tie goes by order.
    """
    live = [o for o in overrides if o.start <= instant and (o.end is None or instant < o.end)]
    overwrites = [o for o in live if o.kind is OverrideKind.OVERWRITE]
    if overwrites:
        return max(overwrites, key=lambda o: o.start)  # the first of equals
    if prioritization is Prioritization.EXPLICIT:
        return min(live, key=lambda o: (o.priority is None, o.priority or ZERO), default=None)
    return min(live, key=_lowest_factor, default=None)


def _lowest_factor(override: Override) -> Decimal:
    """The greatest discount that an override can give: past its last tier the list price, factor 1, is in force."""
    if override.multiplier is not None:
        return override.multiplier
    return min((tier.multiplier for tier in override.multiplier_tiers), default=ONE)


def acts_on(override: Override, product_id: str, product_tags: Sequence[str], group_values: GroupValues) -> bool:
    """Whether any of the override's specifiers names this rate."""
    return any(_names(s, product_id, product_tags, group_values) for s in override.specifiers)


def _names(specifier: Specifier, product_id: str, product_tags: Sequence[str], group_values: GroupValues) -> bool:
    if specifier.product_id is not None and specifier.product_id != product_id:
        return False
    return set(specifier.product_tags) <= set(product_tags) and set(specifier.group_values) <= set(group_values)


def repriced(price: AnyPrice, override: Override) -> AnyPrice:
    """`price` as `override` changes it. An overwrite that carries no price leaves it (it is about entitlement).

    A list of factors lies over units, so it changes prices that each unit has: PER_UNIT and GRADUATED.
    """
    if override.kind is OverrideKind.OVERWRITE:
        return _overwritten(price, override)
    if override.kind is OverrideKind.TIERED:
        if not isinstance(price, PerUnit | Graduated):
            return price
        return Graduated(price.unit, multiplied(tiers_of(price), override.multiplier_tiers))
    assert override.multiplier is not None, "a MULTIPLIER has a multiplier"
    if isinstance(price, PerUnit):
        return msgspec.structs.replace(price, unit_price=price.unit_price * override.multiplier)
    if isinstance(price, Graduated):
        return Graduated(price.unit, multiplied(price.tiers, (MultiplierTier(None, override.multiplier),)))
    return Discounted(price.unit, price, percent=(ONE - override.multiplier) * HUNDRED)


def _overwritten(price: AnyPrice, override: Override) -> AnyPrice:
    if override.tiers:
        return Graduated(override.unit, override.tiers)
    if override.unit_price is not None:
        return PerUnit(override.unit, override.unit_price)
    return price
