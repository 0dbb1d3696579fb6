"""BPS: each event costs its basis points, ten-thousandths of its quantity, but no more than the cap."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from decimal import Decimal

from penstock.kernel.charge import Part
from penstock.kernel.metered_event import UsedEvent
from penstock.kernel.price import Bps
from penstock.kernel.quantity import ZERO
from penstock.rater.pricing.priced import Priced, summed


def bps(price: Bps, events: Sequence[UsedEvent]) -> Priced:
    return summed(capped(events, price.bps.scaleb(-4), price.cap))


def capped(
    events: Sequence[UsedEvent],
    share: Decimal,
    cap: Decimal | None,
    level: int | None = None,
    start: Decimal | None = None,
) -> Iterator[Part]:
    """Two sums, however many events there are: what the share costs, and what the cap takes off, of how many."""
    quantity = sum((event.quantity for event in events), ZERO)
    yield Part("basis points", quantity, share, quantity * share, level, start)
    if cap is not None:
        over = [event.quantity * share - cap for event in events if event.quantity * share > cap]
        yield Part("cap", Decimal(len(over)), None, -sum(over, ZERO), level, start)
