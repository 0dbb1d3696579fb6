"""Instants from callers: aware, in UTC, and within the years that Penstock computes with."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec

from penstock.kernel.problems import BadRequest

EARLIEST = datetime(2000, 1, 1, tzinfo=UTC)
# "For ever": people write 9999-12-31. There is room above it for a grace and for any zone.
FOREVER = datetime(9999, 1, 1, tzinfo=UTC)


def as_utc(instant: datetime, field: str) -> datetime:
    """The instant in UTC; what lies beyond `FOREVER` is `FOREVER`.

    Raise `BadRequest` naming `field` where it has no zone or lies before `EARLIEST`.
    """
    if instant.tzinfo is None:
        raise BadRequest(f"{field} has no time zone", field=field)
    if instant.year >= FOREVER.year:
        return FOREVER
    if instant.year < EARLIEST.year or instant < EARLIEST:
        raise BadRequest(f"{field} is before {EARLIEST.date()}", field=field)
    return instant.astimezone(UTC)


def parse_instant(text: str, field: str) -> datetime:
    """An RFC 3339 instant, as `as_utc` gives it. Raise `BadRequest` naming `field` where it is none."""
    try:
        instant = msgspec.convert(text, datetime)
    except msgspec.ValidationError as exc:
        raise BadRequest(f"{field} is not an RFC 3339 instant", field=field) from exc
    return as_utc(instant, field)
