"""THE VERB: usage and price intervals of one contract and billing period become charges. Pure and exact.

A charge is one product, pricing group, price and contiguous service period. What was used in the billing period before
it (the tier counter, the groups, the events) is of the product and pricing group, and is what was priced; a price
change changes the price, not that: a charge costs the difference of what both readings cost. A price of a quantity is
told it as the product's terms convert and round it.
Usage in a group or at a time without a price is not charged: `unpriced` lists it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal

import msgspec

from penstock.kernel.charge import COMMIT, LIST, Alternative, Charge, Part, Slice, UsedEvents, UsedGroup
from penstock.kernel.metered_event import EventSource
from penstock.kernel.money import Unit, round_to_step
from penstock.kernel.price import AnyPrice, GroupValues, PriceInterval
from penstock.kernel.quantity import ZERO, exact
from penstock.kernel.quantity_terms import Counted
from penstock.kernel.window import Span
from penstock.rater.priced_quantity import NO_TERMS, priced_between
from penstock.rater.pricing.catalogue import reads_of
from penstock.rater.pricing.group_keys import in_order
from penstock.rater.pricing.models import amount_from
from penstock.rater.pricing.used import Used
from penstock.rater.reached import Metered, Reached, Source, source_of
from penstock.rater.reading import numbers_of

__all__ = ["EVENTS_LISTED_MAX", "Metered", "Source", "rate", "source_of"]

# So many events are kept in a charge; what more there are is read again where an invoice is explained.
EVENTS_LISTED_MAX = 1_000


class _Counter(msgspec.Struct, frozen=True):
    """What a product's pricing group has used of the period so far: as it was counted, and as it was priced."""

    used: Used = Used(quantity=ZERO)
    priced: Decimal = ZERO
    spans: tuple[Span, ...] = ()  # that were priced


class _Reading(msgspec.Struct, frozen=True):
    """What the price of a charge is asked about: what was used before it, and up to the end of each slice."""

    interval: PriceInterval
    before: Used
    slices: Sequence[Span]
    ends: Sequence[Used]  # from the start of the charge
    spans: tuple[Span, ...]  # that were priced before it
    event_source: EventSource | None
    counted: Counted | None = None  # where the product's terms made of it what is priced


@exact
def rate(
    intervals: Iterable[PriceInterval], usage: Mapping[Source, Metered], cuts: frozenset[datetime]
) -> tuple[Charge, ...]:
    """Every charge of one contract and billing period, in the order of `intervals`; zero amounts too.

    `intervals` are clipped to the period and in order of time per product and group values. Each charge is sliced at
    every instant of `cuts`; `usage` was asked with the same cuts. No usage, no charge.
    """
    found: dict[tuple[Source, int], Reached] = {}
    counters: dict[tuple[str, GroupValues], _Counter] = {}
    charges = []
    for interval in intervals:
        source, width = source_of(interval), len(interval.group_keys)
        reached = found.get((source, width))
        if reached is None:
            reached = found[source, width] = Reached(source, usage[source], width)
        slices = interval.span.cut(set(cuts))
        ends = reached.at_ends(interval, slices)
        if ends is not None:
            counter = counters.get((interval.product_id, interval.group_values), _Counter())
            before = counter.used
            before = reached.events_in(interval, counter.spans) if interval.reads_events else _told(interval, before)
            counter = msgspec.structs.replace(counter, used=before)
            charges.append(_charge(_read(interval, counter, slices, ends, reached.metered.event_source)))
            # By the terms also where this price is told what was counted: the next one may read a quantity.
            [priced] = priced_between(before.total, [ends[-1].total], interval.quantity_terms)
            counters[interval.product_id, interval.group_values] = _Counter(
                before.plus(ends[-1]), counter.priced + priced, (*counter.spans, interval.span)
            )
    return tuple(charges)


def _told(interval: PriceInterval, before: Used) -> Used:
    """What was used before, by the keys that the interval's own usage is told by; a value that is not known is null."""
    if not interval.price_keys:
        return before if before.quantity is not None else Used(quantity=before.total)
    groups: dict[GroupValues, Decimal] = {}
    for group, quantity in before.groups.items():
        if group or quantity:
            held = dict(group)
            values = tuple((key, held.get(key)) for key in interval.price_keys)
            groups[values] = groups.get(values, ZERO) + quantity
    return Used(by_group=groups)


