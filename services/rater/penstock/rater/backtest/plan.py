"""What a contract's usage will be priced by: its price intervals by source and groups, found once for all its periods.

Contracts on the same terms share one plan: most of a book has few of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from penstock.kernel.contract import ContractTerms
from penstock.kernel.meter import GroupValue
from penstock.kernel.money import Unit
from penstock.kernel.price import AnyPrice, PriceInterval
from penstock.kernel.window import Span
from penstock.rater.definitions import Product, Rate
from penstock.rater.pricing.catalogue import reads_of
from penstock.rater.rate import Source, source_of
from penstock.rater.rate_card import resolve

Groups = tuple[GroupValue, ...]
Chain = tuple[str, Groups]

# What an interval may say for the batch path to price it. One that says more is left to `rate`.
UNDERSTOOD = frozenset(
    {
        *("contract_id", "product_id", "product_name", "product_tags", "metric_id", "group_keys", "group_values"),
        *("span", "price", "origin", "commit_price"),  # what commits pay is not asked
    }
)
_MORE = [field for field in msgspec.structs.fields(PriceInterval) if field.name not in UNDERSTOOD]


class Slot(msgspec.Struct, frozen=True, eq=False):
    """A charge to be: one interval in one period, by its place. `span` is the part of the interval in the period.

    Charges of one `chain`, in order of time, go on with one tier counter; `is_alone` says that there is no other.
    """

    period: int
    span: Span
    price: AnyPrice
    chain: Chain
    is_alone: bool


class Plan:
    """The intervals of one set of terms over `periods`, which are in order and disjoint."""

    def __init__(self, intervals: Iterable[PriceInterval], periods: Sequence[Span]) -> None:
        self._periods = periods
        self._by_groups: dict[tuple[Source, Groups], dict[Chain, list[PriceInterval]]] = {}
        self._slots: dict[tuple[Source, Groups], list[Slot]] = {}
        self.units: set[Unit] = set()
        self.is_columnar = True
        spans: dict[Source, set[Span]] = {}
        for interval in intervals:
            source, groups = source_of(interval), tuple(value for _, value in interval.group_values)
            chains = self._by_groups.setdefault((source, groups), {})
            chains.setdefault((interval.product_id, groups), []).append(interval)
            spans.setdefault(source, set()).add(interval.span)
            self.units.add(interval.price.unit)
            self.is_columnar = self.is_columnar and is_columnar(interval)
        self.services: dict[Source, frozenset[Span]] = {
            source: frozenset(part for span in held for period in periods if (part := span.clip(period)) is not None)
            for source, held in spans.items()
        }

    def slots(self, source: Source, groups: Groups) -> Sequence[Slot]:
        """Every charge that usage of these groups can become."""
        key = source, groups
        if key not in self._slots:
            chains = self._by_groups.get(key, {})
            self._slots[key] = [slot for chain, held in chains.items() for slot in self._of_chain(chain, held)]
        return self._slots[key]

    def _of_chain(self, chain: Chain, intervals: Sequence[PriceInterval]) -> Iterable[Slot]:
        for place, period in enumerate(self._periods):
            inside = [(part, each.price) for each in intervals if (part := each.span.clip(period)) is not None]
            for part, price in inside:
                yield Slot(place, part, price, chain, len(inside) == 1)


def is_columnar(interval: PriceInterval) -> bool:
    """Whether all that the interval says is understood, and its price reads a quantity."""
    if any(getattr(interval, field.name) != field.default for field in _MORE):
        return False
    return reads_of(interval.price) == "quantity"


class Plans:
    """Makes each plan once. For one answer: rates and products are those of the moment."""

    def __init__(self, products: Mapping[str, Product]) -> None:
        self._products = products
        self._plans: dict[tuple[object, ...], Plan] = {}

    def of(self, terms: ContractTerms, periods: Sequence[Span], rates: Sequence[Rate]) -> Plan:
        """`periods` lie within the contract's dates. `rates` are those of the terms' card, the same ones each time."""
        key = (terms.rate_card_id, terms.overrides, terms.prioritization, tuple(periods), id(rates))
        if key not in self._plans:
            whole = Span(periods[0].start, periods[-1].end)
            self._plans[key] = Plan(resolve(terms, whole, rates, self._products), periods)
        return self._plans[key]
