"""The truth of a run: which batches were acknowledged, and what usage must therefore say. Integers only."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from decimal import Decimal
from typing import NamedTuple

from loadtest.traffic import Planned

MINUTES_PER_HOUR = 60


class Place(NamedTuple):
    """Where usage stands: a customer's key, the hour (hours since the epoch, UTC) and a value per dimension."""

    customer: str
    hour: int
    groups: tuple[str, ...]


class Amount(NamedTuple):
    """What stands there: how many events, and the sum of their tokens. What a server answers is a Decimal."""

    events: int | Decimal
    tokens: int | Decimal


class Truth:
    """Counts acknowledged batches; everything else follows from the templates."""

    def __init__(self, templates: Sequence[Sequence[Planned]]) -> None:
        self._templates = [_sums(events) for events in templates]
        self._acknowledged: Counter[tuple[int, int]] = Counter()

    def acknowledged(self, number: int, minute: int) -> None:
        """Call once for each batch, however often it was sent."""
        self._acknowledged[number % len(self._templates), minute] += 1

    def usage(self) -> dict[Place, Amount]:
        """What every place must hold; places without events are left out."""
        found: dict[Place, Amount] = {}
        for (template, minute), batches in self._acknowledged.items():
            for (customer, minutes_back, groups), one in self._templates[template].items():
                place = Place(customer, (minute - minutes_back) // MINUTES_PER_HOUR, groups)
                so_far = found.get(place, Amount(0, 0))
                found[place] = Amount(so_far.events + one.events * batches, so_far.tokens + one.tokens * batches)
        return found

    def hours(self) -> tuple[int, int]:
        """The half-open range of hours that holds every acknowledged event. There must be one."""
        hours = [place.hour for place in self.usage()]
        return min(hours), max(hours) + 1


def _sums(events: Sequence[Planned]) -> dict[tuple[str, int, tuple[str, ...]], Amount]:
    found: dict[tuple[str, int, tuple[str, ...]], Amount] = {}
    for event in events:
        key = (event.customer, event.minutes_back, event.groups)
        so_far = found.get(key, Amount(0, 0))
        found[key] = Amount(so_far.events + 1, so_far.tokens + event.tokens)
    return found


def by_customer_and_hour(usage: dict[Place, Amount]) -> dict[Place, Amount]:
    """The same usage with every group together."""
    found: dict[Place, Amount] = {}
    for place, amount in usage.items():
        key = place._replace(groups=())
        so_far = found.get(key, Amount(0, 0))
        found[key] = Amount(so_far.events + amount.events, so_far.tokens + amount.tokens)
    return found
