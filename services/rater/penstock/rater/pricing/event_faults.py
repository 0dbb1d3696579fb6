"""What is wrong with the parameters of a price that reads events, by name."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal

from penstock.kernel.price import Bps, BulkBps, Dynamic, Percentage, Price, Tier
from penstock.rater.pricing.tiers import fault_of


def fault_of_event_price(price: Price) -> str | None:
    """The first fault, which begins with the parameter's name or place; None too for a price that reads no events."""
    return next(_faults(price), None)


def _faults(price: Price) -> Iterator[str]:
    match price:
        case Percentage():
            yield from _faults_of_percentage(price)
        case Bps():
            yield from _negative(bps=price.bps, cap=price.cap)
        case BulkBps():
            fault = fault_of([Tier(tier.up_to, tier.bps) for tier in price.tiers])
            if fault is not None:
                yield f"tiers: {fault}"
            for index, tier in enumerate(price.tiers):
                yield from (f"tiers[{index}].{fault}" for fault in _negative(bps=tier.bps, cap=tier.cap))
        case Dynamic():
            yield from _negative(default_rate=price.default_rate)


def _faults_of_percentage(price: Percentage) -> Iterator[str]:
    yield from _negative(
        percent=price.percent,
        fixed=price.fixed,
        free_events=price.free_events,
        free_amount=price.free_amount,
        minimum=price.minimum,
        maximum=price.maximum,
    )
    if price.free_events is not None and price.free_events % 1:
        yield "free_events must be a whole number"
    if price.minimum is not None and price.maximum is not None and price.minimum > price.maximum:
        yield "minimum must not be above maximum"


def _negative(**numbers: Decimal | None) -> Iterator[str]:
    return (f"{name} must be zero or more" for name, number in numbers.items() if number is not None and number < 0)
