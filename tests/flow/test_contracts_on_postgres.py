"""Two contracts services on one PostgreSQL do what one does: an invoice per period, each booked once."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any, TypeVar

import pytest

from penstock.catalog.postgres import PostgresCatalog
from penstock.contracts.close import PoolLocks
from penstock.contracts.store.postgres import PostgresLedger, PostgresPools
from penstock.database.postgres import PostgresDatabase
from penstock.kernel.problems import Conflict
from unit.contracts.contract_world import World, a_commit, day

T = TypeVar("T")
YEAR = (day(1), datetime(2027, 1, 1, tzinfo=UTC))


@pytest.fixture
def worlds(postgres_database_dsn: str) -> Iterator[list[World]]:
    """Two processes of the service, by what they share: a schema, a rater and the time."""
    tables, held = (
        [PostgresDatabase(postgres_database_dsn, "contracts") for _ in range(2)] for _ in ("tables", "held pools")
    )
    worlds = [
        World(day(10), catalog=PostgresCatalog(t), ledger=PostgresLedger(t), pools=PostgresPools(h, PoolLocks()))
        for t, h in zip(tables, held, strict=True)
    ]
    one, two = worlds
    two.rating, two.clock = one.rating, one.clock
    two.restart()
    yield worlds
    for database in (*tables, *held):
        database.close()


def both(call: Callable[[World], T], worlds: list[World]) -> list[T]:
    barrier = threading.Barrier(len(worlds))

    def run(world: World) -> T:
        barrier.wait()
        return call(world)

    with ThreadPoolExecutor(len(worlds)) as threads:
        return list(threads.map(run, worlds))


def customers_with_usage(world: World, count: int) -> list[str]:
    customers = [world.customer(f"Customer {n}") for n in range(count)]
    for n, customer in enumerate(customers):
        world.contract(customer, commits=[a_commit(10_000, *YEAR)])
        for month in (1, 2):
            world.rating.use(customer, "api", day(15, month), 1_500 + n)
    return customers


def figures(world: World, customer: str) -> Any:
    invoices = [(row["start_timestamp"], row["status"], row["total"]) for row in world.invoices(customer)]
    booked = sorted(transaction.kind for transaction in world.ledger.transactions("tenant-1", customer))
    return invoices, booked, sorted(world.ledger.balances("tenant-1", customer).values())


def test_two_services_that_close_at_once_bill_as_one_does(worlds: list[World]) -> None:
    alone = World(day(10))
    expected = customers_with_usage(alone, 4)
    alone.clock.time = day(20, 3)
    assert alone.service.finalize_due() == 8

    customers = customers_with_usage(worlds[0], 4)
    worlds[0].clock.time = day(20, 3)
    closed = both(lambda world: world.service.finalize_due(), worlds)

    assert sum(closed) == 8
    for world in worlds:
        assert world.service.finalize_due() == 0
        assert [figures(world, c) for c in customers] == [figures(alone, c) for c in expected]


def test_of_two_services_asked_for_contracts_that_bill_the_same_usage_one_refuses(worlds: list[World]) -> None:
    worlds[0].rating.priced["card-1"] = frozenset({"tokens"})
    customers = [worlds[0].customer(f"Customer {n}") for n in range(8)]

    def made(world: World) -> bool:
        try:
            world.contract(customers[-1])
        except Conflict:
            return False
        return True

    while customers:
        assert sorted(both(made, worlds)) == [False, True]
        customers.pop()
