"""Single events as a metric counts them, in (time, id) order, page by page: for prices that read events themselves.

They are read as of the vector of a usage answer, with the layers that were in force for it, by the reader and the tally
that ragged spans use: so what they add up to is what the cells say.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from decimal import Decimal

from penstock.aggregator.extract import is_readable_name, read_properties
from penstock.aggregator.fill import batches
from penstock.aggregator.layers import events_in_force
from penstock.aggregator.tally import ADDED_UP, Batch, tally
from penstock.aggregator.usage import Counted, UsageService
from penstock.kernel.layer import LayerInForce
from penstock.kernel.meter import GroupValue, Metric
from penstock.kernel.metered_event import EventPage, EventPlace, EventSource, MeteredEvent
from penstock.kernel.ports.siblings import EVENTS_PAGE_MAX
from penstock.kernel.ports.usage_store import UsageStore
from penstock.kernel.problems import BadRequest, NotFound
from penstock.kernel.quantity import exact
from penstock.kernel.stored import StoredEvents
from penstock.kernel.usage import UsageQuery
from penstock.kernel.window import Span, from_us


class MeteredEvents:
    """Answers `EventReader`. At most two pages and a batch of stored events are in memory at once.

    `layers` tells backfills that were committed once, by tenant and id, whether they are in force now or not.
    """

    def __init__(
        self, usage: UsageService, store: UsageStore, layers: Callable[[str, tuple[str, ...]], tuple[LayerInForce, ...]]
    ) -> None:
        self._usage, self._store, self._layers = usage, store, layers

    def events(self, tenant: str, source: EventSource, after: EventPlace | None, limit: int) -> EventPage:
        names = (*source.keys, *(name for name, _ in source.filters))
        query = UsageQuery(tenant, source.metric_id, source.customers, source.spans, tuple(dict.fromkeys(names)))
        counted = self._usage.counted(query, source.vector, self._layers(tenant, source.layers), source.revision)
        _refuse(counted.metric, source)
        limit = min(limit, EVENTS_PAGE_MAX)
        page: list[MeteredEvent] = []
        for span in _from(source.spans, after):
            found = self._found(tenant, source, span, counted)
            page += first_of((event for event in found if after is None or event.place > after), limit + 1)
            if len(page) > limit:
                return EventPage(tuple(page[:limit]), counted.metric.id, is_last=False)
        return EventPage(tuple(page), counted.metric.id, is_last=True)

    def _found(self, tenant: str, source: EventSource, span: Span, counted: Counted) -> Iterator[MeteredEvent]:
        stored = events_in_force(self._store, tenant, counted.layers, source.customers, span, counted.taken)
        for events in stored:
            yield from metered(counted.metric, events, source)


def _refuse(metric: Metric, source: EventSource) -> None:
    if metric.aggregation not in ADDED_UP:
        raise BadRequest(f"events have no quantity of their own in a {metric.aggregation.value}", field="metric_id")
    for name in (*source.keys, *(name for name, _ in source.filters)):
        if name not in metric.group_keys:
            raise NotFound(f"metric {source.metric_id} has no group key {name}", field="keys")
    for name in source.numbers:
        if not is_readable_name(name):
            raise BadRequest(f"{name!r} cannot be the name of a property", field="numbers")


def _from(spans: Iterable[Span], after: EventPlace | None) -> Iterator[Span]:
    """What is left of the spans from a place on."""
    for span in spans:
        if after is None or after[0] < span.start:
            yield span
        elif after[0] < span.end:
            yield Span(after[0], span.end)


def first_of(events: Iterable[MeteredEvent], limit: int) -> list[MeteredEvent]:
    """The first `limit` events in order, of which there may be many more: twice as many are held."""
    held: list[MeteredEvent] = []
    for event in events:
        held.append(event)
        if len(held) >= 2 * limit:
            held = sorted(held, key=lambda event: event.place)[:limit]
    return sorted(held, key=lambda event: event.place)[:limit]


@exact
def metered(metric: Metric, stored: StoredEvents, source: EventSource) -> list[MeteredEvent]:
    """Those of the stored events that the metric takes and the source's filters keep, in any order."""
    out: list[MeteredEvent] = []
    for batch, part in batches(metric, stored, metric.tenant):
        taken = tally(metric, batch)
        if taken is not None:
            rows: Sequence[int] = taken.rows.tolist()
            out += _of_rows(rows, taken.quantities(), batch, part, source)
    return out


def _of_rows(
    rows: Sequence[int], quantities: Sequence[Decimal], batch: Batch, part: StoredEvents, source: EventSource
) -> Iterator[MeteredEvent]:
    ids, times_us = part.ids(), batch.times_us.tolist()
    texts = [batch.properties.texts(key) for key in source.keys]
    filters = [(batch.properties.texts(name), value) for name, value in source.filters]
    numbers = _numbers(part, source.numbers)
    shared: dict[tuple[GroupValue, ...], tuple[GroupValue, ...]] = {}  # one object for all events of a group
    for row, quantity in zip(rows, quantities, strict=True):
        if all(values[row] == value for values, value in filters):
            groups = tuple(values[row] for values in texts)
            brought = tuple(values[row] for values in numbers)
            at = from_us(times_us[row])
            yield MeteredEvent(at, ids[row], quantity, shared.setdefault(groups, groups), brought)


def _numbers(part: StoredEvents, names: tuple[str, ...]) -> list[list[Decimal | None]]:
    """Read apart from what the metric reads: what is no number here says nothing of whether the event counts."""
    if not names:
        return []
    properties = read_properties(part.properties, names)
    out: list[list[Decimal | None]] = []
    for name in names:
        values, is_number = properties.numbers(name)
        pairs = zip(values.tolist(), is_number.tolist(), properties.bad.tolist(), strict=True)
        out.append([Decimal(value) if has and not bad else None for value, has, bad in pairs])
    return out
