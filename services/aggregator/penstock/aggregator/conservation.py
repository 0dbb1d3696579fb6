"""What became of every event in the log, by hour of the log clock, corrections taken into account."""

from __future__ import annotations

from collections import Counter
from typing import Any

from penstock.aggregator.cut import read_as_one_cut
from penstock.kernel.cell import CONSERVATION, CORRECTIONS, CellAnswer, CellQuestion
from penstock.kernel.event import Outcome
from penstock.kernel.meter import Aggregation
from penstock.kernel.ports.usage_store import UsageStore
from penstock.kernel.window import from_us

_HOUR_US = 3_600_000_000


def hours_view(store: UsageStore, tenant: str, start_us: int, end_us: int) -> list[dict[str, Any]]:
    """The hours of [start, end) that have events, each with how many have which outcome now. One consistent cut."""
    hours = tuple(range(start_us, end_us, _HOUR_US))
    told, moved = (
        CellQuestion(tenant, metric, Aggregation.COUNT, ("",), start_us, end_us, hours, group_at=group_at)
        for metric, group_at in ((CONSERVATION, (0,)), (CORRECTIONS, (0, 1)))
    )

    def read() -> tuple[tuple[CellAnswer, CellAnswer], dict[int, int]]:
        answers = store.read_cells(told), store.read_cells(moved)
        partitions = {partition for answer in answers for partition in answer.versions}
        newest = {p: max(answer.versions.get(p, -1) for answer in answers) for p in partitions}
        return answers, newest

    (outcomes, moves), _ = read_as_one_cut(store, read)
    table: dict[int, Counter[str]] = {}
    for row in outcomes.rows:
        table.setdefault(row.start_us, Counter())[str(row.groups[0])] += row.cell.events
    for row in moves.rows:
        before, after = map(str, row.groups)
        table[row.start_us][before] -= row.cell.events
        table[row.start_us][after] += row.cell.events
    return [
        {"hour": from_us(hour), **{outcome.name.lower(): counts[outcome.name] for outcome in Outcome}}
        for hour, counts in sorted(table.items())
    ]
