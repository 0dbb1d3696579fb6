"""POST /v1/price/events: the events that a charge was priced from, read again as of when it was, page by page.

A charge of many events does not hold them. They are stored, and as of its vector they do not change: so what it tells
of its source is enough to read them again, in the form in which `POST /v1/price` takes them.
"""

from __future__ import annotations

import itertools
from datetime import datetime
from typing import Annotated, Any

import msgspec

from penstock.kernel.metered_event import EventSource, MeteredEvent
from penstock.kernel.ports.siblings import EVENTS_PAGE_MAX, EventReader
from penstock.kernel.problems import BadRequest
from penstock.kernel.quantity import to_text
from penstock.web.page import decode_place, encode_place
from penstock.web.route import Request

PAGE_DEFAULT = 1_000
SPANS_MAX, CUSTOMERS_MAX = 1_000, 1_000

Offset = Annotated[int, msgspec.Meta(ge=-1, lt=2**62)]
Instant = Annotated[datetime, msgspec.Meta(tz=True)]


class SpanBody(msgspec.Struct):
    start: Instant
    end: Instant


class SourceBody(msgspec.Struct):
    """`events.source` of a charge's explanation, as it is."""

    metric_id: str
    customers: Annotated[list[str], msgspec.Meta(min_length=1, max_length=CUSTOMERS_MAX)]
    spans: Annotated[list[SpanBody], msgspec.Meta(min_length=1, max_length=SPANS_MAX)]
    vector: list[Offset]
    keys: list[str] = []
    numbers: Annotated[list[str], msgspec.Meta(max_length=1)] = []
    layers: list[str] = []
    filters: list[tuple[str, str | None]] = []
    revision: str | None = None


class PriceEventsApi:
    def __init__(self, events: EventReader) -> None:
        self._events = events

    def list(self, request: Request) -> dict[str, Any]:
        source = _source(request.json(SourceBody))
        after = decode_place(request.query.get("next_page"), tuple[Instant, str])
        limit = request.limit(PAGE_DEFAULT, EVENTS_PAGE_MAX)
        page = self._events.events(request.tenant, source, after, limit)
        next_page = None if page.is_last else encode_place(page.events[-1].place)
        return {"data": [_view(event, source) for event in page.events], "next_page": next_page}


def _source(body: SourceBody) -> EventSource:
    """Raise `BadRequest` where the spans are not disjoint and in order."""
    if any(span.start >= span.end for span in body.spans):
        raise BadRequest("a span ends after it starts", field="spans")
    if any(later.start < earlier.end for earlier, later in itertools.pairwise(body.spans)):
        raise BadRequest("spans are disjoint and in order", field="spans")
    return msgspec.convert(msgspec.to_builtins(body), EventSource)


def _view(event: MeteredEvent, source: EventSource) -> dict[str, Any]:
    shown: dict[str, Any] = {"id": event.id, "timestamp": event.at, "quantity": to_text(event.quantity)}
    if source.keys:
        shown["values"] = dict(zip(source.keys, event.groups, strict=True))
    brought = event.numbers[0] if event.numbers else None
    return shown if brought is None else shown | {"rate": to_text(brought)}
