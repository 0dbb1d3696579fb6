"""EACH_GROUP: the usage of each group is priced on its own, and the amounts are added up."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from penstock.kernel.charge import Part
from penstock.kernel.price import EachGroup
from penstock.rater.pricing.around import AmountOf
from penstock.rater.pricing.group_keys import Values, split
from penstock.rater.pricing.priced import Priced, summed
from penstock.rater.pricing.used import Used


def each_group(price: EachGroup, used: Used, amount_of: AmountOf) -> Priced:
    return summed(
        part
        for values, within in split(used, price.keys).items()
        for part in named(amount_of(price.price, within), values)
    )


def named(priced: Priced, values: Values) -> Iterator[Part]:
    """The parts with the group's values in front of their own key."""
    return (msgspec.structs.replace(part, key=values + part.key) for part in priced.parts)
