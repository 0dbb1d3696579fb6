"""The reference model of backfills: which events count in an interval, the slow and obvious way.

It stands beside reference.py and imports nothing of the product either.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Sequence
from datetime import datetime
from typing import Any

from reference import Body, first_of_each_id, instant


def counted(
    before: Iterable[Body],
    sent: Iterable[Body],
    after: Iterable[Body],
    start: datetime,
    end: datetime,
    customers: Container[str] | None = None,
) -> list[dict[str, Any]]:
    """What counts while a backfill of [start, end) and some customer keys (all where None) is in force.

    `before` are the live events that came before its commit, `after` those since; `sent` are the backfill's own. In the
    interval, what came before is replaced by what was sent; ids are told apart within the live events and within the
    backfill's, never between them, and so the backfill's are given others.
    """

    def is_inside(event: Body) -> bool:
        mine = customers is None or event["customer_id"] in customers
        return mine and start <= instant(event["timestamp"]) < end

    earlier = list(before)
    live: Sequence[Body] = first_of_each_id([*earlier, *after])
    ids = {event["transaction_id"] for event in earlier}
    kept = [event for event in live if not (is_inside(event) and event["transaction_id"] in ids)]
    mine = [event for event in first_of_each_id(sent) if is_inside(event)]
    renamed = ({**event, "transaction_id": f"{event['transaction_id']} of the backfill"} for event in mine)
    return [*map(dict, kept), *renamed]
