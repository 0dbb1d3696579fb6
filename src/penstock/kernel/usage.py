"""Usage: what is asked of the cells, and what comes back with the vector it is as of."""

from __future__ import annotations

from decimal import Decimal

import msgspec

from penstock.kernel.meter import GroupValue
from penstock.kernel.record import Vector
from penstock.kernel.window import Span


class UsageQuery(msgspec.Struct, frozen=True):
    """Usage of one metric for some customer keys, cut into `spans`, grouped by any subset of the metric's group keys.

    `customers` are keys as sent (a customer's id and its aliases), resolved by the asker. `spans` are disjoint and in
    order; a span may begin or end inside a 15-minute window: that part is answered from stored events, exactly.
    `filters` keeps only the named values of a group key (None = the event has no such property), `excluded` all
    others; the key need not be one of `group_by`. `by_customer_key` tells the keys apart; `owners`, one per key, names
    whose each is, and rows are told apart by owner.

    `top` keeps the so many greatest groups (with owners: pairs of owner and group) by value over all spans together,
    ties by group text; the spans then touch one another. With `rest`, what is left comes as one row per span.
    """

    tenant: str
    metric_id: str
    customers: tuple[str, ...]
    spans: tuple[Span, ...]
    group_by: tuple[str, ...] = ()
    filters: tuple[tuple[str, tuple[GroupValue, ...]], ...] = ()
    by_customer_key: bool = False
    excluded: tuple[tuple[str, tuple[GroupValue, ...]], ...] = ()
    owners: tuple[str, ...] = ()
    top: int | None = None
    rest: bool = False


class UsageRow(msgspec.Struct, frozen=True):
    """One figure. `value` is None where nothing was counted by MAX, MIN or LATEST; the others give zero.

    Only combinations that hold at least one event come back; a span without any has no row, unless a
    TIME_WEIGHTED_SUM, in units x seconds, has carried a level into it.
    """

    span: Span
    groups: tuple[GroupValue, ...]  # in the order of the query's `group_by`
    value: Decimal | None
    events: int
    customer_key: str | None = None  # the key or its owner, where the query tells them apart
    is_rest: bool = False  # all groups that are not among the top, as one: without groups and customer


class Usage(msgspec.Struct, frozen=True):
    """Rows ordered by span, then groups, then customer key, and what they are as of: one consistent cut.

    Where the greatest were asked for: by span, then from the greatest down, the rest last.
    """

    rows: tuple[UsageRow, ...]
    vector: Vector
    layers: tuple[str, ...] = ()  # the ids of the backfills that were in force for the tenant
