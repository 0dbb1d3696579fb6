"""What a fill asks of the tables, as SQL: which hours hold events, and how far the fills of metrics have come."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

from penstock.kernel.window import BASE_WINDOW_US

Question = tuple[str, dict[str, Any]]  # the text, and its parameters

_US_PER_HOUR = 3_600_000_000
_WINDOWS_PER_HOUR = _US_PER_HOUR // BASE_WINDOW_US
FILL_COLUMNS = ["partition", "metric", "through_us"]


def row_hours_sql(tenant: str, partition: int, through: int) -> Question:
    """Of events that are stored as rows: hours since the epoch, and how many events each holds."""
    sql = """SELECT intDiv(toUnixTimestamp(time), 3600) AS hour, count() FROM events
             WHERE tenant = {tenant:String} AND partition = {partition:UInt16} AND offset <= {through:Int64}
             GROUP BY hour"""
    return sql, {"tenant": tenant, "partition": partition, "through": through}


def chunk_hours_sql(tenant: str, partition: int, through: int) -> Question:
    """Of records that are stored whole: their events are shared out over their windows, whosever they are."""
    sql = f"""SELECT intDiv(arrayJoin(windows), {_WINDOWS_PER_HOUR}) AS hour, sum(intDiv(events, length(windows)) + 1)
              FROM chunks WHERE has(tenants, {{tenant:String}}) AND partition = {{partition:UInt16}}
                            AND offset <= {{through:Int64}}
              GROUP BY hour"""
    return sql, {"tenant": tenant, "partition": partition, "through": through}


def hours(rows: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    found: Counter[int] = Counter()
    for hour, events in rows:
        found[hour] += events
    return [(hour * _US_PER_HOUR, events) for hour, events in sorted(found.items())]


def fills_sql(partition: int | None) -> Question:
    where = "1" if partition is None else "partition = {partition:UInt16}"
    return f"SELECT partition, metric, through_us FROM fills WHERE {where}", {"partition": partition or 0}
