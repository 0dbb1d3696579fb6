"""DYNAMIC: each event brings its unit price, or the amount that it costs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from decimal import Decimal

from penstock.kernel.charge import Part
from penstock.kernel.metered_event import UsedEvent
from penstock.kernel.price import Brings, Dynamic
from penstock.kernel.quantity import ZERO
from penstock.rater.pricing.priced import Priced, summed


def fault_of_dynamic(price: Dynamic) -> str | None:
    """Why no event can bring anything, or None where it can."""
    name = price.property
    if not name or any(letter in '"\\' or ord(letter) < 32 for letter in name):
        return "property must be the name of a property, without quotes, backslashes and control characters"
    return None


def dynamic(price: Dynamic, events: Sequence[UsedEvent]) -> Priced:
    """Raise `ValueError` for an event that brings nothing, where the price has no default."""
    brought = [(event.quantity, _brought(price, event)) for event in events]
    return summed(_by_rate(brought) if price.brings is Brings.RATE else _as_brought(brought))


def _by_rate(brought: list[tuple[Decimal, Decimal]]) -> Iterator[Part]:
    quantities: dict[Decimal, Decimal] = {}
    for quantity, rate in brought:
        quantities[rate] = quantities.get(rate, ZERO) + quantity
    for rate, quantity in quantities.items():
        yield Part("rate", quantity, rate, quantity * rate)


def _as_brought(brought: list[tuple[Decimal, Decimal]]) -> Iterator[Part]:
    """No units cost nothing, whatever amounts were brought."""
    quantity = sum((quantity for quantity, _ in brought), ZERO)
    if quantity:
        yield Part("amount", quantity, None, sum((amount for _, amount in brought), ZERO))


def _brought(price: Dynamic, event: UsedEvent) -> Decimal:
    rate = price.default_rate if event.rate is None else event.rate
    if rate is None:
        raise ValueError(f"event {event.id} brings no {price.brings.value.lower()}")
    return rate
