"""A cell: what one metric counted for one customer key, group, 15-minute window and partition, up to one log offset.

The value is cumulative and `version` is the offset of the last record folded into it, so writing a cell twice, or late,
or by a second owner, changes nothing: the greatest version wins (DESIGN.md section 3).
"""

from __future__ import annotations

from decimal import Decimal
from typing import NamedTuple

import msgspec

from penstock.kernel.meter import Aggregation, GroupValue
from penstock.kernel.quantity import ZERO

# The metric under which the fold counts what became of every event, by hour of the log clock.
CONSERVATION = "penstock.conservation"
# The metric under which it counts corrections that changed an event's outcome, by hour of the log clock of the event's
# own record; the groups are the outcome before and after. Conservation as it is now is the one moved by the other.
CORRECTIONS = "penstock.corrections"

# The metric under which it keeps the group combinations of each metric and day, as far as they are bounded.
COMBINATIONS = "penstock.combinations"

# How far a fill has come when all of it is written: beyond every window.
FILLED_US = 2**62

# Group values, and the customer where the question tells customers apart.
KeptGroup = tuple[tuple[GroupValue, ...], str | None]


class CellKey(NamedTuple):
    """Where a cell stands. `member` is the counted value of a UNIQUE metric and None for every other."""

    tenant: str
    metric: str
    customer: str
    window_us: int  # start of the 15-minute window, microseconds since the epoch
    groups: tuple[GroupValue, ...]
    member: GroupValue
    partition: int


class Cell(msgspec.Struct, gc=False):
    """What stands there. `events` is how many events it holds; with none it is the identity, whatever `value` says.

    `value` is the sum, or the extreme, or the latest value; for COUNT and UNIQUE it is zero and `events` counts.
    `latest_us` and `latest_id` order LATEST: by event time, then by transaction id. `weighted` belongs to
    TIME_WEIGHTED_SUM, whose `value` is the sum of the changes: the sum of each change x microseconds from the start of
    the window to its instant.
    """

    events: int = 0
    value: Decimal = ZERO
    latest_us: int = 0
    latest_id: str = ""
    version: int = -1
    weighted: Decimal = ZERO


class LayerWindows(msgspec.Struct, frozen=True):
    """Windows [`start_us`, `end_us`) and customer keys (all where None) whose cells stand in another scope."""

    scope: str
    start_us: int
    end_us: int
    customers: tuple[str, ...] | None

    def has(self, customer: str, window_us: int) -> bool:
        is_near = self.start_us <= window_us < self.end_us
        return is_near and (self.customers is None or customer in self.customers)


class CellQuestion(msgspec.Struct, frozen=True):
    """Which cells to read, and how to merge them. All times are starts of 15-minute windows, in microseconds.

    `starts` cut [`start_us`, `end_us`) into stretches: a cell belongs to the greatest start at or below its window.
    `group_at` are the places, in the metric's group keys, that the answer keeps; `filters` pairs a place with the
    values it may have, `excluded` with those it may not. With `members`, UNIQUE cells come back one per counted value
    instead of one count. `by_customer` tells customer keys apart; `owners`, one per key of `customers`, are the names
    under which it does so: keys of one owner merge. Where `kept` is given, only those pairs of groups and owner have
    rows of their own; all others merge into the rest, a row with groups () and customer None. With `versions_only`
    there are no rows at all: the question is whether anything changed. What `layers`, which do not overlap, have is
    read from their scopes instead of the tenant's.
    """

    tenant: str
    metric: str
    aggregation: Aggregation
    customers: tuple[str, ...] | None
    start_us: int
    end_us: int
    starts: tuple[int, ...]
    group_at: tuple[int, ...] = ()
    filters: tuple[tuple[int, tuple[GroupValue, ...]], ...] = ()
    by_customer: bool = False
    members: bool = False
    excluded: tuple[tuple[int, tuple[GroupValue, ...]], ...] = ()
    owners: tuple[str, ...] = ()
    kept: tuple[KeptGroup, ...] | None = None
    versions_only: bool = False
    layers: tuple[LayerWindows, ...] = ()

    def is_in_scope(self, scope: str, customer: str, window_us: int) -> bool:
        """Whether the cells that stand there are asked for in this scope: a layer's, or else the tenant's."""
        layer = next((each for each in self.layers if each.has(customer, window_us)), None)
        return scope == (self.tenant if layer is None else layer.scope)

    def owner_of(self, customer: str) -> str:
        """The name that a row by customer has for one of the keys asked for."""
        return self.owners[(self.customers or ()).index(customer)] if self.owners else customer


class CellRow(NamedTuple):
    """Merged cells of one stretch, group and (where asked) customer and member."""

    start_us: int
    groups: tuple[GroupValue, ...]
    customer: str | None
    member: GroupValue
    cell: Cell


class CellAnswer(msgspec.Struct, frozen=True):
    """Rows with at least one event, and the greatest version that was read of each partition.

    A row's `latest_us` and `latest_id` mean something for LATEST alone; its `weighted` counts from the row's start.
    """

    rows: tuple[CellRow, ...]
    versions: dict[int, int]


def moved(cell: Cell, by_us: int) -> Cell:
    """The cell of a TIME_WEIGHTED_SUM as seen from `by_us` microseconds before its window's start.

    Cells of several windows merge after they are moved to one start. Call inside the exact context.
    """
    return msgspec.structs.replace(cell, weighted=cell.weighted + cell.value * by_us)


def merge(aggregation: Aggregation, into: Cell, other: Cell) -> None:
    """Fold `other` into `into`: associative and commutative, identity = a cell without events.

    Call inside the exact context: a sum that would need rounding raises. `version` becomes the greater one.
    """
    into.version = max(into.version, other.version)
    if not other.events:
        return
    first = not into.events
    into.events += other.events
    if first:
        into.value, into.latest_us, into.latest_id = other.value, other.latest_us, other.latest_id
        into.weighted = other.weighted
    elif aggregation is Aggregation.SUM:
        into.value += other.value
    elif aggregation is Aggregation.TIME_WEIGHTED_SUM:
        into.value += other.value
        into.weighted += other.weighted
    elif aggregation is Aggregation.MAX:
        into.value = max(into.value, other.value)
    elif aggregation is Aggregation.MIN:
        into.value = min(into.value, other.value)
    elif aggregation is Aggregation.LATEST and _lateness(other) > _lateness(into):
        into.value, into.latest_us, into.latest_id = other.value, other.latest_us, other.latest_id


def _lateness(cell: Cell) -> tuple[int, str, Decimal]:
    """Only the layer of a backfill may hold two events of one instant and id: the greater value is the latest then."""
    return cell.latest_us, cell.latest_id, cell.value


def retract(aggregation: Aggregation, cell: Cell, other: Cell) -> Cell | None:
    """`cell` without `other`, which is in it: `retract(merge(a, b), b)` is `a`, with the version of `cell`.

    None where the cell does not tell: its extreme, or latest value, was `other`'s own. Call inside the exact context.
    """
    if not other.events:
        return msgspec.structs.replace(cell)
    events = cell.events - other.events
    if events < 0:
        return None
    if not events:
        return Cell(version=cell.version)
    left = msgspec.structs.replace(cell, events=events)
    if aggregation in (Aggregation.SUM, Aggregation.TIME_WEIGHTED_SUM):
        left.value -= other.value
        left.weighted -= other.weighted
    elif aggregation is Aggregation.LATEST:
        return None if (cell.latest_us, cell.latest_id) == (other.latest_us, other.latest_id) else left
    elif aggregation in (Aggregation.MAX, Aggregation.MIN):
        return None if cell.value == other.value else left
    return left
