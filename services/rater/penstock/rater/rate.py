"""THE VERB: usage and price intervals of one contract and billing period become charges. Pure and exact.

A charge is one product, pricing group, price and contiguous service period. The tier counter runs over the billing
period per product and pricing group and counts what was priced; a price change changes the tiers, not the counter.
Usage in a group or at a time without a price is not charged: `unpriced` lists it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import NamedTuple

import msgspec

from penstock.kernel.charge import COMMIT, LIST, Alternative, Charge, Part, Slice
from penstock.kernel.meter import Aggregation, GroupValue
from penstock.kernel.money import Unit, round_to_step
from penstock.kernel.price import AnyPrice, PriceInterval
from penstock.kernel.quantity import ZERO, exact
from penstock.kernel.quantity_terms import Counted
from penstock.kernel.usage import UsageRow
from penstock.kernel.window import Span
from penstock.rater.priced_quantity import NO_TERMS, priced_between
from penstock.rater.pricing.models import amount_between
from penstock.rater.quantity_source import running

# A metric and the keys by which its usage is grouped: products that share both share their usage.
Source = tuple[str, tuple[str, ...]]


class Metered(msgspec.Struct, frozen=True):
    """What was used from one source, over the spans that `quantity_source.spans_to_ask` named."""

    aggregation: Aggregation
    rows: tuple[UsageRow, ...]


class Counter(NamedTuple):
    """What a product's pricing group has used of the period so far: as it was counted, and as it was priced."""

    metered: Decimal
    priced: Decimal


def source_of(interval: PriceInterval) -> Source:
    return interval.metric_id, interval.group_keys


@exact
def rate(
    intervals: Iterable[PriceInterval], usage: Mapping[Source, Metered], cuts: frozenset[datetime]
) -> tuple[Charge, ...]:
    """Every charge of one contract and billing period, in the order of `intervals`; zero amounts too.

    `intervals` are clipped to the period and in order of time per product and group values. Each charge is sliced at
    every instant of `cuts`; `usage` was asked with the same cuts. No usage, no charge.
    """
    by_groups = {source: (metered.aggregation, _by_groups(metered.rows)) for source, metered in usage.items()}
    counters: dict[tuple[str, tuple[GroupValue, ...]], Counter] = {}
    charges = []
    for interval in intervals:
        aggregation, rows = by_groups[source_of(interval)]
        groups = tuple(value for _, value in interval.group_values)
        slices = interval.span.cut(set(cuts))
        quantities = running(aggregation, slices, rows.get(groups, ()))
        if quantities is not None:
            counter = counters.get((interval.product_id, groups), Counter(ZERO, ZERO))
            charge = _charge(interval, counter, slices, quantities)
            charges.append(charge)
            after = Counter(counter.metered + quantities[-1], counter.priced + charge.quantity)
            counters[interval.product_id, groups] = after
    return tuple(charges)


def _by_groups(rows: Iterable[UsageRow]) -> dict[tuple[GroupValue, ...], list[UsageRow]]:
    out: dict[tuple[GroupValue, ...], list[UsageRow]] = {}
    for row in rows:
        out.setdefault(row.groups, []).append(row)
    return out


def _charge(interval: PriceInterval, counter: Counter, slices: Sequence[Span], quantities: Sequence[Decimal]) -> Charge:
    """`quantities` run: what was used from the start of the charge to the end of each slice."""
    terms, prices = interval.quantity_terms, [(LIST, interval.price)]
    if interval.commit_price is not None:
        prices.append((COMMIT, interval.commit_price))
    priced = priced_between(counter.metered, quantities, terms)
    return Charge(
        contract_id=interval.contract_id,
        product_id=interval.product_id,
        product_name=interval.product_name,
        product_tags=interval.product_tags,
        metric_id=interval.metric_id,
        group_values=interval.group_values,
        span=interval.span,
        unit=interval.price.unit,
        quantity=priced[-1],
        alternatives=tuple(
            _alternative(kind, price, interval.origin, counter.priced, slices, priced) for kind, price in prices
        ),
        metered=None if terms == NO_TERMS else Counted(counter.metered, quantities[-1], terms),
    )


def _alternative(
    kind: str,
    price: AnyPrice,
    origin: dict[str, str],
    counter: Decimal,
    slices: Sequence[Span],
    quantities: Sequence[Decimal],
) -> Alternative:
    total, parts = amount_between(counter, counter + quantities[-1], price)
    return Alternative(
        kind=kind,
        price=price,
        origin=origin,
        counter=counter,
        exact=total,
        amount=round_to_step(total, price.unit),
        parts=_rounded(parts, price.unit),
        slices=_sliced(price, counter, slices, quantities),
    )


def _rounded(parts: Sequence[Part], unit: Unit) -> tuple[Part, ...]:
    """The parts with amounts that sum to the rounded charge: differences of the rounded running amount."""
    out, reached, booked = [], ZERO, ZERO
    for part in parts:
        reached += part.amount
        amount = round_to_step(reached, unit) - booked
        booked += amount
        out.append(msgspec.structs.replace(part, amount=amount))
    return tuple(out)


def _sliced(
    price: AnyPrice, counter: Decimal, slices: Sequence[Span], quantities: Sequence[Decimal]
) -> tuple[Slice, ...]:
    """The slices in which anything was used, amounts again as differences of the rounded running amount."""
    out, used, booked = [], ZERO, ZERO
    for span, reached in zip(slices, quantities, strict=True):
        amount = round_to_step(amount_between(counter, counter + reached, price).amount, price.unit) - booked
        if reached != used or amount:
            out.append(Slice(span, reached - used, amount))
        used, booked = reached, booked + amount
    return tuple(out)
