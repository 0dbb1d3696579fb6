"""Which function prices which model, and what it reads: a new model is a noun, a file and a line here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any

import msgspec

from penstock.kernel.charge import Part
from penstock.kernel.metered_event import UsedEvent
from penstock.kernel.price import (
    Bounded,
    Bps,
    BulkBps,
    Discounted,
    Dynamic,
    EachGroup,
    Graduated,
    LargestGroup,
    Matrix,
    Package,
    Percentage,
    PerUnit,
    Price,
    ScaledGroups,
    ThresholdTotal,
    TieredPackage,
    Volume,
    VolumeMinimum,
)
from penstock.kernel.quantity import exact
from penstock.rater.pricing.around import AmountOf
from penstock.rater.pricing.bounded import bounded
from penstock.rater.pricing.bps import bps
from penstock.rater.pricing.bulk_bps import bulk_bps
from penstock.rater.pricing.discounted import discounted
from penstock.rater.pricing.dynamic import dynamic
from penstock.rater.pricing.each_group import each_group
from penstock.rater.pricing.graduated import graduated
from penstock.rater.pricing.largest_group import largest_group
from penstock.rater.pricing.matrix import matrix
from penstock.rater.pricing.package import package
from penstock.rater.pricing.per_unit import per_unit
from penstock.rater.pricing.percentage import percentage
from penstock.rater.pricing.priced import NOTHING, Priced
from penstock.rater.pricing.scaled_groups import scaled_groups
from penstock.rater.pricing.threshold_total import threshold_total
from penstock.rater.pricing.tiered_package import tiered_package
from penstock.rater.pricing.used import Groups, Used
from penstock.rater.pricing.volume import volume
from penstock.rater.pricing.volume_minimum import volume_minimum

# Models that read the total of a period, which is zero or more for all but PER_UNIT; its groups; its events in order.
TOTALS: dict[type[Price], Callable[[Any, Decimal], Priced]] = {
    PerUnit: per_unit,
    Graduated: graduated,
    Volume: volume,
    Package: package,
    TieredPackage: tiered_package,
    ThresholdTotal: threshold_total,
}
GROUPS: dict[type[Price], Callable[[Any, Groups], Priced]] = {
    Matrix: matrix,
}
EVENTS: dict[type[Price], Callable[[Any, Sequence[UsedEvent]], Priced]] = {
    Percentage: percentage,
    Bps: bps,
    BulkBps: bulk_bps,
    Dynamic: dynamic,
}
# Models around another price, which read what that one reads and are given `amount_of` to ask it.
AROUND: dict[type[Price], Callable[[Any, Used, AmountOf], Priced]] = {
    EachGroup: each_group,
    LargestGroup: largest_group,
    ScaledGroups: scaled_groups,
    Bounded: bounded,
    VolumeMinimum: volume_minimum,
    Discounted: discounted,
}


@exact
def amount_of(price: Price, used: Used) -> Priced:
    """What a period's usage costs. Raise `ValueError` where less of it is known than the model reads."""
    model = type(price)
    if model in AROUND:
        return AROUND[model](price, used, amount_of)
    if model in EVENTS:
        return EVENTS[model](price, used.events)
    if model in GROUPS:
        return GROUPS[model](price, used.groups)
    return amount_of_total(price, used.total)


def amount_of_total(price: Price, total: Decimal) -> Priced:
    """A total below zero is free, but PER_UNIT charges the negative amount. A model around another asks that one."""
    if type(price) in AROUND:
        return amount_of(price, Used(quantity=total))
    if total < 0 and not isinstance(price, PerUnit):
        return NOTHING
    return TOTALS[type(price)](price, total)


@exact
def amount_between(start: Decimal, end: Decimal, price: Price) -> Priced:
    """What the units between two readings of a period's counter cost: the difference of what both totals cost.

    So any split adds up, a counter that falls gives back what it took, and what a model asks for no usage at all is
    charged with the first unit.
    """
    before, after = _reached(price, start), _reached(price, end)
    return Priced(after.amount - before.amount, _difference(before.parts, after.parts))


@exact
def amount_from(before: Used, after: Used, price: Price) -> Priced:
    """What was used costs between two readings of a period, as `amount_between` does of a counter.

    Nothing costs nothing: no unit, no group, or no event.
    """
    first, last = _so_far(price, before), _so_far(price, after)
    return Priced(last.amount - first.amount, _difference(first.parts, last.parts))


def _so_far(price: Price, used: Used) -> Priced:
    if used.quantity is not None:
        return _reached(price, used.quantity)
    return amount_of(price, used) if used.by_group or used.by_event else NOTHING


def _reached(price: Price, total: Decimal) -> Priced:
    return NOTHING if not total else amount_of_total(price, total)


def _difference(before: tuple[Part, ...], after: tuple[Part, ...]) -> tuple[Part, ...]:
    """What `after` has more than `before`, part for part; two prices, one in the other, may have like ones."""
    taken: dict[tuple[object, ...], list[Part]] = {}
    for part in before:
        taken.setdefault(_place(part), []).append(part)
    parts = [_less(part, like.pop(0)) if (like := taken.get(_place(part))) else part for part in after]
    parts += [_less(_less(part, part), part) for like in taken.values() for part in like]
    parts.sort(key=lambda part: part.level or 0)
    return tuple(part for part in parts if part.quantity or part.amount)


def _place(part: Part) -> tuple[object, ...]:
    return part.what, part.level, part.key, part.unit_price


def _less(part: Part, other: Part) -> Part:
    return msgspec.structs.replace(
        part,
        quantity=part.quantity - other.quantity,
        amount=part.amount - other.amount,
        flat=part.flat - other.flat,
    )
