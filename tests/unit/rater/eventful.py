"""Test data of price models that read events: events, prices with defaults, and what they cost."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Any

from penstock.kernel.metered_event import UsedEvent
from penstock.kernel.money import USD
from penstock.kernel.price import Bps, BpsTier, BulkBps, Percentage, Price
from penstock.kernel.quantity import ZERO, exact
from penstock.rater.pricing.models import amount_of
from penstock.rater.pricing.priced import Priced
from penstock.rater.pricing.used import Used
from unit.rater.rating import june


def events(*quantities: str | Decimal, rates: tuple[str | None, ...] = ()) -> tuple[UsedEvent, ...]:
    """One a minute, in this order."""
    brought = [None if rate is None else Decimal(rate) for rate in rates] or [None] * len(quantities)
    return tuple(
        UsedEvent(june(1) + timedelta(minutes=n), f"e{n}", Decimal(quantity), rate=rate)
        for n, (quantity, rate) in enumerate(zip(quantities, brought, strict=True), start=1)
    )


def priced(price: Price, used: tuple[UsedEvent, ...]) -> Priced:
    found = amount_of(price, Used(by_event=used))
    assert exact(sum)((part.amount for part in found.parts), ZERO) == found.amount
    return found


def cost(price: Price, *quantities: str | Decimal, rates: tuple[str | None, ...] = ()) -> Decimal:
    return priced(price, events(*quantities, rates=rates)).amount


def parts(found: Priced) -> list[tuple[str, Decimal, Decimal]]:
    return [(part.what, part.quantity, part.amount) for part in found.parts]


def a_percentage(percent: str, fixed: str = "0", **limits: str) -> Percentage:
    values: dict[str, Any] = {name: Decimal(limit) for name, limit in limits.items()}
    return Percentage(USD, Decimal(percent), Decimal(fixed), **values)


def a_bps(bps: str, cap: str | None = None) -> Bps:
    return Bps(USD, Decimal(bps), None if cap is None else Decimal(cap))


def some_bulk(*ends_bps_and_caps: tuple[str | None, str, str | None]) -> BulkBps:
    return BulkBps(
        USD,
        tuple(
            BpsTier(None if end is None else Decimal(end), Decimal(bps), None if cap is None else Decimal(cap))
            for end, bps, cap in ends_bps_and_caps
        ),
    )
