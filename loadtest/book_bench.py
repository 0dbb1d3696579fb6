"""The whole book against a draft card, on a store that is really filled: customers x months x products, page by page.

Cells are inserted as flushes leave them; definitions are in SQLite files. A page is asked of the handler of
`POST /v1/contracts/backtest`, written as JSON and read again, as a server and `penstock backtest` do, all in one
process. The floor is the same usage read and nothing made of it.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import msgspec
from loadtest.no_events import NoEvents
from loadtest.terminal import say

from penstock.aggregator.metrics import Definition, Metrics
from penstock.aggregator.store.clickhouse import ClickHouseUsageStore
from penstock.aggregator.usage import UsageService
from penstock.aggregator.usage_cache import UsageCache
from penstock.app.backtest_files import as_csv, as_json
from penstock.app.backtest_page import page
from penstock.app.backtest_result import Page, Result, Row, shown
from penstock.catalog.sqlite import SqliteCatalog
from penstock.contracts.agreement import Agreed, Contract, Frequency, calendar_of
from penstock.contracts.customers import Customer
from penstock.contracts.http_api import ContractsService
from penstock.contracts.store.memory import MemoryLedger
from penstock.kernel.cell import FILLED_US
from penstock.kernel.clock import SystemClock
from penstock.kernel.contract import Override, OverrideKind, Specifier
from penstock.kernel.meter import Aggregation, Metric
from penstock.kernel.money import USD
from penstock.kernel.ports.catalog import Item
from penstock.kernel.ports.fold_store import Flush
from penstock.kernel.ports.siblings import UsageReader
from penstock.kernel.price import AnyPrice, Graduated, Package, PerUnit, Tier, Volume
from penstock.kernel.quantity import ZERO, exact
from penstock.kernel.record import Marker
from penstock.kernel.usage import Usage, UsageQuery
from penstock.kernel.window import Span, to_us
from penstock.rater.backtest.run import BacktestService
from penstock.rater.definitions import Product, ProductType, Rate, RateCard
from penstock.rater.run import RaterService
from penstock.rater.shelf import Shelf
from penstock.web.route import Principal, Request, Scope

TENANT = "acme"
BEGIN = datetime(2025, 1, 1, tzinfo=UTC)
WINDOWS_A_MONTH = 28 * 96
CHECKED = 40  # contracts that are priced again, one by one
# Of so many contracts one has terms of its own, or began within the time that is looked at, in the middle of a month.
OWN_TERMS_EVERY, LATE_EVERY = 10, 20

_FILL = """INSERT INTO cells
    SELECT '{tenant}', '{metric}', concat('customer-', toString(intDiv(number, {each}))),
           toDateTime({start_s} + 900 * ((number % {each}) * {stride} + intDiv(number, {each}) % {stride}), 'UTC'),
           [], '', 0, 1 + number % 9, toDecimal256(number * 7919 % 100000, 12) / 8, 0, '', {version},
           toDecimal256(0, 12)
    FROM numbers({customers} * {each})"""


class BookPlan(msgspec.Struct, frozen=True):
    """`cells` are those of one customer, product and month."""

    customers: int
    months: int
    products: int
    cells: int

    def month(self, number: int) -> datetime:
        return BEGIN.replace(year=BEGIN.year + number // 12, month=number % 12 + 1)


class TimedUsage:
    """A `UsageReader` that says how long its answers took in all."""

    def __init__(self, usage: UsageReader) -> None:
        self._usage = usage
        self.metric, self.settled = usage.metric, usage.settled
        self.took_s = 0.0

    def usage(self, *queries: UsageQuery) -> tuple[Usage, ...]:
        began = time.perf_counter()
        found = self._usage.usage(*queries)
        self.took_s += time.perf_counter() - began
        return found


class Book:
    """A pipeline behind the log: store, aggregator, rater and contracts, in one folder."""

    def __init__(self, folder: Path, plan: BookPlan) -> None:
        self.plan, clock = plan, SystemClock()
        self.store = ClickHouseUsageStore.embedded(folder / "usage")
        catalogs = {name: SqliteCatalog(folder / f"{name}.db") for name in ("aggregator", "rater", "contracts")}
        metrics = Metrics(catalogs["aggregator"], clock, lambda control: (0,))
        self.metrics = [metrics.create(TENANT, _metric(n)).metric.id for n in range(plan.products)]
        self.usage = TimedUsage(UsageService(self.store, metrics, 1, UsageCache(64 * 2**20)))
        self.rating = RaterService(catalogs["rater"], self.usage, clock, NoEvents())
        trials = BacktestService(catalogs["rater"], self.usage, self.rating)
        self.shelf = Shelf(catalogs["rater"])
        self.contracts = contracts_of(plan)
        catalogs["contracts"].put([*_customer_items(plan), *_contract_items(self.contracts)], BEGIN)
        service = ContractsService(catalogs["contracts"], MemoryLedger(), self.rating, self.usage, clock, None)
        [self._route] = [route for route in service.trial_routes(trials) if route.path.endswith("/backtest")]
        self._sell()

    def _sell(self) -> None:
        for n, metric_id in enumerate(self.metrics):
            self.shelf.add_product(TENANT, Product(f"product-{n}", f"P{n}", ProductType.USAGE, BEGIN, "", metric_id))
        for card_id, price in (("list", list_price), ("draft", draft_price)):
            rates = [
                Rate(f"{card_id}-{n}", card_id, f"product-{n}", True, BEGIN, None, (), price(n))
                for n in range(self.plan.products)
            ]
            self.shelf.add_rate_card(TENANT, RateCard(card_id, card_id, BEGIN, ""), rates)

    def fill(self) -> None:
        """Every cell of the plan, then the marker that says so."""
        client = self.store._connect()
        for month in range(self.plan.months):
            for number, metric in enumerate(self.metrics):
                client.command(
                    _FILL.format(
                        tenant=TENANT, metric=metric, each=self.plan.cells, customers=self.plan.customers,
                        start_s=int(self.plan.month(month).timestamp()), stride=WINDOWS_A_MONTH // self.plan.cells,
                        version=month * self.plan.products + number,
                    )
                )  # fmt: skip
        client.close()
        for metric in self.metrics:
            self.store.write_fill(0, metric, {}, FILLED_US)
        marker = Marker(0, 1_000_000, "bench", 1, b"", to_us(datetime.now(UTC)))
        self.store.flush(Flush((), (), (), frozenset(), {}, marker))

    def pages(self) -> Iterator[Page]:
        """The answers of the whole book, written and read as on the wire."""
        ends = {"starting_on": BEGIN, "ending_before": self.plan.month(self.plan.months)}
        body = msgspec.json.encode({"rate_card_id": "draft", **ends})
        principal = Principal(TENANT, "bench", frozenset({Scope.READ}))
        cursor = ""
        while True:
            query = {"limit": "500"} | ({"next_page": cursor} if cursor else {})
            answered = self._route.answer(Request(principal, {}, query, body))
            found = msgspec.json.decode(msgspec.json.encode(answered), type=Page)
            yield found
            if found.next_page is None:
                return
            cursor = found.next_page

    @exact
    def differs(self, rows: dict[str, Row], chance: random.Random) -> list[str]:
        """Contracts, of some taken by chance, whose old amounts are not what the rater charges one by one."""
        wrong = []
        for contract in chance.sample(self.contracts, min(CHECKED, len(self.contracts))):
            terms = contract.terms(TENANT, (contract.customer_id,))
            periods = contract.calendar.periods(contract.span.clip(_whole(self.plan)) or contract.span)
            sets = [self.rating.charges(terms, period, frozenset()) for period in periods]
            by_rate = [sum((charge.list_amount for charge in found.charges), ZERO) for found in sets]
            if [period.old for period in rows[contract.id].periods] != by_rate:
                wrong.append(contract.id)
        return wrong

    def close(self) -> None:
        self.store.close()


def run_book(folder: Path, plan: BookPlan) -> bool:
    """Fill, ask, write the files, check; return whether it adds up."""
    book = Book(folder, plan)
    try:
        say(f"the book: {plan.customers:,} customers x {plan.months} months x {plan.products} products")
        book.fill()
        [(rows,)] = book.store._rows("SELECT count() FROM cells")
        say(f"  {rows:,} cells stored")
        began, cpu_began = time.perf_counter(), time.process_time()
        result = Result({"starting_on": BEGIN, "ending_before": plan.month(plan.months)}, _all(book))
        priced_s, cpu_s = time.perf_counter() - began, time.process_time() - cpu_began
        for name, write in (("json", as_json), ("csv", as_csv), ("html", page)):
            (folder / f"result.{name}").write_text(write(result))
        took_s = time.perf_counter() - began
        charges = 2 * sum(len(row.periods) for row in result.rows) * plan.products
        say(f"  the floor: its usage read          {book.usage.took_s:6.1f} s")
        say(f"  {charges:,} charges, old and new   {priced_s:6.1f} s, {cpu_s:.1f} s of CPU")
        say(f"  with JSON, CSV and page written    {took_s:6.1f} s")
        say("  " + "\n  ".join(list(shown(result))[:4]))
        wrong = book.differs({row.contract_id: row for row in result.rows}, random.Random(7))
        found = f"DIFFER: {', '.join(wrong)}" if wrong else "the same to the cent"
        say(f"  some contracts priced one by one: {found}")
        return not wrong
    finally:
        book.close()


def _all(book: Book) -> tuple[Row, ...]:
    return tuple(row for found in book.pages() for row in found.data)


def _whole(plan: BookPlan) -> Span:
    return Span(BEGIN, plan.month(plan.months))


def _metric(number: int) -> Callable[[str, str, datetime], Definition]:
    def define(metric_id: str, control_id: str, now: datetime) -> Definition:
        metric = Metric(metric_id, TENANT, f"metric-{number}", Aggregation.SUM, "units")
        return Definition(metric, now, control_id)

    return define


def list_price(number: int) -> AnyPrice:
    """Each model in turn; product 0 is graduated."""
    tiers = (Tier(Decimal(10_000), Decimal("0.02")), Tier(Decimal(40_000), Decimal("0.015")))
    prices: list[AnyPrice] = [
        Graduated(USD, (*tiers, Tier(None, Decimal("0.0075")))),
        PerUnit(USD, Decimal("0.0125")),
        Volume(USD, (*tiers, Tier(None, Decimal("0.0101")))),
        Package(USD, Decimal(1_000), Decimal("9.90"), Decimal(5_000)),
    ]
    return prices[number % len(prices)]


def draft_price(number: int) -> AnyPrice:
    """Graduated, for every product."""
    ends_and_prices = [(5_000, "0.025"), (50_000, "0.011"), (None, "0.0066")]
    tiers = (Tier(None if end is None else Decimal(end), Decimal(price)) for end, price in ends_and_prices)
    return Graduated(USD, tuple(tiers))


def contracts_of(plan: BookPlan) -> list[Contract]:
    out = []
    for number in range(plan.customers):
        start = BEGIN
        if number % LATE_EVERY == 1:
            start = plan.month(number // LATE_EVERY % plan.months) + timedelta(days=1 + number // LATE_EVERY % 27)
        factor = Decimal(50 + number % 50).scaleb(-2)
        own = Override(f"o{number}", OverrideKind.MULTIPLIER, start, None, (Specifier(),), multiplier=factor)
        out.append(
            Contract(
                id=f"contract-{number}", customer_id=f"customer-{number}", rate_card_id="list", start=start, end=None,
                frequency=Frequency.MONTHLY, calendar=calendar_of(Frequency.MONTHLY, BEGIN), created_at=BEGIN,
                created_by="bench", overrides=(Agreed(BEGIN, own),) if number % OWN_TERMS_EVERY == 0 else (),
            )
        )  # fmt: skip
    return out


def _contract_items(contracts: list[Contract]) -> Iterator[Item]:
    for each in contracts:
        yield Item(TENANT, "contract", each.id, msgspec.json.encode(each), parent=each.customer_id)


def _customer_items(plan: BookPlan) -> Iterator[Item]:
    for number in range(plan.customers):
        customer = Customer(f"customer-{number}", f"Customer {number}", (), BEGIN, BEGIN)
        yield Item(TENANT, "customer", customer.id, msgspec.json.encode(customer), unique=(customer.id,))
