"""Stands for the aggregator's single events where no price reads any."""

from __future__ import annotations

from penstock.kernel.metered_event import EventPage, EventPlace, EventSource


class NoEvents:
    """An `EventReader`."""

    def events(self, tenant: str, source: EventSource, after: EventPlace | None, limit: int) -> EventPage:
        raise AssertionError("no price of a bench reads events")
