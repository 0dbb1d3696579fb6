"""All events of a source, page by page, up to a bound: what a price that reads events is rated from."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from decimal import Decimal

import msgspec

from penstock.kernel.metered_event import MeteredEvent
from penstock.kernel.ports.siblings import EVENTS_PAGE_MAX, EventReader
from penstock.kernel.problems import Unprocessable
from penstock.kernel.quantity import ZERO, exact
from penstock.kernel.window import Span
from penstock.rater.reached import Metered

# Of one source in one billing period: some 100 MB while it is rated.
EVENTS_READ_MAX = 200_000


def united(spans: Iterable[Span]) -> tuple[Span, ...]:
    """The same stretches of time as disjoint spans in order."""
    out: list[Span] = []
    for span in sorted(spans):
        if out and span.start <= out[-1].end:
            out[-1] = Span(out[-1].start, max(out[-1].end, span.end))
        else:
            out.append(span)
    return tuple(out)


@exact
def counted(metered: Metered) -> tuple[int, Decimal]:
    """How many events usage has counted in the spans of the event source, and what they add up to."""
    source = metered.event_source
    spans = () if source is None else source.spans
    rows = [row for row in metered.rows if any(row.span.clip(span) is not None for span in spans)]
    return sum(row.events for row in rows), sum((row.value for row in rows if row.value is not None), ZERO)


@exact
def are_what_was_counted(metered: Metered) -> bool:
    """Whether the events that were read, if any were to be, are those that usage has counted, to the last digit.

    They are not where a revision of the metric, or a backfill, came to be in force between the two reads.
    """
    if metered.event_source is None:
        return True
    return counted(metered) == (len(metered.events), sum((event.quantity for event in metered.events), ZERO))


def with_events(metered: Metered, reader: EventReader, tenant: str) -> Metered:
    """What was metered, with the events of its source in order, all by one revision of the metric.

    Raise `Unprocessable` where that is more than can be priced, before any is read.
    """
    source = metered.event_source
    assert source is not None, "its events are to be read"
    count, _ = counted(metered)
    if count > EVENTS_READ_MAX:
        raise Unprocessable(
            f"billable metric {source.metric_id} has counted {count} events in the period, and a price may read "
            f"{EVENTS_READ_MAX} of them: price it by quantity or by groups"
        )
    out: list[MeteredEvent] = []
    for piece in _pieces(source.spans, count) if count else ():
        after, is_last = None, False
        while not is_last:
            page = reader.events(tenant, msgspec.structs.replace(source, spans=piece), after, EVENTS_PAGE_MAX)
            source = msgspec.structs.replace(source, revision=page.revision)
            out += page.events
            after, is_last = (page.events[-1].place if page.events else None), page.is_last
    return Metered(metered.aggregation, metered.rows, tuple(out), source)


def _pieces(spans: Sequence[Span], count: int) -> Iterator[tuple[Span, ...]]:
    """The spans cut so that most pieces fit in a page, where events are spread over time: then each is read once."""
    parts = -(-2 * count // EVENTS_PAGE_MAX)
    if parts <= 2:
        yield tuple(spans)
        return
    for span in spans:
        width = (span.end - span.start) // parts
        for piece in span.cut({span.start + width * place for place in range(1, parts)}):
            yield (piece,)
