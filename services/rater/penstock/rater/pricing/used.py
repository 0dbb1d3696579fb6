"""What was used in a period, as much of it as a price model may read: the total, the groups, or the events."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal

import msgspec

from penstock.kernel.price import GroupValues
from penstock.kernel.quantity import ZERO

Groups = Mapping[GroupValues, Decimal]


class UsedEvent(msgspec.Struct, frozen=True):
    """What one event used. `rate` is what it brings itself, in major units: its unit price, or its amount."""

    at: datetime
    id: str
    quantity: Decimal
    groups: GroupValues = ()
    rate: Decimal | None = None


class Used(msgspec.Struct, frozen=True):
    """One of the three; who reads less of it adds up."""

    quantity: Decimal | None = None
    by_group: dict[GroupValues, Decimal] | None = None
    by_event: tuple[UsedEvent, ...] | None = None

    @property
    def total(self) -> Decimal:
        return sum(self.groups.values(), ZERO) if self.quantity is None else self.quantity

    @property
    def groups(self) -> Groups:
        """In the order in which they came; a total is one group without a name."""
        if self.by_group is not None:
            return self.by_group
        if self.by_event is None:
            return {(): self.total}
        groups: dict[GroupValues, Decimal] = {}
        for event in self.by_event:
            groups[event.groups] = groups.get(event.groups, ZERO) + event.quantity
        return groups

    @property
    def events(self) -> Sequence[UsedEvent]:
        """By time and id. Raise `ValueError` where only sums are known."""
        if self.by_event is None:
            raise ValueError("this price reads the events themselves")
        return sorted(self.by_event, key=lambda event: (event.at, event.id))
