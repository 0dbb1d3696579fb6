"""A layer: the events that a backfill puts in the place of an interval's, beside the live ones until it is in force.

A layer has a scope, a name that stands wherever a tenant's stands: in the identities of its events, so that ids are
told apart inside it alone, and in the keys of its cells and stored events. Nothing of it can meet what is live.
"""

from __future__ import annotations

from datetime import datetime

import msgspec

from penstock.kernel.record import Vector
from penstock.kernel.window import Span, from_us

# No tenant's name has it, so that a scope tells whose it is.
SCOPE_MARK = "#"
# An offset that no record reaches: where live events do not count in a layer.
NEVER = 2**62


class Layer(msgspec.Struct, frozen=True):
    """Whole windows [`start_us`, `end_us`) of some customer keys, or of all where None.

    `opened_at_us` is the instant from which its age is counted: it takes events for as many days as live ones may be
    late, so that its ids are kept for as long as a copy can come.
    """

    id: str
    tenant: str
    start_us: int
    end_us: int
    customers: tuple[str, ...] | None
    opened_at_us: int

    @property
    def scope(self) -> str:
        return f"{self.tenant}{SCOPE_MARK}{self.id}"

    @property
    def span(self) -> Span:
        return Span(from_us(self.start_us), from_us(self.end_us))

    def has(self, customer: str) -> bool:
        return self.customers is None or customer in self.customers

    def of(self, customers: tuple[str, ...] | None) -> tuple[str, ...] | None:
        """Those of the customer keys (of all, where None) that the layer has; None is all."""
        if customers is None or self.customers is None:
            return customers if self.customers is None else self.customers
        return tuple(key for key in customers if self.has(key))

    def meets(self, start_us: int, end_us: int, customers: tuple[str, ...] | None) -> bool:
        """Whether some window and some customer key are in both."""
        is_near = max(start_us, self.start_us) < min(end_us, self.end_us)
        return is_near and self.of(customers) != ()


class LayerLife(msgspec.Struct, frozen=True):
    """A layer in one partition: live events behind the record at `follows_after`, its commit, count in it too."""

    layer: Layer
    follows_after: int = NEVER


class FollowedLayer(msgspec.Struct, frozen=True):
    """A layer over all partitions: `follows_after` is an offset for each."""

    layer: Layer
    follows_after: Vector


class LayerInForce(msgspec.Struct, frozen=True):
    """A layer that readers take instead of the base, or will take once every marker has passed its commit."""

    layer: Layer
    commit_control_id: str
    committed_at: datetime  # when that was asked for
    is_switched: bool = False


def tenant_of(scope: str) -> str:
    """The tenant whose scope this is; a tenant's name is its own."""
    return scope.partition(SCOPE_MARK)[0]
