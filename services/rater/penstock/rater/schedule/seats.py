"""Seats: a quantity that is set rather than used, priced per seat and period, by the day."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from datetime import datetime
from decimal import Decimal

import msgspec

from penstock.kernel.charge import Slice
from penstock.kernel.money import Unit, divided_to_step
from penstock.kernel.quantity import ZERO, exact
from penstock.kernel.window import Span
from penstock.rater.schedule.proration import days_of, days_until


class Seats(msgspec.Struct, frozen=True):
    """From `at` on there are `quantity` seats, until the next entry."""

    at: datetime
    quantity: Decimal


@exact
def seats(schedule: Sequence[Seats], seat_price: Decimal, unit: Unit, period: Span, zone: str) -> tuple[Slice, ...]:
    """What each stretch of the period with the same seats costs, in whole steps; stretches without seats are left out.

    A day counts the seats that it ends with; before the first entry there are none, and of two entries at one instant
    the later in the schedule holds. `seat_price` is for a whole period. Raise `ValueError` for fewer than no seats.
    """
    days, seat_days, booked, slices = days_of(period, zone), ZERO, ZERO, []
    for span, quantity in _stretches(schedule, period):
        seat_days += quantity * (days_until(span.end, period, zone) - days_until(span.start, period, zone))
        # Rounded as it runs, so that the slices sum to the rounded whole.
        running = divided_to_step(seat_days * seat_price, days, unit)
        slices.append(Slice(span, quantity, running - booked))
        booked = running
    return tuple(slices)


def _stretches(schedule: Sequence[Seats], period: Span) -> Iterator[tuple[Span, Decimal]]:
    entries = sorted(schedule, key=lambda entry: entry.at)
    for entry, following in itertools.zip_longest(entries, entries[1:]):
        if entry.quantity < 0:
            raise ValueError(f"a quantity of {entry.quantity} seats at {entry.at.isoformat()}")
        span = Span(entry.at, following.at if following else period.end).clip(period)
        if span and entry.quantity:
            yield span, entry.quantity
