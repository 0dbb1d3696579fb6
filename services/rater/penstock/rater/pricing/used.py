"""What was used in a period, as much of it as a price model may read: the total, the groups, or the events."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal

import msgspec

from penstock.kernel.metered_event import UsedEvent
from penstock.kernel.price import GroupValues
from penstock.kernel.quantity import ZERO

Groups = Mapping[GroupValues, Decimal]


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

    def plus(self, later: Used) -> Used:
        """What was used in two stretches of a period, of which as much is known. Call in the exact context."""
        if self.by_event is not None and later.by_event is not None:
            return Used(by_event=self.by_event + later.by_event)
        if self.by_group is not None and later.by_group is not None:
            groups = dict(self.by_group)
            for group, quantity in later.by_group.items():
                groups[group] = groups.get(group, ZERO) + quantity
            return Used(by_group=groups)
        return Used(quantity=self.total + later.total)

    def known_by(self, reads: str) -> Used:
        """As much of it as a price reads: quantity, groups or events; no more than is known."""
        if reads == "quantity" and self.quantity is None:
            return Used(quantity=self.total)
        if reads == "groups" and self.by_event is not None:
            return Used(by_group=dict(self.groups))
        return self
