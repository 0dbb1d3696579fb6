"""What a charge used from its start to the end of each of its slices, as much of it as its product's prices read. Pure.

A quantity, the quantity of each combination of group values, or the events in (time, id) order.
"""

from __future__ import annotations

import bisect
from collections.abc import Iterable, Sequence
from decimal import Decimal

import msgspec

from penstock.kernel.meter import Aggregation, GroupValue
from penstock.kernel.metered_event import EventSource, MeteredEvent, UsedEvent
from penstock.kernel.price import GroupValues, PriceInterval
from penstock.kernel.usage import UsageRow
from penstock.kernel.window import Span
from penstock.rater.pricing.used import Used
from penstock.rater.quantity_source import first_used, running
from penstock.rater.reading import number_of

# A metric and the keys by which its usage is grouped: products that share both share their usage.
Source = tuple[str, tuple[str, ...]]
_Values = tuple[GroupValue, ...]


class Metered(msgspec.Struct, frozen=True):
    """What was used from one source, over the spans that `quantity_source.spans_to_ask` named.

    `events` are there, in (time, id) order, where a price reads them: all that the rows have counted, from
    `event_source`.
    """

    aggregation: Aggregation
    rows: tuple[UsageRow, ...]
    events: tuple[MeteredEvent, ...] = ()
    event_source: EventSource | None = None


def source_of(interval: PriceInterval) -> Source:
    """The pricing group keys come first, then what else the product's prices read by."""
    more = tuple(key for key in interval.price_keys if key not in interval.group_keys)
    return interval.metric_id, interval.group_keys + more


class Reached:
    """The usage of one source for products of `width` pricing group keys, by the values of these."""

    def __init__(self, source: Source, metered: Metered, width: int) -> None:
        self._keys, self._width, self.metered = source[1], width, metered
        self._rows: dict[_Values, dict[_Values, list[UsageRow]]] = {}
        for row in metered.rows:
            self._rows.setdefault(row.groups[:width], {}).setdefault(row.groups, []).append(row)
        self._events: dict[_Values, list[MeteredEvent]] = {}
        for event in metered.events:
            self._events.setdefault(event.groups[:width], []).append(event)

    def at_ends(self, interval: PriceInterval, slices: Sequence[Span]) -> list[Used] | None:
        """What was used from the start of the interval to the end of each slice; None where nothing was."""
        if interval.reads_events:
            return self._by_event(interval, slices)
        by_values = self._rows.get(_values_of(interval), {})
        if interval.price_keys:
            return self._by_group(interval, slices, by_values)
        quantities = running(self.metered.aggregation, slices, by_values.get(_values_of(interval), ()))
        return None if quantities is None else [Used(quantity=quantity) for quantity in quantities]

    def events_in(self, interval: PriceInterval, spans: Iterable[Span]) -> Used:
        """The events of the interval's pricing group in other spans, as the interval's price reads them."""
        return Used(by_event=tuple(event for span in spans for event in self._used_in(interval, span)))

    def _by_group(
        self, interval: PriceInterval, slices: Sequence[Span], by_values: dict[_Values, list[UsageRow]]
    ) -> list[Used] | None:
        places = [self._keys.index(key) for key in interval.price_keys]
        ends: list[dict[GroupValues, Decimal]] = [{} for _ in slices]
        for values, rows in by_values.items():
            quantities = running(self.metered.aggregation, slices, rows)
            if quantities is None:
                continue
            group = tuple((key, values[place]) for key, place in zip(interval.price_keys, places, strict=True))
            # A group that was not used yet is none: a price may have a minimum for each.
            for place in range(first_used(self.metered.aggregation, slices, rows), len(slices)):
                ends[place][group] = quantities[place]
        return [Used(by_group=groups) for groups in ends] if ends[-1] else None

    def _by_event(self, interval: PriceInterval, slices: Sequence[Span]) -> list[Used] | None:
        events = tuple(self._used_in(interval, interval.span))
        ends = [bisect.bisect_left(events, piece.end, key=lambda event: event.at) for piece in slices]
        return [Used(by_event=events[:end]) for end in ends] if events else None

    def _used_in(self, interval: PriceInterval, span: Span) -> Iterable[UsedEvent]:
        events = self._events.get(_values_of(interval), [])
        first, end = (bisect.bisect_left(events, at, key=lambda event: event.at) for at in (span.start, span.end))
        places = [self._keys.index(key) for key in interval.price_keys]
        number, source = number_of(interval.price), self.metered.event_source
        brought = None if number is None or source is None else source.numbers.index(number)
        shared: dict[_Values, GroupValues] = {}
        for event in events[first:end]:
            group = shared.get(event.groups)
            if group is None:
                named = zip(interval.price_keys, places, strict=True)
                group = shared[event.groups] = tuple((key, event.groups[place]) for key, place in named)
            rate = None if brought is None else event.numbers[brought]
            yield UsedEvent(event.at, event.id, event.quantity, group, rate)


def _values_of(interval: PriceInterval) -> _Values:
    return tuple(value for _, value in interval.group_values)
