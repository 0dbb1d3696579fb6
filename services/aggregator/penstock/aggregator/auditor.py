"""The auditor's shell: reads cells and stored events, and tells where they do not agree.

Every read says as of what: markers first, then cells, then the events at or below them. It writes nothing.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

import msgspec

from penstock.aggregator.audit import (
    US_PER_HOUR,
    Cut,
    Difference,
    Hours,
    Life,
    ahead_of,
    compare,
    conservation_differences,
    lives,
    outcome_key,
)
from penstock.aggregator.combinations import day_of, member_of, stored_members
from penstock.aggregator.correction import move_key
from penstock.aggregator.cut import read_as_one_cut
from penstock.aggregator.fill import cells_of
from penstock.aggregator.layers import events_of, follow, layer_lives
from penstock.kernel.cell import CONSERVATION, CORRECTIONS, FILLED_US, Cell, CellKey
from penstock.kernel.layer import FollowedLayer, tenant_of
from penstock.kernel.ports.usage_store import UsageStore
from penstock.kernel.record import Vector
from penstock.kernel.window import BASE_WINDOW_US, Span, from_us

SpanUs = tuple[int, int]
WINDOWS_END_US = (2**32 - 1) * 1_000_000  # no window of the store begins later


class Findings(msgspec.Struct):
    """How many cells were looked at, and where they were not what the events make."""

    cells: int = 0
    differences: list[Difference] = []

    def add(self, other: Findings) -> None:
        self.cells += other.cells
        self.differences = [*self.differences, *other.differences]

    @property
    def events(self) -> int:
        """By how many events all differences together are off."""
        return sum(difference.events for difference in self.differences)


class _Conserved(msgspec.Struct, frozen=True):
    """What the store says of some hours: where each ends in the log, what became of events, and what of that moved."""

    last_offsets: list[tuple[int, int]]
    told: dict[CellKey, Cell]
    moved: dict[CellKey, Cell]


class Auditor:
    """Safe for threads: it keeps nothing. `partitions` are all there are; the first `sealed` are of sealed logs."""

    def __init__(self, store: UsageStore, partitions: int, sealed: int = 0) -> None:
        self._store = store
        self.partitions, self.sealed = partitions, sealed

    def lives(self) -> list[dict[str, Life]]:
        """The metrics of every partition, by id."""
        return [self._lives(p) for p in range(self.partitions)]

    def _lives(self, partition: int) -> dict[str, Life]:
        """To a sealed partition a metric that came later is defined at its end."""
        known = lives(self._store.control_records(partition))
        end = self._store.marker(partition) if partition < self.sealed else None
        if end is None:
            return known
        later = lives(self._store.control_records(self.partitions - 1))
        return {metric_id: Life(life.metric, end.offset) for metric_id, life in later.items()} | known

    def layers(self) -> dict[str, FollowedLayer]:
        """The layers of backfills, by scope."""
        return follow([layer_lives(self._store.control_records(p)) for p in range(self.partitions)])

    def scopes(self, tenant: str) -> list[str]:
        """Wherever the tenant's metrics have cells: its own scope, and those of its layers."""
        return [tenant, *(scope for scope in self.layers() if tenant_of(scope) == tenant)]

    def cells(
        self,
        tenant: str,
        metric_id: str,
        customers: tuple[str, ...] | None,
        span_us: SpanUs,
        partition: int | None = None,
    ) -> Findings:
        """Audit one metric's cells of these windows. `span_us` is whole windows; None is every customer, or partition.

        `tenant` may be the scope of a layer of its tenant.

        A partition that has not come to the metric's control record, or is still being filled, has none to audit yet.
        """
        fills = self._store.fills(partition)  # first: whatever is filled by now has all of its cells
        markers = self._store.markers()
        stored = self._store.stored_cells(tenant, metric_id, customers, span_us, partition)
        named = range(self.partitions) if partition is None else (partition,)
        wanted = [p for p in named if fills.get((p, metric_id)) == FILLED_US]
        stored = {key: cell for key, cell in stored.items() if key.partition in wanted}
        known = {p: held[metric_id] for p in wanted if metric_id in (held := self._lives(p))}
        ahead = ahead_of(stored, markers)
        settled = {key: cell for key, cell in stored.items() if key not in ahead}
        offsets = {p: markers[p].offset for p in markers}
        made = self._recomputed(tenant, known, customers, span_us, offsets)
        # What is ahead already holds more than the marker says, and is looked at by itself.
        made = {key: cell for key, cell in made.items() if key not in ahead}
        found = compare(settled, made, defaultdict(lambda: -1, offsets))
        found += self._ahead_differences(tenant, known, ahead)
        return Findings(len(stored), [each for each in found if not self._is_refused(each, known)])

    def _is_refused(self, difference: Difference, known: Mapping[int, Life]) -> bool:
        """Whether the fold does not keep the cell up: its group combination is beyond the metric's limit of the day."""
        key = difference.key
        metric = known[key.partition].metric if key.partition in known else None
        if metric is None or not metric.group_keys:
            return False
        day = day_of(key)
        held = stored_members(self._store, day, 1, key.partition).get(day.start_us, set())
        return len(held) > metric.group_combinations_max and member_of(key.groups) not in held

    def _ahead_differences(
        self, tenant: str, known: Mapping[int, Life], ahead: Mapping[CellKey, Cell]
    ) -> list[Difference]:
        """Compare cells ahead of their marker as of their own version: their events are stored before they are."""
        by_version: dict[tuple[int, int], dict[CellKey, Cell]] = defaultdict(dict)
        for key, cell in ahead.items():
            by_version[key.partition, cell.version][key] = cell
        found: list[Difference] = []
        for (partition, version), cells in by_version.items():
            customers = tuple({key.customer for key in cells})
            windows = [key.window_us for key in cells]
            span_us = (min(windows), max(windows) + BASE_WINDOW_US)
            made = self._recomputed(tenant, known, customers, span_us, {partition: version})
            of_these = {key: cell for key, cell in made.items() if key in cells}
            found += compare(cells, of_these, {partition: version})
        return found

    def _recomputed(
        self,
        tenant: str,
        known: Mapping[int, Life],
        customers: tuple[str, ...] | None,
        span_us: SpanUs,
        offsets: Mapping[int, int],
    ) -> dict[CellKey, Cell]:
        """The cells that stored events make as of `offsets`; a partition that is not among them makes none."""
        as_of: Vector = tuple(
            known[p].prefix(offsets[p]) if p in known and p in offsets else -1 for p in range(self.partitions)
        )
        with_events = [p for p, offset in enumerate(as_of) if offset >= 0]
        if not with_events:
            return {}
        metric = known[with_events[0]].metric
        span = Span(from_us(span_us[0]), from_us(span_us[1]))
        only = with_events[0] if len(with_events) == 1 else None
        layer = None if tenant == metric.tenant else self.layers().get(tenant)
        if layer is None:
            return cells_of(metric, self._store.read_events(tenant, customers, span, as_of, only), scope=tenant)
        return cells_of(metric, events_of(self._store, layer, customers, span, as_of, only), scope=tenant)

    def conservation(self, partition: int, span_us: SpanUs, tenant: str | None = None) -> Findings:
        """Audit what became of events in these hours of the log clock, from what is stored of events.

        For one tenant, what was dropped is left out: it is stored without its tenant.
        """

        def read() -> tuple[_Conserved, dict[int, int]]:
            hours = self._store.hours(partition)
            told = self._store.stored_cells(None, CONSERVATION, None, span_us, partition)
            moved = self._store.stored_cells(None, CORRECTIONS, None, span_us, partition)
            versions = [cell.version for cells in (told, moved) for cell in cells.values()]
            newest = max([*(offset for _, offset in hours), *versions], default=-1)
            return _Conserved(hours, told, moved), {partition: newest} if hours else {}

        held, markers = read_as_one_cut(self._store, read)
        through = markers[partition].offset if partition in markers else -1
        hours = Hours(held.last_offsets, span_us, through)
        if not hours.starts:
            return Findings()
        counted = {
            outcome_key(of_tenant, hours.starts[stretch], outcome, partition): events
            for (stretch, of_tenant, outcome), events in self._store.outcomes(partition, hours.edges).items()
        }
        moved = {
            move_key(of_tenant, hours.starts[stretch], before, after, partition): Cell(events=events)
            for (stretch, of_tenant, before, after), events in self._store.moves(
                partition, hours.edges, through
            ).items()
        }
        found = conservation_differences(held.told, counted, partition, through)
        found += compare(held.moved, moved, {partition: through})
        looked_at = [*held.told, *held.moved]
        if tenant is None:
            return Findings(len(looked_at), found)
        cells = sum(tenant_of(key.tenant) == tenant for key in looked_at)
        return Findings(cells, [difference for difference in found if tenant_of(difference.key.tenant) == tenant])

    def cut(self, partition: int, since_us: int | None) -> Cut | None:
        """The conservation cells of the hours from `since_us` on (None: the one in which the partition stands).

        None where nothing is folded yet.
        """
        marker = self._store.marker(partition)
        if marker is None:
            return None
        hour = (marker.clock_us if since_us is None else since_us) // US_PER_HOUR * US_PER_HOUR

        def read() -> tuple[dict[CellKey, Cell], dict[int, int]]:
            cells = self._store.stored_cells(None, CONSERVATION, None, (hour, WINDOWS_END_US), partition)
            newest = max((cell.version for cell in cells.values()), default=-1)
            return cells, {partition: newest}

        cells, markers = read_as_one_cut(self._store, read)
        return Cut(markers[partition], cells)
