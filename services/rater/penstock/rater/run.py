"""The shell around the verb: read the definitions and the usage, as of one vector, then decide purely.

Nothing is kept between two calls: what depends on changed cells is computed again (DESIGN.md section 7).
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from datetime import datetime

import msgspec

from penstock.kernel.card_units import CardUnits
from penstock.kernel.charge import Charge, ChargeSet
from penstock.kernel.contract import ContractTerms
from penstock.kernel.meter import Metric
from penstock.kernel.metered_event import EventSource
from penstock.kernel.ports.catalog import Catalog
from penstock.kernel.ports.clock import Clock
from penstock.kernel.ports.siblings import EventReader, UsageReader
from penstock.kernel.price import PriceInterval
from penstock.kernel.problems import NotFound, StoreUnavailable
from penstock.kernel.usage import Usage, UsageQuery
from penstock.kernel.window import Span
from penstock.rater.definitions import DRAFT_CARD_ID, Product, Rate
from penstock.rater.event_pages import are_what_was_counted, united, with_events
from penstock.rater.quantity_source import ADDITIVE, spans_to_ask
from penstock.rater.rate import Metered, Source, rate, source_of
from penstock.rater.rate_card import resolve, service_span
from penstock.rater.reading import numbers_of, with_own_keys
from penstock.rater.shelf import Shelf
from penstock.rater.unpriced import Unpriced, unpriced

CUT_TRIES_MAX = 3


class RaterService:
    """The `Rating` port."""

    def __init__(self, catalog: Catalog, usage: UsageReader, clock: Clock, events: EventReader) -> None:
        self._shelf = Shelf(catalog)
        self._usage, self._events = usage, events
        self._clock = clock

    def charges(self, terms: ContractTerms, period: Span, cuts: frozenset[datetime]) -> ChargeSet:
        """The complete set of charges of `period`, sliced at every instant in `cuts`, as of one vector.

        The vector is empty where nothing is priced in the period, since then no usage was read. Raise
        `StoreUnavailable` where usage moves faster than it can be read.
        """
        [charge_set] = self.charge_sets([(terms, self.rates(terms))], period, cuts)
        return charge_set

    def charge_sets(
        self, asked: Sequence[tuple[ContractTerms, Sequence[Rate]]], period: Span, cuts: frozenset[datetime]
    ) -> list[ChargeSet]:
        """`charges` of several terms of one contract, each with the rates of its card: all of one vector."""
        first, products = asked[0][0], self._shelf.products(asked[0][0].tenant)
        resolved = [self._intervals(terms, period, rates, products) for terms, rates in asked]
        services: dict[Source, set[Span]] = {}
        for interval in itertools.chain.from_iterable(resolved):
            services.setdefault(source_of(interval), set()).add(interval.span)
        for _ in range(CUT_TRIES_MAX):
            usage, cut = self._metered(first, services, cuts)
            usage = self._with_events(first, list(itertools.chain.from_iterable(resolved)), usage, cut)
            if all(map(are_what_was_counted, usage.values())):
                return [
                    self._charge_set(terms, period, cut, rate(intervals, usage, cuts))
                    for (terms, _), intervals in zip(asked, resolved, strict=True)
                ]
        raise StoreUnavailable("events are not what usage has counted of them: a metric is changing", retry_after_s=1)

    def _charge_set(self, terms: ContractTerms, period: Span, cut: Usage, charges: tuple[Charge, ...]) -> ChargeSet:
        is_draft = terms.rate_card_id == DRAFT_CARD_ID
        units = CardUnits() if is_draft else self.units_of(terms.tenant, terms.rate_card_id)
        return ChargeSet(terms.contract_id, period, cut.vector, charges, cut.layers, units)

    def rates(self, terms: ContractTerms) -> list[Rate]:
        """The rates of the terms' card, in the order in which they were added."""
        return [shelved.rate for shelved in self._shelf.rates(terms.tenant, terms.rate_card_id)]

    def unpriced(self, terms: ContractTerms, period: Span) -> tuple[Unpriced, ...]:
        """Usage of the card's products in the period that no charge holds, for want of an entitled rate."""
        span = service_span(terms, period)
        if span is None:
            return ()
        resolved, products = self._resolved(terms, period)
        # Which groups lack a price, their pricing group keys say.
        intervals = [msgspec.structs.replace(each, price_keys=(), reads_events=False) for each in resolved]
        services = {(p.metric_id, p.pricing_group_key): {span} for p in products if p.metric_id is not None}
        for interval in intervals:
            services[source_of(interval)].add(interval.span)
        usage, _ = self._metered(terms, services, frozenset())
        return unpriced([p for p in products if p.metric_id is not None], intervals, usage)

    def rate_card_id(self, tenant: str, id: str | None, alias: str | None) -> str:
        """The id of the card named by id, else by an alias in force now. Raise `NotFound` where there is none."""
        if id is not None:
            return self._shelf.rate_card(tenant, id).id
        card = None if alias is None else self._shelf.rate_card_of_alias(tenant, alias, self._clock.now())
        if card is None:
            raise NotFound(f"there is no rate card with the alias {alias}", field="rate_card_alias")
        return card.id

    def units_of(self, tenant: str, rate_card_id: str) -> CardUnits:
        """The units in which the card prices. Raise `NotFound` where there is no such card."""
        return self._shelf.rate_card(tenant, rate_card_id).units

    def metrics_of(self, tenant: str, rate_card_id: str) -> frozenset[str]:
        """The metrics whose usage the card's rates price, whenever they are in force."""
        products = self._shelf.products(tenant)
        priced = {shelved.rate.product_id for shelved in self._shelf.rates(tenant, rate_card_id)}
        return frozenset(metric for id in priced if (metric := products[id].metric_id) is not None)

    def product_names(self, tenant: str, product_ids: Sequence[str]) -> dict[str, str]:
        """The name that each product has now. Raise `NotFound` naming the first that does not exist."""
        now = self._clock.now()
        return {product_id: self._shelf.product(tenant, product_id).at(now).name for product_id in product_ids}

    def _resolved(self, terms: ContractTerms, period: Span) -> tuple[tuple[PriceInterval, ...], list[Product]]:
        rates = self.rates(terms)
        products = self._shelf.products(terms.tenant)
        named = dict.fromkeys(rate.product_id for rate in rates)
        intervals = self._intervals(terms, period, rates, products)
        return intervals, [products[product_id] for product_id in named]

    def _intervals(
        self, terms: ContractTerms, period: Span, rates: Sequence[Rate], products: Mapping[str, Product]
    ) -> tuple[PriceInterval, ...]:
        return with_own_keys(
            resolve(terms, period, rates, products),
            lambda metric_id: self._metric(terms.tenant, metric_id).aggregation in ADDITIVE,
        )

    def _metered(
        self, terms: ContractTerms, services: dict[Source, set[Span]], cuts: frozenset[datetime]
    ) -> tuple[dict[Source, Metered], Usage]:
        """The usage of every source over its service periods, and an answer that tells what all of it is as of."""
        queries: list[tuple[Source, UsageQuery]] = []
        metrics = {metric_id: self._metric(terms.tenant, metric_id) for metric_id, _ in services}
        for source, spans in services.items():
            for layer in spans_to_ask(metrics[source[0]].aggregation, spans, cuts):
                query = UsageQuery(terms.tenant, source[0], terms.customer_keys, layer, group_by=source[1])
                queries.append((source, query))
        answers = self._usage.usage(*(query for _, query in queries))
        usage = {source: Metered(metrics[source[0]].aggregation, ()) for source in services}
        for (source, _), answer in zip(queries, answers, strict=True):
            usage[source] = Metered(usage[source].aggregation, usage[source].rows + answer.rows)
        return usage, answers[0] if answers else Usage((), ())

    def _with_events(
        self, terms: ContractTerms, intervals: Sequence[PriceInterval], usage: dict[Source, Metered], cut: Usage
    ) -> dict[Source, Metered]:
        """The usage with the events that prices read, as of the vector and the layers that usage is as of."""
        out = dict(usage)
        for source in dict.fromkeys(source_of(interval) for interval in intervals if interval.reads_events):
            of_source = [each for each in intervals if source_of(each) == source and each.reads_events]
            held = usage[source]
            events = EventSource(
                metric_id=source[0],
                customers=terms.customer_keys,
                spans=united(interval.span for interval in of_source),
                keys=source[1],
                numbers=numbers_of(interval.price for interval in of_source),
                vector=cut.vector,
                layers=cut.layers,
            )
            asked = Metered(held.aggregation, held.rows, event_source=events)
            out[source] = with_events(asked, self._events, terms.tenant)
        return out

    def _metric(self, tenant: str, metric_id: str) -> Metric:
        metric = self._usage.metric(tenant, metric_id)
        if metric is None:
            raise NotFound(f"there is no billable metric {metric_id}", field="billable_metric_id")
        return metric
