"""A rater on definitions in memory that prices drafts, and usage that tells customers apart by owner."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import msgspec

from penstock.catalog.memory import MemoryCatalog
from penstock.kernel.backtest import Draft, Tried
from penstock.kernel.contract import ContractTerms
from penstock.kernel.meter import Metric
from penstock.kernel.quantity import exact
from penstock.kernel.usage import Usage, UsageQuery
from penstock.kernel.window import Span
from penstock.rater.backtest.run import BacktestService
from penstock.rater.definitions import Product, Rate, RateCard
from penstock.rater.run import RaterService
from penstock.rater.shelf import Shelf
from unit.rater.rating import JUNE, LONG_AGO, NOW, FakeUsage, some_terms

MAY = Span(JUNE.start.replace(month=5), JUNE.start)


class OwnedUsage(FakeUsage):
    """Every owner's rows, each of all of its keys together. `owned` are the questions of that kind."""

    def __init__(self, *metrics: Metric) -> None:
        super().__init__(*metrics)
        self.owned: list[UsageQuery] = []

    def _answer(self, query: UsageQuery) -> Usage:
        if not query.owners:
            return super()._answer(query)
        self.owned.append(query)
        rows = []
        for owner in dict.fromkeys(query.owners):
            keys = tuple(key for key, of in zip(query.customers, query.owners, strict=True) if of == owner)
            found = super()._answer(msgspec.structs.replace(query, customers=keys, owners=()))
            rows += [msgspec.structs.replace(row, customer_key=owner) for row in found.rows]
        return Usage(tuple(rows), self._vector)


class StoppedClock:
    def now(self) -> Any:
        return NOW


class Rater:
    """The real rater and the backtest of it, on the same definitions and usage."""

    def __init__(self, products: Sequence[Product], rates: Sequence[Rate], *metrics: Metric) -> None:
        catalog = MemoryCatalog()
        shelf = Shelf(catalog)
        for product in products:
            shelf.add_product("tenant-1", product)
        for card_id in dict.fromkeys(["card-1", *(rate.rate_card_id for rate in rates)]):
            shelf.add_rate_card("tenant-1", RateCard(card_id, card_id, LONG_AGO, "key-1"))
        shelf.add_rates("tenant-1", rates, LONG_AGO)
        self.usage = OwnedUsage(*metrics)
        self.rating = RaterService(catalog, self.usage, StoppedClock(), self.usage)
        self.trials = BacktestService(catalog, self.usage, self.rating)

    def amounts(self, draft: Draft, *tried: Tried) -> list[tuple[str, list[str], list[str]]]:
        """Contract, old and new of each row, as text."""
        rows = self.trials.backtest("tenant-1", tried, draft)
        return [(row.contract_id, [str(each) for each in row.old], [str(each) for each in row.new]) for row in rows]

    @exact
    def by_rate(self, tried: Tried) -> list[Decimal]:
        """What the real rater charges in each period."""
        sets = [self.rating.charges(tried.terms, period, frozenset()) for period in tried.periods]
        return [sum((charge.list_amount for charge in found.charges), Decimal(0)) for found in sets]


def tried(number: int = 1, *periods: Span, **fields: Any) -> Tried:
    """Contract and customer of that number; June alone unless said otherwise."""
    customer = f"customer-{number}"
    values = {"contract_id": f"contract-{number}", "customer_id": customer, "customer_keys": (customer,)}
    terms: ContractTerms = some_terms(*fields.pop("overrides", ()), **(values | fields))
    return Tried(terms, periods or (JUNE,))

