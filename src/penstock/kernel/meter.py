"""What a billable metric counts, over which events, and by which groups.

A definition is immutable: a change is a new revision with its own cells (DESIGN.md section 3).
"""

from __future__ import annotations

from enum import Enum

import msgspec

# The text of a group value, or None where the event has no such property.
GroupValue = str | None

GROUP_COMBINATIONS_MAX = 10_000  # where a definition does not say otherwise


class Aggregation(Enum):
    """The monoids that cells hold."""

    COUNT = "COUNT"
    SUM = "SUM"
    MAX = "MAX"
    MIN = "MIN"
    LATEST = "LATEST"
    UNIQUE = "UNIQUE"
    TIME_WEIGHTED_SUM = "TIME_WEIGHTED_SUM"


class EventTypeFilter(msgspec.Struct, frozen=True):
    """Which event types match: one of `in_values` where given, and none of `not_in_values`."""

    in_values: tuple[str, ...] | None = None
    not_in_values: tuple[str, ...] | None = None

    def matches(self, event_type: str) -> bool:
        if self.in_values is not None and event_type not in self.in_values:
            return False
        return self.not_in_values is None or event_type not in self.not_in_values


class PropertyFilter(msgspec.Struct, frozen=True):
    """Which events match by one property's text. A property that is absent or null does not exist."""

    name: str
    exists: bool | None = None
    in_values: tuple[str, ...] | None = None
    not_in_values: tuple[str, ...] | None = None

    def matches(self, value: GroupValue) -> bool:
        if self.exists is not None and self.exists != (value is not None):
            return False
        if self.in_values is not None and value not in self.in_values:
            return False
        return self.not_in_values is None or value not in self.not_in_values


class Metric(msgspec.Struct, frozen=True):
    """A billable metric of one tenant.

    `group_keys` are the property names by which its cells are grouped, in order; a query may group by any subset.
    A UTC day with more than `group_combinations_max` combinations of their values, over all customers, has no figures.
    `aggregation_key` is the property that is summed, compared or counted; None for COUNT.
    """

    id: str
    tenant: str
    name: str
    aggregation: Aggregation
    aggregation_key: str | None = None
    event_types: EventTypeFilter = EventTypeFilter()
    property_filters: tuple[PropertyFilter, ...] = ()
    group_keys: tuple[str, ...] = ()
    group_combinations_max: int = GROUP_COMBINATIONS_MAX

    @property
    def property_names(self) -> tuple[str, ...]:
        """Every property that the metric reads, each once, in a fixed order."""
        names = [self.aggregation_key] if self.aggregation_key is not None else []
        names += [f.name for f in self.property_filters]
        names += self.group_keys
        return tuple(dict.fromkeys(names))
