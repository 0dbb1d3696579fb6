"""Proration: what part of a period's fee falls on some of its days, such that the parts add up to the whole.

A day is a date of the zone's calendar, whether it has 23, 24 or 25 hours, and belongs whole to whoever holds its end:
a day on which something begins counts for it, the day on which it ends does not.
"""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from zoneinfo import ZoneInfo

from penstock.kernel.money import Unit, divided_to_step
from penstock.kernel.quantity import exact
from penstock.kernel.window import Span


@exact
def prorated(fee: Decimal, unit: Unit, part: Span, period: Span, zone: str) -> Decimal:
    """What of the period's `fee` falls on `part`, in whole steps of `unit`; on what lies outside the period, nothing.

    The fee runs up from the period's start and is rounded as it runs: a part is what it rises by, so that of two
    halves of 9.99 the first costs 5.00 and the second 4.99.
    """
    days = days_of(period, zone)
    end = divided_to_step(fee * days_until(part.end, period, zone), days, unit)
    return end - divided_to_step(fee * days_until(part.start, period, zone), days, unit)


def days_of(period: Span, zone: str) -> int:
    """How many days a period counts; one that begins and ends on the same date counts one."""
    return max(1, _days_between(period.start, period.end, zone))


def days_until(instant: datetime, period: Span, zone: str) -> int:
    """How many days of the period are over at `instant`: none before its start, all of them from its end on."""
    if instant >= period.end:
        return days_of(period, zone)
    return max(0, _days_between(period.start, instant, zone))


def _days_between(start: datetime, end: datetime, zone: str) -> int:
    there = ZoneInfo(zone)
    return (end.astimezone(there).date() - start.astimezone(there).date()).days
