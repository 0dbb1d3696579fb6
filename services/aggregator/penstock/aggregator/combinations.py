"""Which group combinations each metric has on a day: sets that only grow and are bounded, one per partition.

A set takes combinations in the order of their first records (of one record, in order of their hashes) until it holds
one more than the metric's limit; cells of any other combination are not written. So the set is a function of the log's
prefix, and it is kept as cells that are written once. An owner that restores one may find what a flush cut short has
added: those are among the first in that order, so the records that it folds again let in the same ones.

Readers unite what the partitions hold: where any partition's set is cut short, or all together have more than the
limit, the day is exceeded. What a fill counts is kept apart (`FILLED`), and readers unite that too: the fold need not
wait for it. A fill's cells are all written. Counted values of a UNIQUE metric are no combinations.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from hashlib import blake2b
from typing import NamedTuple

import msgspec

from penstock.kernel.cell import COMBINATIONS, Cell, CellKey, CellQuestion
from penstock.kernel.meter import Aggregation, GroupValue, Metric
from penstock.kernel.ports.usage_store import UsageStore
from penstock.kernel.record import US_PER_DAY
from penstock.kernel.window import from_us

FILLED = "filled"
Groups = tuple[GroupValue, ...]
# Combinations, each with the first record that brings it.
Newcomers = dict["MetricDay", dict[Groups, int]]


class MetricDay(NamedTuple):
    """A metric on a UTC day; `start_us` is its midnight."""

    tenant: str
    metric: str
    start_us: int


def day_of(key: CellKey) -> MetricDay:
    return MetricDay(key.tenant, key.metric, key.window_us // US_PER_DAY * US_PER_DAY)


def member_of(groups: Groups) -> str:
    """128 bits of a hash, in hex: group values may be long, and are told apart by nothing else."""
    return blake2b(msgspec.json.encode(groups), digest_size=16).hexdigest()


def let_in(held: set[str], newcomers: Iterable[tuple[int, str]], limit: int) -> list[tuple[int, str]]:
    """Add to `held`, in order of place and member, until it is one over `limit`; return those that are new."""
    taken: list[tuple[int, str]] = []
    for place, member in sorted(newcomers):
        if len(held) > limit:
            break
        if member not in held:
            held.add(member)
            taken.append((place, member))
    return taken


def combination_cell(day: MetricDay, member: str, partition: int, *marks: str) -> CellKey:
    """Where the cell stands that says a combination is there. Its counted value is the combination."""
    date = from_us(day.start_us).date().isoformat()
    return CellKey(day.tenant, COMBINATIONS, day.metric, day.start_us, (date, *marks), member, partition)


class Combinations:
    """The sets of one partition that are in memory, as of its fold's offset."""

    def __init__(self, partition: int) -> None:
        self._partition = partition
        self._held: dict[MetricDay, set[str]] = {}
        self._new: dict[CellKey, Cell] = {}

    def __contains__(self, day: MetricDay) -> bool:
        return day in self._held

    def admit(
        self, newcomers: Newcomers, stored: Mapping[MetricDay, set[str]], metrics: Mapping[str, Metric]
    ) -> dict[MetricDay, set[Groups]]:
        """Let in what there is room for; return the others. `stored` are sets that were not in memory."""
        refused: dict[MetricDay, set[Groups]] = {}
        for day, combinations in newcomers.items():
            held = self._held.setdefault(day, stored.get(day, set()))
            members = {groups: member_of(groups) for groups in combinations}
            wanted = [(offset, members[groups]) for groups, offset in combinations.items()]
            for offset, member in let_in(held, wanted, metrics[day.metric].group_combinations_max):
                self._new[combination_cell(day, member, self._partition)] = Cell(events=1, version=offset)
            beyond = {groups for groups, member in members.items() if member not in held}
            if beyond:
                refused[day] = beyond
        return refused

    def take_new(self) -> dict[CellKey, Cell]:
        """The cells of what was let in since the last call."""
        new, self._new = self._new, {}
        return new

    def forget(self, members_max: int) -> set[int]:
        """Drop sets of the oldest days where they hold more than that; return those days.

        The newest day stays, and what is not taken to be stored yet.
        """
        held = sum(map(len, self._held.values()))
        days = sorted({day.start_us for day in self._held})
        fresh = {key.window_us for key in self._new}
        dropped: set[int] = set()
        for start_us in days[:-1]:
            if held > members_max and start_us not in fresh:
                held -= sum(len(members) for day, members in self._held.items() if day.start_us == start_us)
                dropped.add(start_us)
        self._held = {day: members for day, members in self._held.items() if day.start_us not in dropped}
        return dropped


def stored_members(store: UsageStore, day: MetricDay, days: int, partition: int, *marks: str) -> dict[int, set[str]]:
    """The stored sets of a metric's `days` from `day` on, by midnight: those of the fold, or those with `marks`."""
    span_us = (day.start_us, day.start_us + days * US_PER_DAY)
    found: dict[int, set[str]] = defaultdict(set)
    for key in store.stored_cells(day.tenant, COMBINATIONS, (day.metric,), span_us, partition):
        if key.groups[1:] == marks:
            found[key.window_us].add(str(key.member))
    return found


def filled_combinations(
    store: UsageStore, metric: Metric, partition: int, version: int, keys: Iterable[CellKey]
) -> dict[CellKey, Cell]:
    """The cells that say which combinations a batch of a fill has, where there is room. Batches are whole windows."""
    wanted: dict[MetricDay, dict[Groups, int]] = defaultdict(dict)
    for key in keys:
        firsts = wanted[day_of(key)]
        firsts[key.groups] = min(key.window_us, firsts.get(key.groups, key.window_us))
    if not wanted:
        return {}
    first, last = min(wanted), max(wanted)
    stored = stored_members(store, first, (last.start_us - first.start_us) // US_PER_DAY + 1, partition, FILLED)
    made: dict[CellKey, Cell] = {}
    for day, combinations in wanted.items():
        newcomers = [(window_us, member_of(groups)) for groups, window_us in combinations.items()]
        for _, member in let_in(stored[day.start_us], newcomers, metric.group_combinations_max):
            made[combination_cell(day, member, partition, FILLED)] = Cell(events=1, version=version)
    return made


def days_question(tenant: str, metrics: tuple[str, ...] | None, start_us: int, end_us: int) -> CellQuestion:
    """How many combinations each day has, over all partitions: the row's group is the date, its customer the metric."""
    return CellQuestion(
        tenant=tenant,
        metric=COMBINATIONS,
        aggregation=Aggregation.UNIQUE,
        customers=metrics,
        start_us=start_us // US_PER_DAY * US_PER_DAY,
        end_us=-(-end_us // US_PER_DAY) * US_PER_DAY,
        starts=(start_us // US_PER_DAY * US_PER_DAY,),
        group_at=(0,),
        by_customer=True,
    )
