"""How fast the rater is: charges of graduated prices in the batch path, one customer rated again, a whole book.

    python -m loadtest rater-bench

Each figure stands beside a floor of the same run: what the same numbers cost with nothing done to them. Wall-clock time
says what was had on this machine at this moment; CPU time says it with less of what else the machine was doing.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

from loadtest.book_bench import BookPlan, list_price, run_book
from loadtest.machine import this_machine
from loadtest.no_events import NoEvents
from loadtest.terminal import say

from penstock.catalog.sqlite import SqliteCatalog
from penstock.kernel.clock import SystemClock
from penstock.kernel.contract import ContractTerms
from penstock.kernel.meter import Aggregation, Metric
from penstock.kernel.quantity import ZERO, exact
from penstock.kernel.usage import Usage, UsageQuery, UsageRow
from penstock.kernel.window import Span
from penstock.rater.backtest.compare import compare
from penstock.rater.backtest.pair import Pair
from penstock.rater.backtest.plan import Plan
from penstock.rater.backtest.price_column import steps_between
from penstock.rater.definitions import Product, ProductType, Rate, RateCard
from penstock.rater.rate import Metered, rate, source_of
from penstock.rater.rate_card import resolve
from penstock.rater.run import RaterService
from penstock.rater.shelf import Shelf

JUNE = Span(datetime(2026, 6, 1, tzinfo=UTC), datetime(2026, 7, 1, tzinfo=UTC))
PRODUCTS = 50
CHARGES_PER_S, RERATED_MS, BOOK_S = 200_000, 20, 60
TRIES = 5


class Took(NamedTuple):
    wall_s: float
    cpu_s: float


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--charges", type=int, default=500_000, help="of the batch path")
    parser.add_argument("--rated", type=int, default=1_000, help="how often one customer is rated again")
    parser.add_argument("--customers", type=int, default=10_000, help="of the whole book")
    parser.add_argument("--months", type=int, default=12)
    parser.add_argument("--products", type=int, default=5)
    parser.add_argument("--cells", type=int, default=10, help="of each customer, product and month")
    parser.add_argument("--folder", type=Path, help="where the store goes; a temporary folder unless given")


def rater_bench(given: argparse.Namespace) -> int:
    """Print the figures; return 0, or 1 where something does not add up."""
    machine, (load, _, _) = this_machine(), os.getloadavg()
    say(f"{machine.cpu}, {machine.cores} cores, Python {machine.python}, commit {machine.commit}")
    say(f"load of the machine before: {load:.1f}")
    adds_up = [batch(given.charges), again(given.rated)]
    folder = Path(tempfile.mkdtemp(prefix="book-", dir=given.folder))
    try:
        adds_up.append(run_book(folder, BookPlan(given.customers, given.months, given.products, given.cells)))
    finally:
        shutil.rmtree(folder)
    say(f"goals: {CHARGES_PER_S:,} charges/s, {RERATED_MS} ms, {BOOK_S} s")
    return 0 if all(adds_up) else 1


def batch(charges: int) -> bool:
    """Graduated prices of one core: the column alone, and with the rows of usage that it is gathered from."""
    chance = random.Random(7)
    ends = [Decimal(chance.randrange(60_000_000)).scaleb(-3) for _ in range(charges)]
    starts, price = [ZERO] * charges, list_price(0)
    floor = _least(lambda: [int(end * 1_000) for end in ends])
    column = _least(lambda: steps_between(price, starts, ends))
    say(f"graduated, {charges:,} charges of three tiers, one core, best of {TRIES}:")
    say(f"  the floor: the same decimals as whole numbers      {_per_s(charges, floor)}")
    say(f"  a column of totals becomes amounts                 {_per_s(charges, column)}")
    rows = [UsageRow(JUNE, (), end, 1, f"customer-{n}") for n, end in enumerate(ends)]
    owners = {f"customer-{n}": [n] for n in range(charges)}
    source, pairs = _one_product(charges)
    gathered = _least(lambda: compare(pairs, owners, [(source, rows)]))
    say(f"  rows of usage become old and new totals            {_per_s(2 * charges, gathered)}")
    old, new = compare(pairs, owners, [(source, rows)])
    return old == new and _is_exact(price, ends[:2_000])


def _one_product(contracts: int) -> tuple[Any, list[Pair]]:
    [interval] = _intervals(1)
    plan = Plan([interval], [JUNE])
    pair = Pair(plan, Plan([interval], [JUNE]), {interval.metric_id: Aggregation.SUM})
    return source_of(interval), [pair] * contracts


@exact
def _is_exact(price: Any, ends: Sequence[Decimal]) -> bool:
    """Whether the column says what `rate` says, of as many as there is time for."""
    [interval] = _intervals(1)
    by_rate = [
        rate([interval], {source_of(interval): Metered(Aggregation.SUM, (UsageRow(JUNE, (), end, 1),))}, frozenset())
        for end in ends
    ]
    amounts = [Decimal(steps).scaleb(-2) for steps in steps_between(price, [ZERO] * len(ends), ends)]
    return amounts == [charges[0].list_amount for charges in by_rate]


class ReadUsage:
    """A `UsageReader` whose usage has been read: a row for each span and metric."""

    def metric(self, tenant: str, metric_id: str) -> Metric | None:
        return Metric(metric_id, tenant, metric_id, Aggregation.SUM, "units")

    def settled(self, through: datetime) -> bool:
        return True

    def usage(self, *queries: UsageQuery) -> tuple[Usage, ...]:
        return tuple(Usage((UsageRow(q.spans[0], (), Decimal("31415.926"), 1),), (0,)) for q in queries)


def again(times: int) -> bool:
    """One customer with 50 products, from usage to charges: with what the rater reads of SQLite, and without."""
    folder = Path(tempfile.mkdtemp(prefix="rater-"))
    try:
        catalog = SqliteCatalog(folder / "rater.db")
        products, rates = _card(PRODUCTS)
        for product in products:
            Shelf(catalog).add_product("acme", product)
        Shelf(catalog).add_rate_card("acme", RateCard("card", "Card", JUNE.start, ""), rates)
        service, terms = RaterService(catalog, ReadUsage(), SystemClock(), NoEvents()), _terms()
        intervals = _intervals(PRODUCTS)
        row = UsageRow(JUNE, (), Decimal("31415.926"), 1)
        usage = {source_of(each): Metered(Aggregation.SUM, (row,)) for each in intervals}
        whole = [_time(lambda: service.charges(terms, JUNE, frozenset())) for _ in range(times)]
        pure = [_time(lambda: rate(intervals, usage, frozenset())) for _ in range(times)]
        floor = [_time(lambda: service.rates(terms)) for _ in range(times)]
        say(f"one customer, {PRODUCTS} products, rated {times:,} times after its usage is read:")
        say(f"  the floor: its rates read from SQLite              {_percentiles(floor)}")
        say(f"  rates, overrides and charges                       {_percentiles(whole)}")
        say(f"  charges alone                                      {_percentiles(pure)}")
        return service.charges(terms, JUNE, frozenset()).charges == rate(intervals, usage, frozenset())
    finally:
        shutil.rmtree(folder)


def _card(products: int) -> tuple[list[Product], list[Rate]]:
    """All graduated: the dearest of what most cards have."""
    long_ago = datetime(2020, 1, 1, tzinfo=UTC)
    numbers = range(products)
    return (
        [Product(f"p{n}", f"P{n}", ProductType.USAGE, long_ago, "", f"metric-{n}") for n in numbers],
        [Rate(f"r{n}", "card", f"p{n}", True, long_ago, None, (), list_price(0)) for n in numbers],
    )


def _terms() -> ContractTerms:
    return ContractTerms("acme", "contract", "customer", ("customer",), "card", JUNE.start, None)


def _intervals(products: int) -> Any:
    sold, rates = _card(products)
    return resolve(_terms(), JUNE, rates, {product.id: product for product in sold})


def _time(work: Callable[[], object]) -> Took:
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return Took(time.perf_counter() - wall, time.process_time() - cpu)


def _least(work: Callable[[], object]) -> Took:
    return min(_time(work) for _ in range(TRIES))


def _per_s(count: int, took: Took) -> str:
    return f"{count / took.wall_s:>12,.0f}/s, {count / took.cpu_s:>12,.0f} a second of CPU"


def _percentiles(times: Sequence[Took]) -> str:
    wall, cpu = (sorted(getattr(each, name) for each in times) for name in Took._fields)
    p50, p99 = (wall[int(len(wall) * share)] * 1_000 for share in (0.5, 0.99))
    return f"p50 {p50:6.2f} ms, p99 {p99:6.2f} ms; of CPU p99 {cpu[int(len(cpu) * 0.99)] * 1_000:6.2f} ms"
