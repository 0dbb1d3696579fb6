"""Rebuild a partition's cells beside the live ones, compare, and on demand write those that differ. Offline.

From the log: its records from the first one on go through the real owner into a store in memory. From stored events:
the auditor's recomputation, over all windows. Nothing is ever deleted: a cell that should be empty is written as
identity, at a version that wins.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import msgspec

from penstock.aggregator.audit import ALL_TENANTS, Difference, ahead_of, compare
from penstock.aggregator.auditor import WINDOWS_END_US, Auditor, Findings
from penstock.aggregator.consume import Owner
from penstock.aggregator.quarantine import Quarantine
from penstock.aggregator.store.memory import MemoryUsageStore
from penstock.kernel.cell import CONSERVATION, FILLED_US, Cell, CellKey
from penstock.kernel.event import BACKDATE_DAYS_MAX
from penstock.kernel.identity import BodyHashes, Identities
from penstock.kernel.layer import Layer
from penstock.kernel.ports.event_log import Appended, EventLog
from penstock.kernel.ports.fold_store import Flush, Stretch
from penstock.kernel.ports.usage_store import UsageStore
from penstock.kernel.problems import Refused
from penstock.kernel.record import US_PER_DAY, Kind, LogIdentity, LogRecord, Marker

KEEP_ALL_US = 10**17  # a retention by which nothing is trimmed


class NotRebuilt(Refused):
    """Why a partition cannot be rebuilt in the way that was asked."""


class Prefix:
    """An `EventLog` that ends at an offset and is only read."""

    def __init__(self, log: EventLog, through: int) -> None:
        self._log = log
        self._through = through

    @property
    def identity(self) -> LogIdentity:
        return self._log.identity

    async def append(self, partition: int, kind: Kind, stamped_at_us: int, payload: bytes) -> Appended:
        raise AssertionError("a prefix is only read")

    async def read(self, partition: int, start: int, bytes_max: int, wait_ms: int) -> list[LogRecord]:
        if start > self._through:
            return []
        records = await self._log.read(partition, start, bytes_max, wait_ms)
        return [record for record in records if record.offset <= self._through]

    async def bounds(self, partition: int) -> tuple[int, int]:
        first, end = await self._log.bounds(partition)
        return first, min(end, self._through + 1)

    async def trim(self, partition: int, before: int) -> None:
        """Keep everything."""

    async def close(self) -> None:
        """The log is its owner's to close."""


class _KeptAlready(Quarantine):
    """What cannot be read was put away when it was folded first."""

    def __init__(self) -> None:
        """Opens nothing."""

    async def keep(self, record: LogRecord, reason: str) -> None:
        """Nothing to do."""


class _Beside(MemoryUsageStore):
    """The store that is folded into. What is of sealed logs is not folded again, and is read where it is."""

    def __init__(self, live: UsageStore, sealed: int) -> None:
        super().__init__()
        self._live, self._sealed = live, sealed

    def markers(self) -> dict[int, Marker]:
        return {p: marker for p, marker in self._live.markers().items() if p < self._sealed} | super().markers()

    def fills(self, partition: int | None) -> dict[tuple[int, str], int]:
        live = {at: through for at, through in self._live.fills(partition).items() if at[0] < self._sealed}
        return live | super().fills(partition)

    def ids(self, partition: int, stretch: Stretch) -> Iterator[tuple[int, Identities, BodyHashes]]:
        if partition < self._sealed:
            return self._live.ids(partition, stretch)
        return super().ids(partition, stretch)

    def known(self, partition: int, stretch: Stretch, asked: Identities) -> tuple[Identities, BodyHashes]:
        if partition < self._sealed:
            return self._live.known(partition, stretch, asked)
        return super().known(partition, stretch, asked)


def settled_marker(store: UsageStore, partition: int) -> Marker:
    """The partition's marker. Raise `NotRebuilt` where it has none, or where a flush was cut short."""
    marker = store.marker(partition)
    if marker is None:
        raise NotRebuilt(f"partition {partition} has no marker: nothing has been folded")
    ahead = ahead_of(store.stored_cells(None, None, None, None, partition), {partition: marker})
    if ahead:
        raise NotRebuilt(
            f"{len(ahead)} cells of partition {partition} are ahead of its marker at offset {marker.offset}: its last "
            "flush was cut short. Start the server once, so that it finishes it, stop it, and rebuild then"
        )
    return marker


