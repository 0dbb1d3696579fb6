"""Metered events: what a price that reads events themselves is told of each, and where they are read again."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal

import msgspec

from penstock.kernel.meter import GroupValue
from penstock.kernel.price import GroupValues
from penstock.kernel.record import Vector
from penstock.kernel.window import Span

# Events are read in this order: an event's own time, then its id.
EventPlace = tuple[datetime, str]


class EventSource(msgspec.Struct, frozen=True):
    """The stored events that a metric counts for some customer keys, in `spans`, which are disjoint and in order.

    Where they are read again with the same `vector` and `layers` (the backfills in force), they are the same. `keys`
    are group keys of the metric; `filters` keeps the events with these values of them. `numbers` are properties that
    are read as numbers beside the metric's own. `revision` is the metric's that was read; None is the newest.
    """

    metric_id: str
    customers: tuple[str, ...]
    spans: tuple[Span, ...]
    keys: tuple[str, ...]
    numbers: tuple[str, ...]
    vector: Vector
    layers: tuple[str, ...] = ()
    filters: GroupValues = ()
    revision: str | None = None


class MeteredEvent(msgspec.Struct, frozen=True, gc=False):
    """One event: what it adds to its metric, its values of the source's `keys`, and those of its `numbers`.

    None is a property that is absent or no number.
    """

    at: datetime
    id: str
    quantity: Decimal
    groups: tuple[GroupValue, ...] = ()
    numbers: tuple[Decimal | None, ...] = ()

    @property
    def place(self) -> EventPlace:
        return self.at, self.id


class EventPage(msgspec.Struct, frozen=True):
    """Some events of a source in (time, id) order, by which `revision` of its metric. `is_last`: none follow."""

    events: tuple[MeteredEvent, ...]
    revision: str
    is_last: bool


class UsedEvent(msgspec.Struct, frozen=True, omit_defaults=True):
    """What one event used. `rate` is what it brings itself, in major units: its unit price, or its amount."""

    at: datetime
    id: str
    quantity: Decimal
    groups: GroupValues = ()
    rate: Decimal | None = None
