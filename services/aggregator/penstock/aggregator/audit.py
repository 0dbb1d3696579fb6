"""What a cell must hold, and where a stored one does not: the auditor's arithmetic, pure.

A cell is a function of the log's prefix at its own version. One whose version is at or below the marker is the same
function of the prefix at the marker: whatever the records between brought to it would have raised its version. So
those are compared as of the marker, which also finds what was never written; those ahead of it (a flush is under way,
or was cut short) as of their own version. A metric's cells take no event after the record that archives it.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

import msgspec
import numpy as np

from penstock.aggregator.applied import Applied
from penstock.aggregator.poison import chunk_of
from penstock.kernel.cell import CONSERVATION, Cell, CellKey
from penstock.kernel.chunk import Chunk
from penstock.kernel.control import MetricArchived, MetricDefined, decode_control
from penstock.kernel.event import Outcome
from penstock.kernel.meter import Metric
from penstock.kernel.record import LogRecord, Marker

US_PER_HOUR = 3_600_000_000
DROPPED = (Outcome.DUPLICATE, Outcome.CONFLICT, Outcome.LATE)
# Dropped events are stored without their tenant: what they add up to is known for all tenants together.
ALL_TENANTS = "*"


class Life(msgspec.Struct, frozen=True):
    """A metric in one partition: its cells begin at the record at `since`, filled from what came before it."""

    metric: Metric
    since: int
    until: int | None = None  # the record that archives it

    def prefix(self, offset: int) -> int:
        """The offset through which stored events make the metric's cells as of `offset`; -1 where it has none yet."""
        if offset < self.since:
            return -1
        return offset if self.until is None else min(offset, self.until)


def lives(controls: Iterable[tuple[int, bytes]]) -> dict[str, Life]:
    """Every metric that a partition's control records, in log order, define; by id. Repeats change nothing."""
    found: dict[str, Life] = {}
    applied = Applied(set(), {})
    for offset, payload in controls:
        control = decode_control(payload)
        if not applied.is_news(control):
            continue
        if isinstance(control, MetricDefined):
            found[control.metric.id] = Life(control.metric, offset)
        elif isinstance(control, MetricArchived) and control.metric_id in found:
            found[control.metric_id] = msgspec.structs.replace(found[control.metric_id], until=offset)
    return found


class Difference(msgspec.Struct, frozen=True):
    """A place where what is stored is not what the events make. `stored` is None where there is no row.

    `version` is the offset as of which the events were counted. For conservation, the key's window is an hour of the
    log clock; without a group it stands for all outcomes of the hours from there on.
    """

    key: CellKey
    stored: Cell | None
    recomputed: Cell
    version: int

    @property
    def events(self) -> int:
        """By how many events they differ; 1 where only the value does, so that no difference counts as none."""
        return max(1, abs((self.stored.events if self.stored else 0) - self.recomputed.events))


def compare(
    stored: Mapping[CellKey, Cell], recomputed: Mapping[CellKey, Cell], as_of: Mapping[int, int]
) -> list[Difference]:
    """Where two sets of cells differ, to the last digit, in order. `as_of` is an offset per partition."""
    differences = []
    for key in stored.keys() | recomputed.keys():
        held, made = stored.get(key), recomputed.get(key, Cell())
        if figure(held or Cell()) != figure(made):
            differences.append(Difference(key, held, made, as_of[key.partition]))
    return sorted(differences, key=_order)


def figure(cell: Cell) -> tuple[object, ...]:
    """What a cell says: without events it is the identity, whatever else is in its row."""
    return (cell.events, cell.value, cell.latest_us, cell.latest_id, cell.weighted) if cell.events else (0,)


def _order(difference: Difference) -> tuple[object, ...]:
    key = difference.key
    texts = tuple((text is not None, text or "") for text in (*key.groups, key.member))
    return key.tenant, key.metric, key.customer, key.window_us, texts, key.partition


def ahead_of(cells: Mapping[CellKey, Cell], markers: Mapping[int, Marker]) -> dict[CellKey, Cell]:
    """The cells whose version their partition's marker has not reached."""
    return {k: c for k, c in cells.items() if k.partition not in markers or c.version > markers[k.partition].offset}