async def from_log(store: UsageStore, log: EventLog, partition: int) -> Findings:
    """Fold the log again up to the marker, and compare every cell. Raise `NotRebuilt` where the log was trimmed."""
    marker = settled_marker(store, partition)
    if partition not in log.identity.own:
        raise NotRebuilt(f"partition {partition} is of a log that is sealed: use --from-events")
    first, _ = await log.bounds(partition)
    if first > 0:
        raise NotRebuilt(
            f"the log of partition {partition} begins at offset {first}, not at 0: its older records are trimmed. "
            "Use --from-events"
        )
    beside = _Beside(store, log.identity.first)
    owner = Owner(partition, Prefix(log, marker.offset), beside, KEEP_ALL_US, quarantine=_KeptAlready())
    await owner.restore()
    while owner.offset < marker.offset and await owner.step(0):
        pass
    while await owner.fill():
        pass
    unfilled = _unfilled(store, beside, partition)
    live = _without(unfilled, store.stored_cells(None, None, None, None, partition))
    rebuilt = _without(unfilled, beside.stored_cells(None, None, None, None, partition))
    return Findings(len(live), compare(live, rebuilt, {partition: marker.offset}))


def _unfilled(store: UsageStore, beside: UsageStore, partition: int) -> set[str]:
    """The metrics that are still being filled: they have not all of their cells yet, and nobody reads them."""
    fills = store.fills(partition)
    return {metric_id for at, metric_id in beside.fills(partition) if fills.get((at, metric_id)) != FILLED_US}


def _without(metrics: set[str], cells: Mapping[CellKey, Cell]) -> dict[CellKey, Cell]:
    return {key: cell for key, cell in cells.items() if key.metric not in metrics}


def from_events(store: UsageStore, partition: int, sealed: int = 0) -> Findings:
    """Count stored events again, and compare every cell, day by day. The first `sealed` partitions are so."""
    settled_marker(store, partition)
    auditor = Auditor(store, max(store.markers()) + 1, sealed)
    days, layers = _days(store, partition), auditor.layers()
    found = Findings()
    for life in auditor.lives()[partition].values():
        tenant, metric_id = life.metric.tenant, life.metric.id
        of_scopes = [(tenant, days)]
        of_scopes += [(scope, _days_of(each.layer)) for scope, each in layers.items() if each.layer.tenant == tenant]
        for scope, of_scope in of_scopes:
            for start_us in of_scope:
                found.add(auditor.cells(scope, metric_id, None, (start_us, start_us + US_PER_DAY), partition))
    found.add(auditor.conservation(partition, (0, WINDOWS_END_US)))
    return found


def _days(store: UsageStore, partition: int) -> range:
    """The starts of all days of which the partition may have events: they are near the hours of its log clock."""
    windows = store.windows(partition) or {0}
    first, last = min(windows) // US_PER_DAY - BACKDATE_DAYS_MAX - 1, max(windows) // US_PER_DAY + 2
    return range(max(0, first) * US_PER_DAY, last * US_PER_DAY, US_PER_DAY)


def _days_of(layer: Layer) -> range:
    return range(layer.start_us // US_PER_DAY * US_PER_DAY, layer.end_us, US_PER_DAY)


def swap(store: UsageStore, partition: int, differences: Sequence[Difference]) -> int:
    """Write what was recomputed over what differs; return how many cells that were.

    A figure of all tenants, or of all outcomes, is no cell: only a rebuild from the log can mend those.
    """
    marker = settled_marker(store, partition)
    hours = dict(store.hours(partition))
    cells: dict[CellKey, Cell] = {}
    for difference in differences:
        key, made = difference.key, difference.recomputed
        if key.tenant == ALL_TENANTS:
            continue
        version = marker.offset
        if key.metric == CONSERVATION:
            # Its version says where its hour ends in the log: no higher than that. Of equal versions the last wins.
            version = max(hours.get(key.window_us, -1), made.version)
        cells[key] = msgspec.structs.replace(made, version=version)
    if cells:
        store.flush(Flush((), (), (), frozenset(), cells, marker))
    return len(cells)
