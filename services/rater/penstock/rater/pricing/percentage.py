"""PERCENTAGE: each event costs a percentage of its quantity and a fixed fee; the first ones may be free."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import NamedTuple

from penstock.kernel.charge import Part
from penstock.kernel.metered_event import UsedEvent
from penstock.kernel.price import Percentage
from penstock.kernel.quantity import ZERO
from penstock.rater.pricing.priced import Priced, summed


def fault_of_percentage(price: Percentage) -> str | None:
    if price.free_events is not None and price.free_events % 1:
        return "free_events must be a whole number"
    if price.minimum is not None and price.maximum is not None and price.minimum > price.maximum:
        return "minimum must not be above maximum"
    return None


class _Cost(NamedTuple):
    """One event: how much of its quantity is free and how much is paid, and what is added to the percentage."""

    free: Decimal
    paid: Decimal
    is_free: bool
    bound: Decimal = ZERO  # what the minimum adds, or below zero: what the maximum takes off


def percentage(price: Percentage, events: Sequence[UsedEvent]) -> Priced:
    return summed(_parts(price, list(_costs(price, events))))


def _parts(price: Percentage, costs: list[_Cost]) -> Iterator[Part]:
    """A sum of each kind, however many events there are."""
    free = sum((cost.free for cost in costs), ZERO)
    yield Part("free", free, ZERO, ZERO)
    paid = sum((cost.paid for cost in costs), ZERO)
    yield Part("percentage", paid, _share(price), paid * _share(price))
    if price.fixed:
        count = Decimal(sum(not cost.is_free for cost in costs))
        yield Part("fixed fee", count, price.fixed, count * price.fixed)
    raised = [cost.bound for cost in costs if cost.bound > 0]
    yield Part("minimum", Decimal(len(raised)), None, sum(raised, ZERO))
    lowered = [cost.bound for cost in costs if cost.bound < 0]
    yield Part("maximum", Decimal(len(lowered)), None, sum(lowered, ZERO))


def _costs(price: Percentage, events: Sequence[UsedEvent]) -> Iterator[_Cost]:
    before = ZERO
    for number, event in enumerate(events, start=1):
        after = before + event.quantity
        free, is_free = _free(price, number, before, after)
        paid = event.quantity - free
        yield _Cost(free, paid, is_free, ZERO if is_free else _bound(price, paid * _share(price) + price.fixed))
        before = after


def _free(price: Percentage, number: int, before: Decimal, after: Decimal) -> tuple[Decimal, bool]:
    """How much is free of the event's quantity, which took the total from `before` to `after`, and whether it is.

    An event that uses up the free amount, even to its last cent, is not free: it costs the fixed fee.
    """
    limit = price.free_amount
    if price.free_events is None and limit is None:
        return ZERO, False
    if price.free_events is not None and number > price.free_events:
        return ZERO, False
    if limit is None:
        return after - before, True
    return min(after, limit) - min(before, limit), after < limit


def _bound(price: Percentage, amount: Decimal) -> Decimal:
    if price.minimum is not None and amount < price.minimum:
        return price.minimum - amount
    if price.maximum is not None and amount > price.maximum:
        return price.maximum - amount
    return ZERO


def _share(price: Percentage) -> Decimal:
    return price.percent.scaleb(-2)
