"""LARGEST_GROUP: only the group with the most units is priced; of equal ones the first by its values' text."""

from __future__ import annotations

from penstock.kernel.price import LargestGroup
from penstock.rater.pricing.around import AmountOf
from penstock.rater.pricing.each_group import named
from penstock.rater.pricing.group_keys import split
from penstock.rater.pricing.priced import NOTHING, Priced, summed
from penstock.rater.pricing.used import Used


def largest_group(price: LargestGroup, used: Used, amount_of: AmountOf) -> Priced:
    groups = split(used, price.keys)
    if not groups:
        return NOTHING
    values = max(groups, key=lambda values: groups[values].total)
    return summed(named(amount_of(price.price, groups[values]), values))
