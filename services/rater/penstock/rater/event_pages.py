"""All events of a source, page by page, up to a bound: what a price that reads events is rated from."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from decimal import Decimal

import msgspec

from penstock.kernel.metered_event import EventSource, MeteredEvent
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


def events_of(reader: EventReader, tenant: str, source: EventSource, count: int) -> tuple[MeteredEvent, ...]:
    """The events of `source` in order; there are `count` of them, as usage has told.

    Raise `Unprocessable` where that is more than can be priced, before any is read.
    """
    if count > EVENTS_READ_MAX:
        raise Unprocessable(
            f"billable metric {source.metric_id} has counted {count} events in the period, and a price may read "
            f"{EVENTS_READ_MAX} of them: price it by quantity or by groups"
        )
    if not count:
        return ()
    out: list[MeteredEvent] = []
    for piece in _pieces(source.spans, count):
        out += _in_piece(reader, tenant, source, piece)
    return tuple(out)


def _in_piece(
    reader: EventReader, tenant: str, source: EventSource, piece: tuple[Span, ...]
) -> Iterator[MeteredEvent]:
    within, after = msgspec.structs.replace(source, spans=piece), None
    while True:
        page = reader.events(tenant, within, after, EVENTS_PAGE_MAX)
        yield from page.events
        if page.is_last:
            return
        after = page.events[-1].place


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
