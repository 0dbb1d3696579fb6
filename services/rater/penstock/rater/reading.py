"""What the prices of a product read beside its quantity: group keys, properties of events, or events at all. Pure.

A tier counter outlives a price change, and counts whatever the next price reads. So all prices that a product has in a
period are told the same: usage by the keys of them all, and events where one of them reads events.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

import msgspec

from penstock.kernel.price import AnyPrice, Dynamic, PriceAround, PriceInterval
from penstock.rater.pricing.catalogue import reads_of
from penstock.rater.pricing.models import TOTALS


def with_readings(intervals: Sequence[PriceInterval]) -> tuple[PriceInterval, ...]:
    """The intervals, each with what the prices of its product read."""
    more = [interval for interval in intervals if type(interval.price) not in TOTALS]
    keys: dict[str, dict[str, None]] = {}
    events = {interval.product_id for interval in more if reads_of(interval.price) == "events"}
    for interval in more:
        keys.setdefault(interval.product_id, {}).update(dict.fromkeys(keys_of(interval.price)))
    read = {id: (tuple(keys[id]), id in events) for id in keys if keys[id] or id in events}
    return tuple(_with_reading(each, *read[each.product_id]) if each.product_id in read else each for each in intervals)


def with_own_keys(
    intervals: Sequence[PriceInterval], adds_up: Callable[[str], bool]
) -> tuple[PriceInterval, ...]:
    """The intervals, those of a metric that does not add up each with the keys of its own price alone.

    The figures of groups are no parts of such a metric's figure, so a price of a quantity must not be told the groups
    of another price. `adds_up` is asked of metrics by id.
    """
    return tuple(
        msgspec.structs.replace(each, price_keys=keys_of(each.price))
        if each.price_keys and not adds_up(each.metric_id)
        else each
        for each in intervals
    )


def _with_reading(interval: PriceInterval, keys: tuple[str, ...], reads_events: bool) -> PriceInterval:
    return msgspec.structs.replace(interval, price_keys=keys, reads_events=reads_events)


def models_in(price: AnyPrice) -> Iterator[AnyPrice]:
    """A price, the one that it holds, and so on: each stands in the field `price` of the one before it."""
    yield price
    while isinstance(price, PriceAround):
        price = price.price
        yield price


def keys_of(price: AnyPrice) -> tuple[str, ...]:
    """The group keys by which a price reads usage, each once, the outermost first."""
    return tuple(dict.fromkeys(key for model in models_in(price) for key in getattr(model, "keys", ())))


def number_of(price: AnyPrice) -> str | None:
    """The property that an event must bring for this price, or None."""
    return next((model.property for model in models_in(price) if isinstance(model, Dynamic)), None)


def numbers_of(prices: Iterable[AnyPrice]) -> tuple[str, ...]:
    """Each property once, in the order in which the prices come."""
    return tuple(dict.fromkeys(name for price in prices if (name := number_of(price)) is not None))
