"""How a usage query cuts its span: 15 minutes, hours, days or months, on the clocks of any zone."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from penstock.kernel.problems import BadRequest
from penstock.kernel.window import BASE_WINDOW, EPOCH, Cadence, Calendar, Span, WindowSize

WINDOWS_MAX = 20_000
_SHORTEST = {
    WindowSize.QUARTER: BASE_WINDOW,
    WindowSize.HOUR: timedelta(hours=1),
    WindowSize.DAY: timedelta(hours=23),
    WindowSize.MONTH: timedelta(days=28),
}
_FIRST_DAY = datetime(2000, 1, 1)  # noqa: DTZ001 - local: each zone has its own; every zone has its midnight


def known_zone(name: str) -> str:
    """The name of an IANA zone. Raise `BadRequest` naming `time_zone` where there is no such zone."""
    try:
        return ZoneInfo(name).key
    except (ZoneInfoNotFoundError, ValueError, OSError) as exc:  # what is no name, or names a folder of zones
        raise BadRequest("time_zone must be an IANA zone such as Europe/Berlin", field="time_zone") from exc


def windows(start: datetime, end: datetime, size: WindowSize, zone: str = "UTC") -> tuple[Span, ...]:
    """[start, end) cut where the zone's clocks cut it; the first and last window may be shorter.

    Hours are counted from the midnight before `start`. Raise `BadRequest` for a span without length or too long.
    """
    if start >= end:
        raise BadRequest("ending_before must be after starting_on", field="ending_before")
    if size is WindowSize.NONE:
        return (Span(start, end),)
    if (end - start) // _SHORTEST[size] > WINDOWS_MAX:
        raise BadRequest(f"more than {WINDOWS_MAX} windows; ask for a shorter span", field="ending_before")
    whole = Span(start, end)
    if size is WindowSize.QUARTER:
        first = start - (start - EPOCH) % BASE_WINDOW
        count = -((first - end) // BASE_WINDOW)
        return tuple(whole.cut({first + step * BASE_WINDOW for step in range(count)}))
    if size is WindowSize.HOUR:
        midnight = _calendar(Cadence.DAY, zone).period_of(start).start
        return tuple(Calendar(midnight, Cadence.HOUR).periods(whole))
    return tuple(_calendar(Cadence.DAY if size is WindowSize.DAY else Cadence.MONTH, zone).periods(whole))


def month_of(instant: datetime, zone: str) -> Span:
    """The zone's calendar month that holds the instant."""
    return _calendar(Cadence.MONTH, zone).period_of(instant)


def _calendar(unit: Cadence, zone: str) -> Calendar:
    anchor = _FIRST_DAY.replace(tzinfo=ZoneInfo(zone)).astimezone(UTC)
    return Calendar(anchor, unit, zone=zone)