def _read(
    interval: PriceInterval,
    counter: _Counter,
    slices: Sequence[Span],
    ends: Sequence[Used],
    event_source: EventSource | None,
) -> _Reading:
    """As much of what was used as the price itself reads; other prices of the product may read more."""
    before = counter.used
    if before.quantity is None:
        reads = reads_of(interval.price)
        assert reads is not None, "a price reads something"
        before, ends = before.known_by(reads), [end.known_by(reads) for end in ends]
    reading = _Reading(interval, before, slices, ends, counter.spans, event_source)
    return reading if before.quantity is None else _as_priced(reading, counter.priced)


def _as_priced(reading: _Reading, priced_before: Decimal) -> _Reading:
    """The reading of a price of a quantity, in what the product's terms make of it."""
    terms, metered = reading.interval.quantity_terms, reading.before.total
    quantities = [end.total for end in reading.ends]
    return msgspec.structs.replace(
        reading,
        before=Used(quantity=priced_before),
        ends=[Used(quantity=quantity) for quantity in priced_between(metered, quantities, terms)],
        counted=None if terms == NO_TERMS else Counted(metered, quantities[-1], terms),
    )


def _charge(reading: _Reading) -> Charge:
    interval = reading.interval
    prices: list[tuple[str, AnyPrice]] = [(LIST, interval.price)]
    if interval.commit_price is not None:
        prices.append((COMMIT, interval.commit_price))
    quantities = [end.total for end in reading.ends]
    return Charge(
        contract_id=interval.contract_id,
        product_id=interval.product_id,
        product_name=interval.product_name,
        product_tags=interval.product_tags,
        metric_id=interval.metric_id,
        group_values=interval.group_values,
        span=interval.span,
        unit=interval.price.unit,
        quantity=quantities[-1],
        alternatives=tuple(_alternative(kind, price, reading, quantities) for kind, price in prices),
        metered=reading.counted,
    )


def _alternative(kind: str, price: AnyPrice, reading: _Reading, quantities: Sequence[Decimal]) -> Alternative:
    before = reading.before
    total, parts = amount_from(before, before.plus(reading.ends[-1]), price)
    amount = round_to_step(total, price.unit)
    return Alternative(
        kind=kind,
        price=price,
        origin=reading.interval.origin,
        counter=before.total,
        exact=total,
        amount=amount,
        parts=_rounded(parts, price.unit),
        slices=_sliced(price, reading, quantities, amount),
        groups=_groups(before, reading.ends[-1]),
        events=_events(reading),
    )


def _groups(before: Used, used: Used) -> tuple[UsedGroup, ...]:
    if before.by_group is None or used.by_group is None:
        return ()
    earlier, now = before.by_group, used.by_group
    groups = sorted({*earlier, *now}, key=in_order)
    return tuple(UsedGroup(group, now.get(group, ZERO), earlier.get(group)) for group in groups)


def _events(reading: _Reading) -> UsedEvents | None:
    before, used, source = reading.before.by_event, reading.ends[-1].by_event, reading.event_source
    if before is None or used is None:
        return None
    interval, count = reading.interval, len(before) + len(used)
    listed = before + used if count <= EVENTS_LISTED_MAX else ()
    if source is not None:
        source = msgspec.structs.replace(
            source,
            spans=(*reading.spans, interval.span),
            keys=interval.price_keys,
            numbers=numbers_of([interval.price]),
            filters=interval.group_values,
        )
    return UsedEvents(count, len(before), listed, source)


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
    price: AnyPrice, reading: _Reading, quantities: Sequence[Decimal], whole: Decimal
) -> tuple[Slice, ...]:
    """The slices in which anything was used, amounts again as differences of the rounded running amount.

    At the end of the last one that is the whole charge's.
    """
    before = reading.before
    earlier = [amount_from(before, before.plus(end), price).amount for end in reading.ends[:-1]]
    running = [*(round_to_step(amount, price.unit) for amount in earlier), whole]
    out, used, booked = [], ZERO, ZERO
    for span, due, reached in zip(reading.slices, running, quantities, strict=True):
        amount = due - booked
        if reached != used or amount:
            out.append(Slice(span, reached - used, amount))
        used, booked = reached, booked + amount
    return tuple(out)
