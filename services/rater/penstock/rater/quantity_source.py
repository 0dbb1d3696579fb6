"""How the quantity of a service period grows, for each kind of metric: what to ask of usage, and how to read it.

- SUM, COUNT and TIME_WEIGHTED_SUM add up: usage is asked for in the pieces between all instants that matter, and the
  pieces are summed.
- UNIQUE does not add up: the same value in two slices counts once. It is asked for from the start of the service
  period to the end of each slice; a slice's quantity is what the distinct count grew by.
- MAX, MIN and LATEST are one figure of the whole service period. All of it is used in the period's last slice.
So a price change begins a new figure for every metric that does not add up (DESIGN.md section 7 leaves that to us).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from decimal import Decimal

from penstock.kernel.meter import Aggregation
from penstock.kernel.quantity import ZERO
from penstock.kernel.usage import UsageRow
from penstock.kernel.window import Span

ADDITIVE = frozenset({Aggregation.SUM, Aggregation.COUNT, Aggregation.TIME_WEIGHTED_SUM})


def spans_to_ask(
    aggregation: Aggregation, services: Iterable[Span], cuts: frozenset[datetime]
) -> list[tuple[Span, ...]]:
    """The spans of usage that the service periods need, as tuples of disjoint spans in order: one query each."""
    if aggregation in ADDITIVE:
        return [_pieces(set(services), cuts)]
    wanted: set[Span] = set()
    for service in services:
        if aggregation is Aggregation.UNIQUE:
            wanted |= {Span(service.start, piece.end) for piece in service.cut(set(cuts))}
        else:
            wanted.add(service)
    return layers(wanted)


def _pieces(services: set[Span], cuts: frozenset[datetime]) -> tuple[Span, ...]:
    """The stretches between any two edges that some service period covers."""
    edges = cuts | {edge for service in services for edge in (service.start, service.end)}
    pieces = {piece for service in services for piece in service.cut(set(edges))}
    return tuple(sorted(pieces))


def layers(spans: set[Span]) -> list[tuple[Span, ...]]:
    """Spans that overlap, dealt out into as few tuples of disjoint spans as a greedy hand needs."""
    out: list[list[Span]] = []
    for span in sorted(spans):
        free = next((layer for layer in out if layer[-1].end <= span.start), None)
        if free is None:
            out.append([span])
        else:
            free.append(span)
    return [tuple(layer) for layer in out]


def running(aggregation: Aggregation, slices: Sequence[Span], rows: Sequence[UsageRow]) -> list[Decimal] | None:
    """The service period's quantity up to the end of each slice; None where nothing was used.

    `rows` are of one group, and may hold spans of other service periods.
    """
    service = Span(slices[0].start, slices[-1].end)
    if aggregation in ADDITIVE:
        return _summed(slices, [row for row in rows if row.span.clip(service) is not None])
    known = {row.span: row.value for row in rows if row.value is not None}
    if service not in known:
        return None
    if aggregation is Aggregation.UNIQUE:
        return [known.get(Span(service.start, piece.end), ZERO) for piece in slices]
    return [*[ZERO] * (len(slices) - 1), known[service]]


def first_used(aggregation: Aggregation, slices: Sequence[Span], rows: Sequence[UsageRow]) -> int:
    """The first slice up to whose end the group of `rows` was used; they are as in `running`, which is not None."""
    if aggregation not in ADDITIVE and aggregation is not Aggregation.UNIQUE:
        return len(slices) - 1
    start = slices[0].start
    known = [row.span.end for row in rows if row.span.start >= start and row.value is not None]
    return next(place for place, piece in enumerate(slices) if any(end <= piece.end for end in known))


def _summed(slices: Sequence[Span], rows: Sequence[UsageRow]) -> list[Decimal] | None:
    if not rows:
        return None
    out, total = [], ZERO
    for piece in slices:
        inside = [row for row in rows if row.span.clip(piece) is not None]
        assert all(row.span.clip(piece) == row.span for row in inside), "usage was asked for between all edges"
        total = sum((row.value for row in inside if row.value is not None), total)
        out.append(total)
    return out
