"""The reference model of a TIME_WEIGHTED_SUM: the level, instant by instant, from every event there ever was."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from decimal import Decimal, localcontext

import reference

_MICROSECOND = timedelta(microseconds=1)


def level_time(
    metric: reference.Body, events: Iterable[reference.Body], start: datetime, end: datetime
) -> tuple[Decimal, int]:
    """The level in [start, end) times the seconds it stood, and how many changes of it are inside."""
    changes = [
        (reference.instant(event["timestamp"]), value)
        for event in events
        if (value := reference.number(reference.prop(event, metric["aggregation_key"]))) is not None
        and reference.takes(metric, event)
    ]
    inside = sorted(at for at, _ in changes if start <= at < end)
    held = Decimal(0)
    with localcontext(prec=200):
        for here, there in zip([start, *inside], [*inside, end], strict=True):
            level = sum((value for at, value in changes if at <= here), Decimal(0))
            held += level * ((there - here) // _MICROSECOND)
        return held.scaleb(-6), len(inside)