class Hours:
    """Which offsets of a partition belong to which hour of the log clock.

    The clock never goes back, and every record that holds events leaves a conservation cell whose version is the last
    such record of its hour: so the greatest versions of the hours' cells cut the log into hours.
    """

    def __init__(self, last_offsets: Sequence[tuple[int, int]], span_us: tuple[int, int], through: int) -> None:
        """`last_offsets` are all hours that have cells, in order, each with its greatest version; `through` the marker.

        `starts` are the hours in the span; hour n holds the offsets above `edges[n]` and at or below `edges[n + 1]`.
        """
        before = [offset for hour, offset in last_offsets if hour < span_us[0]]
        within = [(hour, offset) for hour, offset in last_offsets if span_us[0] <= hour < span_us[1]]
        self.starts = [hour for hour, _ in within]
        edges = [max(before, default=-1), *(offset for _, offset in within)]
        if within and within[-1] == last_offsets[-1]:
            edges[-1] = max(edges[-1], through)  # whatever came since and left no cell belongs here
        self.edges = list(itertools.accumulate(edges, max))


def conservation_differences(
    stored: Mapping[CellKey, Cell], counted: Mapping[CellKey, int], partition: int, version: int
) -> list[Difference]:
    """Compare conservation cells of some hours with what is stored of events: kept ones by tenant, dropped ones in all.

    `counted` are stored and dropped events by the key of their cell; those of dropped ones name `ALL_TENANTS`.
    """
    held: dict[CellKey, Cell] = defaultdict(Cell)
    dropped = {outcome.name for outcome in DROPPED}
    for key, cell in stored.items():
        if key.groups[0] in dropped:
            key = key._replace(tenant=ALL_TENANTS)
        held[key].events += cell.events
    return compare(held, {key: Cell(events=n) for key, n in counted.items()}, {partition: version})


def outcome_key(tenant: str | None, hour_us: int, outcome: Outcome, partition: int) -> CellKey:
    """The conservation cell in which an event is counted."""
    return CellKey(tenant or ALL_TENANTS, CONSERVATION, "", hour_us, (outcome.name,), None, partition)


class Cut(msgspec.Struct, frozen=True):
    """A partition's marker, and its conservation cells exactly as of it, from some hour on."""

    marker: Marker
    cells: dict[CellKey, Cell]

    @property
    def hour_us(self) -> int:
        """The hour of the log clock in which the partition stood."""
        return self.marker.clock_us // US_PER_HOUR * US_PER_HOUR

    def by_tenant(self, since_us: int) -> dict[str, int]:
        """Events of all outcomes, in the hours from `since_us` on."""
        found: dict[str, int] = defaultdict(int)
        for key, cell in self.cells.items():
            if key.window_us >= since_us:
                found[key.tenant] += cell.events
        return found


def growth_differences(before: Cut, after: Cut, logged: Mapping[str, int]) -> list[Difference]:
    """Where conservation did not grow, between two markers, by what the log's records between them hold, by tenant."""
    partition, since_us = after.marker.partition, before.hour_us
    grown = after.by_tenant(since_us)
    for tenant, events in before.by_tenant(since_us).items():
        grown[tenant] = grown.get(tenant, 0) - events
    return compare(
        {_whole_key(tenant, since_us, partition): Cell(events=n) for tenant, n in grown.items()},
        {_whole_key(tenant, since_us, partition): Cell(events=n) for tenant, n in logged.items()},
        {partition: after.marker.offset},
    )


def _whole_key(tenant: str, since_us: int, partition: int) -> CellKey:
    return CellKey(tenant, CONSERVATION, "", since_us, (), None, partition)


def events_by_tenant(records: Iterable[LogRecord]) -> dict[str, int]:
    """How many events log records hold."""
    found: dict[str, int] = defaultdict(int)
    for record in records:
        chunk = chunk_of(record)
        if isinstance(chunk, Chunk):  # what cannot be read is in quarantine
            codes, names = chunk.codes("tenant")
            for name, events in zip(names, np.bincount(codes, minlength=len(names)).tolist(), strict=True):
                found[name] += events
    return {tenant: events for tenant, events in found.items() if events}
