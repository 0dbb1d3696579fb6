"""Usage queries: cells for whole windows, stored events for ragged ends, all as of one vector.

A consistent read takes the markers first, then the cells; where a cell is ahead of its partition's marker, a flush is
under way and the read is made again (DESIGN.md section 3).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime

import msgspec

from penstock.aggregator.cardinality import exceeded_days
from penstock.aggregator.combinations import days_question
from penstock.aggregator.cut import RETRY_DELAY_MS, ReadAgain, read_until_consistent
from penstock.aggregator.fill import cells_of
from penstock.aggregator.first_copies import FirstCopies
from penstock.aggregator.layers import events_in_force
from penstock.aggregator.metrics import Definition, Metrics
from penstock.aggregator.usage_cache import Asked, UsageCache
from penstock.aggregator.usage_rows import (
    greatest,
    layers_of,
    over_all,
    question_of,
    ragged_parts,
    rows_of,
    whether_changed,
    with_layers,
)
from penstock.kernel.cell import FILLED_US, Cell, CellAnswer, CellKey, CellQuestion, KeptGroup
from penstock.kernel.layer import FollowedLayer, LayerInForce
from penstock.kernel.meter import Aggregation, Metric
from penstock.kernel.ports.usage_store import UsageStore
from penstock.kernel.problems import BadRequest, CardinalityExceeded, NotFound, StoreUnavailable
from penstock.kernel.quantity import exact
from penstock.kernel.record import Marker, Vector
from penstock.kernel.usage import Usage, UsageQuery, UsageRow
from penstock.kernel.window import Span, to_us

FILL_WAIT_MS = 10_000


class _Cut(msgspec.Struct, frozen=True):
    """What every read of one answer is as of. `clock_us` is the log clock that every partition has reached.

    `in_force` are the layers of backfills, by tenant: read before the markers, which are past their commits then.
    """

    vector: Vector
    clock_us: int
    in_force: Mapping[str, tuple[LayerInForce, ...]]

    def answer(self, tenant: str, rows: tuple[UsageRow, ...]) -> Usage:
        return Usage(rows, self.vector, tuple(each.layer.id for each in self.in_force[tenant]))


class Counted(msgspec.Struct, frozen=True):
    """Which revision of a metric answers, from the events at or below which offsets, and from which layers."""

    metric: Metric
    taken: Vector
    layers: tuple[FollowedLayer, ...]


# The layers of a tenant that readers take, as of now.
InForce = Callable[[str], tuple[LayerInForce, ...]]


class UsageService:
    """Answers `UsageReader`. `partitions` are all there are; the first `sealed` of them are of sealed logs."""

    def __init__(
        self,
        store: UsageStore,
        metrics: Metrics,
        partitions: int,
        cache: UsageCache | None = None,
        in_force: InForce = lambda tenant: (),
        sealed: int = 0,
    ) -> None:
        self._store = store
        self._metrics = metrics
        self._partitions, self._sealed = partitions, sealed
        self._first_copies = FirstCopies(store, partitions, sealed)
        self._cache = cache or UsageCache(0)
        self._in_force = in_force
        self._filled: set[str] = set()  # revisions

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
        """The log clock of the slowest partition that goes on; 0, which is before any span, while one has none."""
        going_on = range(self._sealed, self._partitions)
        return min(markers[p].clock_us if p in markers else 0 for p in going_on)

    def usage(self, *queries: UsageQuery) -> tuple[Usage, ...]:
        return read_until_consistent(lambda: self._answers(queries))

    def _answers(self, queries: tuple[UsageQuery, ...]) -> tuple[Usage, ...]:
        """Raise `ReadAgain` where the answers are not of one cut."""
        revisions: dict[str, Metric] = {}  # one of each metric, although a later one may be filled just now
        asked = [(self._prepared(query, revisions), query) for query in queries]
        in_force = {tenant: self._in_force(tenant) for tenant in {query.tenant for query in queries}}
        markers = self._store.markers()
        cut = _Cut(self._vector(markers), self._clock_us(markers), in_force)
        return tuple(self._ranked(metric, query, cut) for metric, query in asked)

    def _prepared(self, query: UsageQuery, revisions: dict[str, Metric]) -> Metric:
        """The revision that answers the query: the newest that is filled in every partition, once it has the keys."""
        definition = self._metrics.find(query.tenant, query.metric_id)
        if definition is None:
            raise NotFound(f"no billable metric {query.metric_id}")
        names = {*query.group_by, *(name for name, _ in (*query.filters, *query.excluded))}
        # A key that the newest revision has not either is refused by name, without waiting for it.
        needed = names & set(definition.metric.group_keys)
        deadline = time.monotonic() + FILL_WAIT_MS / 1000
        while True:
            found = revisions.get(query.metric_id) or self._newest_filled(definition)
            if found is not None and needed <= set(found.group_keys):
                return revisions.setdefault(query.metric_id, found)
            if time.monotonic() > deadline:
                raise StoreUnavailable("the metric is still being filled from stored events", retry_after_s=5)
            revisions.pop(query.metric_id, None)
            time.sleep(RETRY_DELAY_MS / 1000)

    def counted(
        self, query: UsageQuery, vector: Vector, in_force: tuple[LayerInForce, ...], revision: str | None
    ) -> Counted:
        """What answers the query as of `vector`, where `in_force` were; of the query the keys and spans are looked at.

        `revision` names one of the metric's; None is the one that answers now. Raise `NotFound`, and `BadRequest` where
        the vector is of other partitions.
        """
        if len(vector) != self._partitions:
            raise BadRequest(f"a vector has an offset for each of {self._partitions} partitions", field="vector")
        return read_until_consistent(lambda: self._counted(query, vector, in_force, revision))

    def _counted(
        self, query: UsageQuery, vector: Vector, in_force: tuple[LayerInForce, ...], revision: str | None
    ) -> Counted:
        metric = self._prepared(query, {}) if revision is None else self._revision(query, revision)
        definition = self._metrics.find(query.tenant, query.metric_id)
        assert definition is not None, "definitions are never deleted"
        # What a revision was replaced by says nothing of stored events: they are counted by the one that is named.
        over, archived_at = definition.history[-1].over_control_id, definition.archived_at
        taken = vector if over is None else self._first_copies.offsets(over, vector)
        return Counted(metric, taken, self._followed(layers_of(metric, query, in_force, archived_at), taken))

    def _revision(self, query: UsageQuery, revision: str) -> Metric:
        definition = self._metrics.find(query.tenant, query.metric_id)
        for each in () if definition is None else definition.history:
            if each.metric.id == revision:
                return each.metric
        raise NotFound(f"billable metric {query.metric_id} has no revision {revision}", field="revision")

    def _followed(self, layers: tuple[LayerInForce, ...], taken: Vector) -> tuple[FollowedLayer, ...]:
        return tuple(
            FollowedLayer(e.layer, self._first_copies.offsets(e.commit_control_id, taken)) for e in layers
        )

    def _newest_filled(self, definition: Definition) -> Metric | None:
        return next((r.metric for r in reversed(definition.history) if self._is_filled(r.metric.id)), None)

    def _is_filled(self, revision_id: str) -> bool:
        """Whether every partition has all cells of the revision; then its marker is past the control record too.

        What is filled stays so: it is looked at once.
        """
        if revision_id not in self._filled:
            fills = self._store.fills(None)
            if not all(fills.get((partition, revision_id)) == FILLED_US for partition in range(self._partitions)):
                return False
            self._filled.add(revision_id)
        return True

    def retire_replaced(self) -> None:
        """Let the fold give up the revisions of metrics of which every reader has a later one."""
        for tenant, definition in self._metrics.revised():
            newest = self._newest_filled(definition)
            if newest is not None and newest.id != definition.history[0].metric.id:
                self._metrics.retire(tenant, definition.metric.id, newest.id)

    def _ranked(self, metric: Metric, query: UsageQuery, cut: _Cut) -> Usage:
        """The answer; where only the greatest groups are wanted, which they are is read first, of the same cut."""
        if query.top is None or not query.spans:
            return self._remembered(metric, query, None, cut)
        kept = greatest(self._remembered(metric, over_all(query), None, cut).rows, query.top)
        return self._remembered(metric, query, kept, cut) if kept else cut.answer(query.tenant, ())

    def _remembered(self, metric: Metric, query: UsageQuery, kept: tuple[KeptGroup, ...] | None, cut: _Cut) -> Usage:
        over, archived_at = self._over(query, metric, cut.vector)
        layers = layers_of(metric, query, cut.in_force[query.tenant], archived_at)
        question = with_layers(question_of(metric, query, kept), layers)
        key = Asked(query, metric, kept, over, tuple(each.layer.id for each in layers))
        held = self._cache.newest(key, cut.vector)
        is_of_cut = held is not None and held.vector == cut.vector
        if not is_of_cut:  # customers who are not asked for have a part in it, so no kept answer tells
            self._refuse_exceeded(metric, query, cut.vector, layers)
        if held is not None and (is_of_cut or self._still_holds(held, question, query, cut)):
            answer = cut.answer(query.tenant, held.rows)
        else:
            held = None
            # What came after the metric was archived is in no cell, so it counts in no ragged end either.
            taken = cut.vector if over is None else tuple(map(min, cut.vector, over))
            answer = cut.answer(query.tenant, self._read(metric, query, question, cut.vector, taken, layers))
        self._cache.on_lookup(held is not None)
        self._cache.put(key, answer)
        return answer

    def _refuse_exceeded(
        self, metric: Metric, query: UsageQuery, vector: Vector, layers: tuple[LayerInForce, ...]
    ) -> None:
        """Raise `CardinalityExceeded` where the query touches a day that has no figures: not all cells are there.

        The base and each layer have limits of their own.
        """
        if not metric.group_keys or not query.spans:
            return
        is_level = metric.aggregation is Aggregation.TIME_WEIGHTED_SUM
        span_us = (0 if is_level else to_us(query.spans[0].start), to_us(query.spans[-1].end))
        parts = [(metric.tenant, span_us)]
        for layer in (each.layer for each in layers):
            parts.append((layer.scope, (max(span_us[0], layer.start_us), min(span_us[1], layer.end_us))))
        limit, spans = metric.group_combinations_max, () if is_level else query.spans
        days = {day for scope, part_us in parts for day in self._exceeded(scope, metric, part_us, spans, vector)}
        if days:
            raise CardinalityExceeded(
                f"billable metric {query.metric_id} has more than {limit} group combinations on "
                f"{', '.join(sorted(days))}, so it has no figures there. Give it a higher group_combinations_max "
                "(POST /v1/billable-metrics/update), or make a metric with fewer group keys"
            )

    def _exceeded(
        self, scope: str, metric: Metric, span_us: tuple[int, int], spans: tuple[Span, ...], vector: Vector
    ) -> list[str]:
        answer = self._store.read_cells(days_question(scope, (metric.id,), *span_us))
        if any(version > vector[partition] for partition, version in answer.versions.items()):
            raise ReadAgain
        return exceeded_days(answer.rows, metric.group_combinations_max, spans)

    def _over(self, query: UsageQuery, metric: Metric, vector: Vector) -> tuple[Vector | None, datetime | None]:
        """Up to where the fold took events into the revision, and when that was; None while nothing has ended it.

        One that was replaced meanwhile has not all events any more: what replaced it is filled, and is read instead.
        """
        definition = self._metrics.find(query.tenant, query.metric_id)
        assert definition is not None, "definitions are never deleted"
        [revision] = [each for each in definition.history if each.metric.id == metric.id]
        if revision.over_control_id is None:
            return None, None
        if definition.archived_at is None:
            raise ReadAgain
        return self._first_copies.offsets(revision.over_control_id, vector), definition.archived_at

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
    def _read(
        self,
        metric: Metric,
        query: UsageQuery,
        question: CellQuestion,
        vector: Vector,
        taken: Vector,
        layers: tuple[LayerInForce, ...],
    ) -> tuple[UsageRow, ...]:
        answer = self._store.read_cells(question) if question.starts else CellAnswer((), {})
        if any(version > vector[partition] for partition, version in answer.versions.items()):
            raise ReadAgain
        parts = self._ragged_cells(metric, query, taken, layers)
        return rows_of(metric, query, question, answer.rows, parts)

    def _ragged_cells(
        self, metric: Metric, query: UsageQuery, taken: Vector, layers: tuple[LayerInForce, ...]
    ) -> Iterator[tuple[int, Mapping[CellKey, Cell]]]:
        of = self._followed(layers, taken)
        for index, span in ragged_parts(metric, query.spans):
            events = events_in_force(self._store, query.tenant, of, query.customers, span, taken)
            yield index, cells_of(metric, events)
