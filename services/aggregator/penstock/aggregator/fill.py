"""Cells computed from stored events: for a metric that came after its events, for a ragged span, for the auditor.

The same `tally` counts here as in the fold; what is read is named by an offset: the answer is a function of a prefix.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping

import msgspec
import numpy as np

from penstock.aggregator.layers import events_of
from penstock.aggregator.tally import Batch, read_batch_properties, tally
from penstock.kernel.cell import Cell, CellKey, merge
from penstock.kernel.layer import NEVER, FollowedLayer, LayerLife
from penstock.kernel.meter import Metric
from penstock.kernel.ports.usage_store import UsageStore
from penstock.kernel.quantity import exact
from penstock.kernel.record import US_PER_DAY, Vector
from penstock.kernel.stored import StoredEvents
from penstock.kernel.window import BASE_WINDOW_US, Span, from_us


class Filling(msgspec.Struct, frozen=True):
    """A metric whose cells begin at the control record at `offset` of a partition (of so many).

    `layers` are those of its tenant that were open as of the record: they have cells of the metric too.
    """

    metric: Metric
    offset: int
    partition: int
    partitions: int
    layers: tuple[LayerLife, ...] = ()

    @property
    def key(self) -> tuple[int, str]:
        return self.partition, self.metric.id

    @property
    def scopes(self) -> tuple[str, ...]:
        """Where the metric has cells as of the record: the tenant's own scope and those of its layers."""
        return (self.metric.tenant, *(life.layer.scope for life in self.layers))

    def events(
        self, store: UsageStore, scope: str, customers: tuple[str, ...] | None, span: Span
    ) -> Iterable[StoredEvents]:
        """What is stored of the partition in that scope as of the record; nothing of a layer that came later."""
        as_of = self._of_partition(self.offset, -1)
        if scope == self.metric.tenant:
            return store.read_events(scope, customers, span, as_of, self.partition)
        for life in self.layers:
            if life.layer.scope == scope:
                layer = FollowedLayer(life.layer, self._of_partition(life.follows_after, NEVER))
                return events_of(store, layer, customers, span, as_of, self.partition)
        return ()

    def cells(
        self, store: UsageStore, scope: str, customers: tuple[str, ...] | None, span: Span
    ) -> dict[CellKey, Cell]:
        """The metric's cells in that scope as of the record, those that hold something."""
        return cells_of(self.metric, self.events(store, scope, customers, span), self.offset, scope)

    def _of_partition(self, offset: int, elsewhere: int) -> Vector:
        return tuple(offset if p == self.partition else elsewhere for p in range(self.partitions))


def bases(store: UsageStore, fillings: Mapping[str, Filling], keys: Iterable[CellKey]) -> dict[CellKey, Cell]:
    """The cells `keys` as of their metrics' control records, from stored events; one without events is left out.

    Asked day by day, so that a late event does not read all that lies between it and the others.
    """
    wanted: dict[tuple[str, str, int], set[CellKey]] = defaultdict(set)
    for key in keys:
        wanted[key.tenant, key.metric, key.window_us // US_PER_DAY].add(key)
    found: dict[CellKey, Cell] = {}
    for (scope, metric_id, _), some in wanted.items():
        filling = fillings[metric_id]
        customers = tuple(sorted({key.customer for key in some}))
        windows = [key.window_us for key in some]
        span = Span(from_us(min(windows)), from_us(max(windows) + BASE_WINDOW_US))
        made = filling.cells(store, scope, customers, span)
        found.update((key, cell) for key, cell in made.items() if key in some)
    return found


@exact
def cells_of(
    metric: Metric, stored: Iterable[StoredEvents], version: int = -1, scope: str | None = None
) -> dict[CellKey, Cell]:
    """What `metric` counts in stored events, each cell at `version` and in `scope` (its tenant's where None).

    An event whose property cannot be read for this metric is left out; one that was quarantined never gets here.
    """
    cells: dict[CellKey, Cell] = {}
    for events in stored:
        for batch, _ in batches(metric, events, scope or metric.tenant):
            taken = tally(metric, batch)
            if taken is None:
                continue
            for key, gain in zip(taken.keys, taken.cells(), strict=True):
                gain.version = version
                merge(metric.aggregation, cells.setdefault(key, Cell()), gain)
    return cells


def batches(metric: Metric, events: StoredEvents, scope: str) -> Iterable[tuple[Batch, StoredEvents]]:
    """The events that the metric looks at, by partition, each row of the batch a row of what stands beside it."""
    types, type_names = events.codes("event_type")
    matches = np.array([metric.event_types.matches(name) for name in type_names], bool)[types]
    partitions = np.asarray(events.table.column("partition"))
    for partition in np.unique(partitions[matches]).tolist():
        rows = np.flatnonzero(matches & (partitions == partition))
        part = StoredEvents(events.table.take(rows))
        properties = read_batch_properties([metric], part.properties)
        places = np.arange(len(part))
        yield Batch(scope, partition, places, part.codes("customer"), part.times_us, part.ids, properties), part
