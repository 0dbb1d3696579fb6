"""Cells computed from stored events: for a metric that came after its events, for a ragged span, for the auditor.

The same `tally` counts here as in the fold; what is read is named by an offset: the answer is a function of a prefix.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping

import msgspec
import numpy as np

from penstock.aggregator.tally import Batch, read_batch_properties, tally
from penstock.kernel.cell import Cell, CellKey, merge
from penstock.kernel.meter import Metric
from penstock.kernel.ports.usage_store import UsageStore
from penstock.kernel.quantity import exact
from penstock.kernel.record import US_PER_DAY
from penstock.kernel.stored import StoredEvents
from penstock.kernel.window import BASE_WINDOW_US, Span, from_us


class Filling(msgspec.Struct, frozen=True):
    """A metric whose cells begin at the control record at `offset` of a partition (of so many)."""

    metric: Metric
    offset: int
    partition: int
    partitions: int

    def events(self, store: UsageStore, customers: tuple[str, ...] | None, span: Span) -> Iterable[StoredEvents]:
        """What is stored of the partition as of the record."""
        as_of = tuple(self.offset if p == self.partition else -1 for p in range(self.partitions))
        return store.read_events(self.metric.tenant, customers, span, as_of, self.partition)


def bases(store: UsageStore, fillings: Mapping[str, Filling], keys: Iterable[CellKey]) -> dict[CellKey, Cell]:
    """The cells `keys` as of their metrics' control records, from stored events; one without events is left out.

    Asked day by day, so that a late event does not read all that lies between it and the others.
    """
    wanted: dict[tuple[str, int], set[CellKey]] = defaultdict(set)
    for key in keys:
        wanted[key.metric, key.window_us // US_PER_DAY].add(key)
    found: dict[CellKey, Cell] = {}
    for (metric_id, _), some in wanted.items():
        filling = fillings[metric_id]
        customers = tuple(sorted({key.customer for key in some}))
        windows = [key.window_us for key in some]
        span = Span(from_us(min(windows)), from_us(max(windows) + BASE_WINDOW_US))
        made = cells_of(filling.metric, filling.events(store, customers, span), version=filling.offset)
        found.update((key, cell) for key, cell in made.items() if key in some)
    return found


@exact
def cells_of(metric: Metric, stored: Iterable[StoredEvents], version: int = -1) -> dict[CellKey, Cell]:
    """What `metric` counts in the stored events of its tenant, each cell at `version`.

    An event whose property cannot be read for this metric is left out; one that was quarantined never gets here.
    """
    cells: dict[CellKey, Cell] = {}
    for events in stored:
        for batch in _batches(metric, events):
            taken = tally(metric, batch)
            if taken is None:
                continue
            for key, gain in zip(taken.keys, taken.cells(), strict=True):
                gain.version = version
                merge(metric.aggregation, cells.setdefault(key, Cell()), gain)
    return cells


def _batches(metric: Metric, events: StoredEvents) -> Iterable[Batch]:
    """The events that the metric looks at, by partition."""
    types, type_names = events.codes("event_type")
    matches = np.array([metric.event_types.matches(name) for name in type_names], bool)[types]
    partitions = np.asarray(events.table.column("partition"))
    for partition in np.unique(partitions[matches]).tolist():
        rows = np.flatnonzero(matches & (partitions == partition))
        part = StoredEvents(events.table.take(rows))
        properties = read_batch_properties([metric], part.properties)
        yield Batch(
            metric.tenant, partition, rows, part.codes("customer"), part.times_us, part.ids, properties
        )
