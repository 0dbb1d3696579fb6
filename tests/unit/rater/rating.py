"""Test data of the rater with defaults, and a naive reader of usage over events that a test writes down."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import msgspec

from penstock.kernel.charge import Charge
from penstock.kernel.contract import (
    ContractTerms,
    MultiplierTier,
    Override,
    OverrideKind,
    Prioritization,
    Specifier,
)
from penstock.kernel.meter import Aggregation, GroupValue, Metric
from penstock.kernel.metered_event import EventPage, EventPlace, EventSource, MeteredEvent
from penstock.kernel.money import USD
from penstock.kernel.price import AnyPrice, Graduated, PerUnit, PriceInterval, Tier
from penstock.kernel.problems import NotFound
from penstock.kernel.quantity import ZERO, exact
from penstock.kernel.record import Vector
from penstock.kernel.usage import Usage, UsageQuery, UsageRow
from penstock.kernel.window import Span
from penstock.rater.definitions import Product, ProductType, Rate
from penstock.rater.event_pages import united
from penstock.rater.quantity_source import ADDITIVE, spans_to_ask
from penstock.rater.rate import Metered, Source, rate, source_of
from penstock.rater.reading import numbers_of, with_own_keys, with_readings

JUNE = Span(datetime(2026, 6, 1, tzinfo=UTC), datetime(2026, 7, 1, tzinfo=UTC))
LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)
NOW = datetime(2026, 6, 20, 12, tzinfo=UTC)


def june(day: int, hour: int = 0, microsecond: int = 0) -> datetime:
    return datetime(2026, 6, day, hour, 0, 0, microsecond, tzinfo=UTC)


def usd(unit_price: str) -> AnyPrice:
    """A unit price in dollars."""
    return PerUnit(USD, Decimal(unit_price))


def tiers(*ends_and_prices: tuple[str | None, str]) -> tuple[Tier, ...]:
    return tuple(Tier(None if end is None else Decimal(end), Decimal(price)) for end, price in ends_and_prices)


def graduated_usd(*ends_and_prices: tuple[str | None, str]) -> AnyPrice:
    """Tiers as (up to how many units, dollars each)."""
    return Graduated(USD, tiers(*ends_and_prices))


def a_product(id: str = "tokens", **fields: Any) -> Product:
    values: dict[str, Any] = {
        "name": id.title(),
        "type": ProductType.USAGE,
        "created_at": LONG_AGO,
        "created_by": "key-1",
        "metric_id": "metric-1",
    }
    return Product(id=id, **(values | fields))


def a_rate(id: str = "rate-1", price: AnyPrice | None = None, **fields: Any) -> Rate:
    values: dict[str, Any] = {
        "rate_card_id": "card-1",
        "product_id": "tokens",
        "entitled": True,
        "starting_at": LONG_AGO,
        "ending_before": None,
        "group_values": (),
    }
    return Rate(id=id, price=price or usd("0.05"), **(values | fields))


def an_override(id: str, kind: OverrideKind = OverrideKind.MULTIPLIER, **fields: Any) -> Override:
    """In force for ever, on every rate, unless said otherwise."""
    values: dict[str, Any] = {"start": LONG_AGO, "end": None, "specifiers": (Specifier(),)}
    return Override(id=id, kind=kind, **(values | fields))


def a_multiplier(id: str, factor: str, **fields: Any) -> Override:
    return an_override(id, multiplier=Decimal(factor), **fields)


def an_overwrite(id: str, unit_price: str, **fields: Any) -> Override:
    return an_override(id, OverrideKind.OVERWRITE, unit_price=Decimal(unit_price), **fields)


def a_tiered(id: str, *ends_and_factors: tuple[str | None, str], **fields: Any) -> Override:
    factors = tuple(
        MultiplierTier(None if end is None else Decimal(end), Decimal(factor)) for end, factor in ends_and_factors
    )
    return an_override(id, OverrideKind.TIERED, multiplier_tiers=factors, **fields)


def some_terms(*overrides: Override, **fields: Any) -> ContractTerms:
    values: dict[str, Any] = {
        "tenant": "tenant-1",
        "contract_id": "contract-1",
        "customer_id": "customer-1",
        "customer_keys": ("customer-1",),
        "rate_card_id": "card-1",
        "start": LONG_AGO,
        "end": None,
        "prioritization": Prioritization.LOWEST_MULTIPLIER,
    }
    return ContractTerms(overrides=overrides, **(values | fields))


def an_interval(price: AnyPrice, span: Span = JUNE, **fields: Any) -> PriceInterval:
    values: dict[str, Any] = {
        "contract_id": "contract-1",
        "product_id": "tokens",
        "product_name": "Tokens",
        "metric_id": "metric-1",
        "group_keys": (),
        "group_values": (),
        "origin": {"rate_id": "rate-1"},
    }
    return PriceInterval(span=span, price=price, **(values | fields))


class Used(msgspec.Struct, frozen=True):
    """One event of a metric. `value` is a number, or any text where distinct values are counted."""

    at: datetime
    value: str = "1"
    groups: dict[str, GroupValue] = {}
    customer: str = "customer-1"
    id: str = ""
    numbers: dict[str, str] = {}


class FakeUsage:
    """A `UsageReader` and `EventReader` over events in memory, as of `vector`."""

    def __init__(self, *metrics: Metric, vector: Vector = (7,)) -> None:
        self.events_of: dict[str, list[Used]] = {}
        self.asked: list[UsageQuery] = []
        self.metrics_asked: list[str] = []
        self.sources: list[EventSource] = []
        self.page_max = 20_000
        self.cuts = 0
        self._metrics = {metric.id: metric for metric in metrics}
        self._vector = vector

    def metric(self, tenant: str, metric_id: str) -> Metric | None:
        self.metrics_asked.append(metric_id)
        return self._metrics.get(metric_id)

    def usage(self, *queries: UsageQuery) -> tuple[Usage, ...]:
        self.cuts += 1
        return tuple(self._answer(query) for query in queries)

    def _answer(self, query: UsageQuery) -> Usage:
        self.asked.append(query)
        metric = self._metrics.get(query.metric_id)
        if metric is None:
            raise NotFound("no such metric")
        events = [used for used in self.events_of.get(metric.id, ()) if used.customer in query.customers]
        rows = [row for span in query.spans for row in rows_of(metric.aggregation, events, span, query.group_by)]
        return Usage(tuple(rows), self._vector)

    def settled(self, through: datetime) -> bool:
        return True

    def events(self, tenant: str, source: EventSource, after: EventPlace | None, limit: int) -> EventPage:
        self.sources.append(source)
        metric = self._metrics[source.metric_id]
        held = [used for used in self.events_of[metric.id] if used.customer in source.customers]
        found = metered_events(metric.aggregation, held, source)
        behind = [event for event in found if after is None or event.place > after]
        limit = min(limit, self.page_max)
        return EventPage(tuple(behind[:limit]), source.revision or f"{metric.id}-1", len(behind) <= limit)


def metered_events(aggregation: Aggregation, events: Iterable[Used], source: EventSource) -> tuple[MeteredEvent, ...]:
    """In order; an event without an id has one that tells its instant and its value."""
    found = [
        MeteredEvent(
            used.at,
            used.id or f"{used.at.isoformat()} {used.value} {sorted(used.groups.items(), key=str)}",
            Decimal(1) if aggregation is Aggregation.COUNT else Decimal(used.value),
            tuple(used.groups.get(key) for key in source.keys),
            tuple(Decimal(used.numbers[name]) if name in used.numbers else None for name in source.numbers),
        )
        for used in events
        if any(used.at in span for span in source.spans)
        and all(used.groups.get(name) == value for name, value in source.filters)
    ]
    return tuple(sorted(found, key=lambda event: event.place))


def a_metric(id: str = "metric-1", aggregation: Aggregation = Aggregation.SUM, *group_keys: str) -> Metric:
    return Metric(id, "tenant-1", id, aggregation, "value", group_keys=group_keys)


def rows_of(aggregation: Aggregation, events: Iterable[Used], span: Span, keys: tuple[str, ...]) -> list[UsageRow]:
    groups: dict[tuple[GroupValue, ...], list[Used]] = {}
    is_level = aggregation is Aggregation.TIME_WEIGHTED_SUM
    for used in events:
        if used.at in span or (is_level and used.at < span.end):
            groups.setdefault(tuple(used.groups.get(key) for key in keys), []).append(used)
    if is_level:
        levels = [(group, _area(held, span), sum(used.at in span for used in held)) for group, held in groups.items()]
        return [UsageRow(span, group, area, inside) for group, area, inside in levels if area or inside]
    return [UsageRow(span, group, _value(aggregation, held), len(held)) for group, held in groups.items()]


@exact
def _area(changes: list[Used], span: Span) -> Decimal:
    """In units x seconds."""
    us = timedelta(microseconds=1)
    return sum((Decimal(u.value) * ((span.end - max(u.at, span.start)) // us) for u in changes), ZERO).scaleb(-6)


@exact
def _value(aggregation: Aggregation, held: list[Used]) -> Decimal:
    if aggregation is Aggregation.COUNT:
        return Decimal(len(held))
    if aggregation is Aggregation.UNIQUE:
        return Decimal(len({used.value for used in held}))
    if aggregation is Aggregation.LATEST:
        return Decimal(max(held, key=lambda used: used.at).value)
    numbers = [Decimal(used.value) for used in held]
    if aggregation is Aggregation.SUM:
        return sum(numbers, Decimal(0))
    return max(numbers) if aggregation is Aggregation.MAX else min(numbers)


def charged(
    intervals: Iterable[PriceInterval],
    events: Iterable[Used],
    cuts: Iterable[datetime] = (),
    aggregation: Aggregation = Aggregation.SUM,
) -> tuple[Charge, ...]:
    """The charges for these events, whatever metric and groups the intervals name."""
    listed = with_own_keys(with_readings(list(intervals)), lambda metric_id: aggregation in ADDITIVE)
    held, edges = list(events), frozenset(cuts)
    services: dict[Source, set[Span]] = {}
    for interval in listed:
        services.setdefault(source_of(interval), set()).add(interval.span)
    usage = {}
    for source, spans in services.items():
        asked = [span for layer in spans_to_ask(aggregation, spans, edges) for span in layer]
        rows = tuple(row for span in asked for row in rows_of(aggregation, held, span, source[1]))
        usage[source] = Metered(aggregation, rows)
        readers = [interval for interval in listed if source_of(interval) == source and interval.reads_events]
        if readers:
            merged, numbers = united(each.span for each in readers), numbers_of(each.price for each in readers)
            events_from = EventSource(source[0], ("customer-1",), merged, source[1], numbers, (7,))
            found = metered_events(aggregation, held, events_from)
            usage[source] = Metered(aggregation, rows, found, events_from)
    return rate(listed, usage, edges)
