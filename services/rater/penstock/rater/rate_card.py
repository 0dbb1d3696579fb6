"""The resolver: a rate card and a contract's overrides become price intervals, and rating knows nothing else.

At each instant the rate in force is the one that started last (of equals the one added last); when it ends, the one
beneath it is in force again. Exactly one override acts on it.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

import msgspec

from penstock.kernel.contract import ContractTerms, Override
from penstock.kernel.price import AnyPrice, GroupValues, PriceInterval
from penstock.kernel.quantity import exact
from penstock.kernel.quantity_terms import QuantityTerms
from penstock.kernel.window import Span
from penstock.rater.definitions import Product, Rate
from penstock.rater.override import acting, acts_on, repriced
from penstock.rater.reading import with_readings

RateKey = tuple[str, GroupValues]


def service_span(terms: ContractTerms, period: Span) -> Span | None:
    """The part of the period in which the contract is in force, or None."""
    start, end = max(terms.start, period.start), period.end if terms.end is None else min(terms.end, period.end)
    return Span(start, end) if start < end else None


@exact
def resolve(
    terms: ContractTerms, period: Span, rates: Iterable[Rate], products: Mapping[str, Product]
) -> tuple[PriceInterval, ...]:
    """What each product and pricing group costs when, within the period and the contract.

    `rates` come in the order in which they were added, which is the order of the answer; a key's intervals are disjoint
    and in order of time. Where a product is not entitled there is no interval. The same price published again makes no
    new interval: the first one's origin and the product's name at its start stay.
    """
    span = service_span(terms, period)
    if span is None:
        return ()
    overrides = _by_product(terms.overrides)
    out: list[PriceInterval] = []
    for (product_id, group_values), key_rates in rates_by_key(rates).items():
        product = products[product_id]
        if product.metric_id is not None:
            candidates = [*overrides.get(product_id, ()), *overrides.get(None, ())]
            matching = [o for _, o in sorted(candidates, key=lambda c: c[0])]
            pieces: list[PriceInterval] = []
            for stretch, state in product.states(span):
                acting_here = [o for o in matching if acts_on(o, product_id, state.tags, group_values)]
                pieces += _key_intervals(terms, stretch, state, key_rates, acting_here)
            out += _merged(pieces)
    return with_readings(out)


def rates_by_key(rates: Iterable[Rate]) -> dict[RateKey, list[Rate]]:
    """Rates of one product and one combination of group values together, in the order given."""
    keys: dict[RateKey, list[Rate]] = {}
    for rate in rates:
        keys.setdefault((rate.product_id, rate.group_values), []).append(rate)
    return keys


def rate_in_force(rates: Sequence[Rate], instant: datetime) -> Rate | None:
    """Of one key's rates the one in force, or None. `rates` in the order in which they were added."""
    live = [rate for rate in rates if rate.in_force(instant)]
    return max(reversed(live), key=lambda rate: rate.starting_at, default=None)


def _by_product(overrides: Sequence[Override]) -> dict[str | None, list[tuple[int, Override]]]:
    """Overrides with their place in the contract, by the product they name; None: what may act on any product.

    A card may have ten thousand rates, and a contract hundreds of overrides: few of them meet.
    """
    index: dict[str | None, list[tuple[int, Override]]] = {}
    for place, override in enumerate(overrides):
        named = {specifier.product_id for specifier in override.specifiers}
        for product_id in {None} if None in named else named:
            index.setdefault(product_id, []).append((place, override))
    return index


def _key_intervals(
    terms: ContractTerms, span: Span, product: Product, rates: Sequence[Rate], overrides: Sequence[Override]
) -> list[PriceInterval]:
    """The price intervals of one product and pricing group, cut wherever a rate or an override begins or ends."""
    edges = {edge for rate in rates for edge in (rate.starting_at, rate.ending_before)}
    edges |= {edge for override in overrides for edge in (override.start, override.end)}
    priced = functools.partial(_interval, terms, product, rates, overrides)
    pieces = map(priced, span.cut({edge for edge in edges if edge is not None}))
    return [interval for interval in pieces if interval is not None]


def _merged(intervals: Iterable[PriceInterval]) -> list[PriceInterval]:
    """Neighbours on the same terms as one."""
    out: list[PriceInterval] = []
    for interval in intervals:
        if out and out[-1].span.end == interval.span.start and _terms(out[-1]) == _terms(interval):
            out[-1] = msgspec.structs.replace(out[-1], span=Span(out[-1].span.start, interval.span.end))
        else:
            out.append(interval)
    return out


def _terms(interval: PriceInterval) -> tuple[AnyPrice, AnyPrice | None, QuantityTerms, tuple[str, ...]]:
    """All that an amount, or who pays it, depends on."""
    return interval.price, interval.commit_price, interval.quantity_terms, interval.product_tags


def _interval(
    terms: ContractTerms, product: Product, rates: Sequence[Rate], overrides: Sequence[Override], piece: Span
) -> PriceInterval | None:
    rate = rate_in_force(rates, piece.start)
    if rate is None:
        return None
    override = acting(overrides, piece.start, terms.prioritization)
    entitled = rate.entitled if override is None or override.entitled is None else override.entitled
    if not entitled:
        return None
    assert product.metric_id is not None
    price = rate.price if override is None else repriced(rate.price, override)
    return PriceInterval(
        contract_id=terms.contract_id,
        product_id=product.id,
        product_name=product.name,
        metric_id=product.metric_id,
        group_keys=product.pricing_group_key,
        group_values=rate.group_values,
        span=piece,
        price=price,
        origin=_origin(rate, override),
        product_tags=product.tags,
        quantity_terms=product.quantity_terms,
        # A commit draws in one unit: where an overwrite is in another, its list price is the only one.
        commit_price=rate.commit_price if price.unit == rate.price.unit else None,
    )


def _origin(rate: Rate, override: Override | None) -> dict[str, str]:
    origin = {
        "rate_card_id": rate.rate_card_id,
        "rate_id": rate.id,
        "rate_starting_at": rate.starting_at.isoformat(),
    }
    return origin if override is None else origin | {"override_id": override.id}
