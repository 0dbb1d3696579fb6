"""Usage queries: cells for whole windows, stored events for ragged ends, all as of one vector.

A consistent read takes the markers first, then the cells; where a cell is ahead of its partition's marker, a flush is
under way and the read is made again (DESIGN.md section 3).
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from datetime import datetime

import msgspec

from penstock.aggregator.fill import cells_of
from penstock.aggregator.metrics import Metrics
from penstock.aggregator.usage_cache import Asked, UsageCache
from penstock.aggregator.usage_rows import greatest, over_all, question_of, ragged_parts, rows_of, whether_changed
from penstock.kernel.cell import Cell, CellAnswer, CellKey, CellQuestion, KeptGroup
from penstock.kernel.meter import Metric
from penstock.kernel.ports import UsageStore
from penstock.kernel.problems import NotFound, StoreUnavailable
from penstock.kernel.quantity import exact
from penstock.kernel.record import Marker, Vector
from penstock.kernel.usage import Usage, UsageQuery
from penstock.kernel.window import to_us

CONSISTENT_TRIES_MAX = 200
RETRY_DELAY_MS = 10
FILL_WAIT_MS = 10_000


class _AheadOfMarker(Exception):
    """A cell was read that its partition's marker has not reached: the read is no cut."""


class _Cut(msgspec.Struct, frozen=True):
    """What every read of one answer is as of. `clock_us` is the log clock that every partition has reached."""

    vector: Vector
    clock_us: int


class UsageService:
    """Answers `UsageReader`. `partitions` is the log's."""

    def __init__(self, store: UsageStore, metrics: Metrics, partitions: int, cache: UsageCache | None = None) -> None:
        self._store = store
        self._metrics = metrics
        self._partitions = partitions
        self._cache = cache or UsageCache(0)
        self._filled: set[tuple[str, str]] = set()  # tenant, metric

    def metric(self, tenant: str, metric_id: str) -> Metric | None:
        found = self._metrics.find(tenant, metric_id)
        return found.metric if found else None

    def settled(self, through: datetime) -> bool:
        return self._clock_us(self._store.markers()) >= to_us(through)

    def vector(self) -> Vector:
        return self._vector(self._store.markers())

    def _vector(self, markers: dict[int, Marker]) -> Vector:
        return tuple(markers[p].offset if p in markers else -1 for p in range(self._partitions))

    def _clock_us(self, markers: dict[int, Marker]) -> int:
        """The log clock of the slowest partition; 0, which is before any span, while one has none."""
        return min((m.clock_us for m in markers.values()), default=0) if len(markers) == self._partitions else 0

    def usage(self, *queries: UsageQuery) -> tuple[Usage, ...]:
        asked = [(self._prepared(query), query) for query in queries]
        for _ in range(CONSISTENT_TRIES_MAX):
            markers = self._store.markers()
            cut = _Cut(self._vector(markers), self._clock_us(markers))
            try:
                return tuple(self._ranked(metric, query, cut) for metric, query in asked)
            except _AheadOfMarker:
                time.sleep(RETRY_DELAY_MS / 1000)
        raise StoreUnavailable("the usage store is flushing without a pause", retry_after_s=1)

    def _prepared(self, query: UsageQuery) -> Metric:
        metric = self.metric(query.tenant, query.metric_id)
        if metric is None:
            raise NotFound(f"no billable metric {query.metric_id}")
        self._await_filled(query.tenant, query.metric_id)
        return metric

    def _await_filled(self, tenant: str, metric_id: str) -> None:
        """Wait until every partition has passed the metric's control record: until then it has no figures.

        Markers only advance, so it is looked at once.
        """
        if (tenant, metric_id) in self._filled:
            return
        deadline = time.monotonic() + FILL_WAIT_MS / 1000
        while (since := self._metrics.in_force_at(tenant, metric_id)) is None or not all(
            have >= wanted for have, wanted in zip(self.vector(), since, strict=True)
        ):
            if time.monotonic() > deadline:
                raise StoreUnavailable("the metric is still being filled from stored events", retry_after_s=5)
            time.sleep(RETRY_DELAY_MS / 1000)
        self._filled.add((tenant, metric_id))

    def _ranked(self, metric: Metric, query: UsageQuery, cut: _Cut) -> Usage:
        """The answer; where only the greatest groups are wanted, which they are is read first, of the same cut."""
        if query.top is None or not query.spans:
            return self._remembered(metric, query, None, cut)
        kept = greatest(self._remembered(metric, over_all(query), None, cut).rows, query.top)
        return self._remembered(metric, query, kept, cut) if kept else Usage((), cut.vector)

    def _remembered(self, metric: Metric, query: UsageQuery, kept: tuple[KeptGroup, ...] | None, cut: _Cut) -> Usage:
        over = self._metrics.over_at(query.tenant, metric.id)
        question = question_of(metric, query, kept)
        key = Asked(query, metric, kept, over)
        held = self._cache.newest(key, cut.vector)
        if held is not None and (held.vector == cut.vector or self._still_holds(held, question, query, cut)):
            answer = Usage(held.rows, cut.vector)
        else:
            held = None
            # What came after the metric was archived is in no cell, so it counts in no ragged end either.
            taken = cut.vector if over is None else tuple(map(min, cut.vector, over))
            answer = self._read(metric, query, question, cut.vector, taken)
        self._cache.on_lookup(held is not None)
        self._cache.put(key, answer)
        return answer

    def _still_holds(self, held: Usage, question: CellQuestion, query: UsageQuery, cut: _Cut) -> bool:
        """Whether an older answer is the answer as of `cut` too: no cell that it rests on was written since.

        A record that changes a cell gives it the record's offset as its version, nothing is ever deleted, and stored
        events that count are in a cell as well. So where no version is above the older vector, every cell is what it
        was. Only spans that the log clock has left are looked at: to the others there is always something new.
        """
        if not query.spans or to_us(query.spans[-1].end) > cut.clock_us:
            return False
        versions = self._store.read_cells(whether_changed(question, query.spans)).versions
        return all(version <= held.vector[partition] for partition, version in versions.items())

    @exact
    def _read(self, metric: Metric, query: UsageQuery, question: CellQuestion, vector: Vector, taken: Vector) -> Usage:
        answer = self._store.read_cells(question) if question.starts else CellAnswer((), {})
        if any(version > vector[partition] for partition, version in answer.versions.items()):
            raise _AheadOfMarker
        parts = self._ragged_cells(metric, query, taken)
        return Usage(rows_of(metric, query, question, answer.rows, parts), vector)

    def _ragged_cells(
        self, metric: Metric, query: UsageQuery, taken: Vector
    ) -> Iterator[tuple[int, Mapping[CellKey, Cell]]]:
        for index, span in ragged_parts(metric, query.spans):
            yield index, cells_of(metric, self._store.read_events(query.tenant, query.customers, span, taken, None))
