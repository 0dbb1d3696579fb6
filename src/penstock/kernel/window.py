"""Time: half-open UTC windows, and the one calendar that computes every period.

A base window is 15 minutes, so that every zone's hour, day, month and billing anchor (+5:30, +5:45, DST) is a union of
whole windows. Source: DESIGN.md section 6.
"""

from __future__ import annotations

import calendar
import itertools
from datetime import UTC, datetime, timedelta
from enum import Enum
from zoneinfo import ZoneInfo

import msgspec

BASE_WINDOW = timedelta(minutes=15)
BASE_WINDOW_US = 15 * 60 * 1_000_000
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def to_us(instant: datetime) -> int:
    """Microseconds since the epoch of an aware instant."""
    assert instant.tzinfo is not None, "an instant has a zone"
    return (instant - EPOCH) // _MICROSECOND


def from_us(instant_us: int) -> datetime:
    """The aware UTC instant of microseconds since the epoch."""
    return EPOCH + timedelta(microseconds=instant_us)


class Span(msgspec.Struct, frozen=True, order=True):
    """A half-open stretch of time [start, end)."""

    start: datetime
    end: datetime

    def __contains__(self, instant: datetime) -> bool:
        return self.start <= instant < self.end

    def clip(self, other: Span) -> Span | None:
        """The part of this span inside `other`, or None where they do not meet."""
        start, end = max(self.start, other.start), min(self.end, other.end)
        return Span(start, end) if start < end else None

    def cut(self, instants: set[datetime]) -> list[Span]:
        """This span split at every given instant that falls inside it."""
        edges = [self.start, *sorted(i for i in instants if self.start < i < self.end), self.end]
        return [Span(a, b) for a, b in itertools.pairwise(edges)]


class WindowSize(Enum):
    """How a usage query cuts its span."""

    QUARTER = "QUARTER"
    HOUR = "HOUR"
    DAY = "DAY"
    MONTH = "MONTH"
    NONE = "NONE"


class Cadence(Enum):
    """The unit in which a calendar counts."""

    HOUR = "HOUR"
    DAY = "DAY"
    WEEK = "WEEK"
    MONTH = "MONTH"
    YEAR = "YEAR"


# A first guess at a period's index; `Calendar.index_of` walks from there.
_LONGEST = {
    Cadence.HOUR: timedelta(hours=1),
    Cadence.DAY: timedelta(days=1),
    Cadence.WEEK: timedelta(weeks=1),
    Cadence.MONTH: timedelta(days=31),
    Cadence.YEAR: timedelta(days=366),
}


class Calendar(msgspec.Struct, frozen=True):
    """Periods of `count` x `unit` that start at `anchor`, in local time of `zone`.

    A month that lacks the anchor's day (31st, 29 February) ends its period on its last day; the anchor's day comes back
    in the next month that has it. Days, weeks, months and years follow local midnight through DST; hours are absolute.
    """

    anchor: datetime
    unit: Cadence = Cadence.MONTH
    count: int = 1
    zone: str = "UTC"

    def boundary(self, index: int) -> datetime:
        """The start of period `index`; period 0 starts at the anchor."""
        if self.unit is Cadence.HOUR:
            return self.anchor + timedelta(hours=index * self.count)
        local = self.anchor.astimezone(ZoneInfo(self.zone)).replace(tzinfo=None)
        shifted = self._shift(local, index * self.count)
        # An anchor in the hour that the clock repeats keeps its side of it: timedelta arithmetic forgets `fold`.
        return shifted.replace(tzinfo=ZoneInfo(self.zone), fold=local.fold).astimezone(UTC)

    def _shift(self, local: datetime, steps: int) -> datetime:
        if self.unit is Cadence.DAY:
            return local + timedelta(days=steps)
        if self.unit is Cadence.WEEK:
            return local + timedelta(weeks=steps)
        months = steps * (12 if self.unit is Cadence.YEAR else 1) + local.month - 1
        year, month = local.year + months // 12, months % 12 + 1
        return local.replace(year=year, month=month, day=min(local.day, calendar.monthrange(year, month)[1]))

    def index_of(self, instant: datetime) -> int:
        """The index of the period that holds `instant`; negative before the anchor."""
        index = (instant - self.anchor) // (_LONGEST[self.unit] * self.count)
        while self.boundary(index) > instant:
            index -= 1
        while self.boundary(index + 1) <= instant:
            index += 1
        return index

    def period_of(self, instant: datetime) -> Span:
        """The period that holds `instant`."""
        index = self.index_of(instant)
        return Span(self.boundary(index), self.boundary(index + 1))

    def periods(self, span: Span) -> list[Span]:
        """Every period that meets `span`, in order, each clipped to it."""
        out, index = [], self.index_of(span.start)
        while (start := self.boundary(index)) < span.end:
            clipped = Span(start, self.boundary(index + 1)).clip(span)
            if clipped is not None:
                out.append(clipped)
            index += 1
        return out
