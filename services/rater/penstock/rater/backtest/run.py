"""The shell of previews and backtests: read the definitions and the usage of many contracts, then decide purely."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from penstock.kernel.backtest import Compared, Draft, Preview, Tried
from penstock.kernel.contract import ContractTerms
from penstock.kernel.meter import Aggregation
from penstock.kernel.ports.catalog import Catalog
from penstock.kernel.ports.siblings import UsageReader
from penstock.kernel.problems import NotFound
from penstock.kernel.quantity import ZERO, exact
from penstock.kernel.window import Span
from penstock.rater.backtest.compare import compare
from penstock.rater.backtest.draft import DraftCard, check_units
from penstock.rater.backtest.pair import Pair
from penstock.rater.backtest.plan import Plans
from penstock.rater.backtest.questions import questions
from penstock.rater.backtest.sheet import Totals
from penstock.rater.definitions import Rate
from penstock.rater.run import RaterService
from penstock.rater.shelf import Shelf

# Terms and the rates of their card.
Carded = tuple[ContractTerms, Sequence[Rate]]


class _Case(NamedTuple):
    """A contract with its own terms, those that the draft makes of them, and the plans of both."""

    tried: Tried
    old: Carded
    new: Carded
    pair: Pair


class BacktestService:
    """The `Backtesting` port. `rating` prices what the batch path does not understand."""

    def __init__(self, catalog: Catalog, usage: UsageReader, rating: RaterService) -> None:
        self._shelf = Shelf(catalog)
        self._usage = usage
        self._rating = rating

    def preview(self, terms: ContractTerms, period: Span, draft: Draft) -> Preview:
        [case] = self._cases(terms.tenant, (Tried(terms, (period,)),), draft)
        return Preview(*self._rating.charge_sets([case.old, case.new], period, frozenset()))

    def backtest(self, tenant: str, tried: Sequence[Tried], draft: Draft) -> tuple[Compared, ...]:
        cases = self._cases(tenant, tried, draft)
        columnar = [case for case in cases if case.pair.is_columnar]
        old, new = self._by_column(columnar)
        rows: dict[str, list[Compared]] = {}
        for place, case in enumerate(columnar):
            rows[case.tried.terms.contract_id] = _rows(case, old, new, place)
        for case in cases:
            if not case.pair.is_columnar:
                rows[case.tried.terms.contract_id] = _rows(case, *self._one_by_one(case), 0)
        return tuple(row for each in tried for row in rows[each.terms.contract_id])

    def _cases(self, tenant: str, tried: Sequence[Tried], draft: Draft) -> list[_Case]:
        """Raise what the port raises, where there is nothing to try the draft on too."""
        card, plans = DraftCard(self._shelf, self._usage, tenant, draft), Plans(self._shelf.products(tenant))
        rates: dict[str, Sequence[Rate]] = {}
        pairs: dict[tuple[int, int], Pair] = {}  # contracts of the same two plans share one
        aggregations = _Aggregations(self._usage, tenant)
        cases = []
        for each in tried:
            held = rates.get(each.terms.rate_card_id)
            if held is None:
                held = rates[each.terms.rate_card_id] = self._rating.rates(each.terms)
            by_terms, by_draft = (each.terms, held), card.over(each.terms, held)
            old, new = (plans.of(terms, each.periods, of_card) for terms, of_card in (by_terms, by_draft))
            check_units(each.terms.contract_id, old.units, new.units)
            if (id(old), id(new)) not in pairs:
                pairs[id(old), id(new)] = Pair(old, new, aggregations)
            cases.append(_Case(each, by_terms, by_draft, pairs[id(old), id(new)]))
        return cases

    def _by_column(self, cases: Sequence[_Case]) -> tuple[Totals, Totals]:
        asked = list(questions([(case.tried.terms, case.pair) for case in cases]))
        answers = self._usage.usage(*(query for _, query in asked)) if asked else ()
        owners: dict[str, list[int]] = {}
        for place, case in enumerate(cases):
            owners.setdefault(case.tried.terms.customer_id, []).append(place)
        rows = ((source, answer.rows) for (source, _), answer in zip(asked, answers, strict=True))
        return compare([case.pair for case in cases], owners, rows)

    @exact
    def _one_by_one(self, case: _Case) -> tuple[Totals, Totals]:
        """What `rate` makes of it, period for period."""
        both: tuple[Totals, Totals] = ({}, {})
        for place, period in enumerate(case.tried.periods):
            sets = self._rating.charge_sets([case.old, case.new], period, frozenset())
            for totals, charge_set in zip(both, sets, strict=True):
                for charge in charge_set.charges:
                    of_place = totals.setdefault(charge.unit, {})
                    of_place[0, place] = of_place.get((0, place), ZERO) + charge.list_amount
        return both


class _Aggregations(dict[str, Aggregation]):
    """By metric, each looked up when it is first asked for."""

    def __init__(self, usage: UsageReader, tenant: str) -> None:
        super().__init__()
        self._usage, self._tenant = usage, tenant

    def __missing__(self, metric_id: str) -> Aggregation:
        metric = self._usage.metric(self._tenant, metric_id)
        if metric is None:
            raise NotFound(f"there is no billable metric {metric_id}", field="billable_metric_id")
        return self.setdefault(metric_id, metric.aggregation)


def _rows(case: _Case, old: Totals, new: Totals, place: int) -> list[Compared]:
    """One for each unit of the contract's prices, by the unit's name; zero where nothing was used."""
    periods = range(len(case.tried.periods))
    out = []
    for unit in sorted(case.pair.old.units | case.pair.new.units, key=lambda unit: (unit.name, unit.id)):
        by_old, by_new = (
            tuple(totals.get(unit, {}).get((place, period), ZERO) for period in periods) for totals in (old, new)
        )
        out.append(Compared(case.tried.terms.contract_id, unit, by_old, by_new))
    return out
