"""Cells computed from stored events: for a metric that came after its events, for a ragged span, for the auditor.

The same `tally` counts here as in the fold; what is read is named by an offset: the answer is a function of a prefix.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from penstock.aggregator.tally import Batch, read_batch_properties, tally
from penstock.kernel.cell import Cell, CellKey, merge
from penstock.kernel.meter import Metric
from penstock.kernel.quantity import exact
from penstock.kernel.stored import StoredEvents


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
