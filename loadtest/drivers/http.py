"""JSON arrays over HTTP."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from loadtest.drivers.base import Driver, Endpoint
from loadtest.drivers.over_http import HttpDriver
from loadtest.traffic import EVENT_TYPE, Planned

from penstock.kernel.event import UsageEvent
from penstock.kernel.window import from_us


def driver(endpoint: Endpoint) -> Driver:
    return HttpDriver(endpoint, "application/json", array)


def array(events: Sequence[Planned], minute: int) -> bytes:
    """One JSON array."""
    return msgspec.json.encode([as_sent(event, minute) for event in events])


def as_sent(event: Planned, minute: int) -> UsageEvent:
    instant = from_us(event.time_us(minute)).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return UsageEvent(event.transaction_id, event.customer, EVENT_TYPE, instant, msgspec.Raw(event.properties))
