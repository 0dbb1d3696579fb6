"""BULK_BPS: the tier in which the total lies says what each event costs, and its cap. A tier's end is in it."""

from __future__ import annotations

from collections.abc import Sequence

from penstock.kernel.metered_event import UsedEvent
from penstock.kernel.price import BulkBps, Tier
from penstock.kernel.quantity import ZERO
from penstock.rater.pricing.bps import capped
from penstock.rater.pricing.priced import Priced, summed
from penstock.rater.pricing.tiers import fault_of


def fault_of_bulk_bps(price: BulkBps) -> str | None:
    fault = fault_of([Tier(tier.up_to, tier.bps) for tier in price.tiers])
    return None if fault is None else f"tiers: {fault}"


def bulk_bps(price: BulkBps, events: Sequence[UsedEvent]) -> Priced:
    total = sum((event.quantity for event in events), ZERO)
    ends = [tier.up_to for tier in price.tiers]
    place = next(place for place, end in enumerate(ends) if end is None or total <= end)
    tier, start = price.tiers[place], ZERO if place == 0 else ends[place - 1]
    return summed(capped(events, tier.bps.scaleb(-4), tier.cap, place + 1, start))
