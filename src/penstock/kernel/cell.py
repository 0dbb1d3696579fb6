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
    `latest_us` and `latest_id` order LATEST: by event time, then by transaction id.
    """

    events: int = 0
    value: Decimal = ZERO
    latest_us: int = 0
    latest_id: str = ""
    version: int = -1


def merge(aggregation: Aggregation, into: Cell, other: Cell) -> None:
    """Fold `other` into `into`: associative and commutative, identity = a cell without events.

    Call inside the exact context: a sum that would need rounding raises. `version` becomes the greater one.
    """
    into.version = max(into.version, other.version)
    if not other.events:
        return
    first = not into.events
    into.events += other.events
    if aggregation is Aggregation.SUM:
        into.value += other.value
    elif aggregation is Aggregation.MAX:
        into.value = other.value if first else max(into.value, other.value)
    elif aggregation is Aggregation.MIN:
        into.value = other.value if first else min(into.value, other.value)
    elif aggregation is Aggregation.LATEST and (
        first or (other.latest_us, other.latest_id) > (into.latest_us, into.latest_id)
    ):
        into.value, into.latest_us, into.latest_id = other.value, other.latest_us, other.latest_id
