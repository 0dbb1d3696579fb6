"""SCALED_GROUPS: units are multiplied by the factor of their group, and what comes out is priced."""

from __future__ import annotations

from decimal import Decimal

import msgspec

from penstock.kernel.price import GroupValues, ScaledGroups
from penstock.rater.pricing.around import AmountOf
from penstock.rater.pricing.group_keys import fault_of_keys, fault_of_values, values_of
from penstock.rater.pricing.priced import Priced
from penstock.rater.pricing.used import Used


def scaled_groups(price: ScaledGroups, used: Used, amount_of: AmountOf) -> Priced:
    return amount_of(price.price, _scaled(price, used))


def fault_of_scaled_groups(price: ScaledGroups) -> str | None:
    """Why `price` scales nothing, or None where it does."""
    return fault_of_keys(price.keys) or fault_of_values(price.keys, [f.values for f in price.factors], "factor")


def _scaled(price: ScaledGroups, used: Used) -> Used:
    """The same groups or events with their quantities multiplied."""
    factors = {factor.values: factor.factor for factor in price.factors}

    def scaled(group: GroupValues, quantity: Decimal) -> Decimal:
        return quantity * factors.get(values_of(group, price.keys), price.default)

    if used.by_event is None:
        return Used(by_group={group: scaled(group, quantity) for group, quantity in used.groups.items()})
    return Used(
        by_event=tuple(
            msgspec.structs.replace(event, quantity=scaled(event.groups, event.quantity)) for event in used.by_event
        )
    )
