"""What PostgreSQL has to show beyond the ports' suites: many writers, starts at once, a server that dies."""

from __future__ import annotations

import random
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, TypeVar

import msgspec
import psycopg
import pytest
from deploy.dev.postgres import NoPostgres
from psycopg import errors
from psycopg.conninfo import make_conninfo

from penstock.catalog import postgres
from penstock.catalog.postgres import PostgresCatalog
from penstock.contracts.close import PoolLocks
from penstock.contracts.store.postgres import PostgresLedger, PostgresPools
from penstock.database.postgres import Connection, PostgresDatabase
from penstock.database.sqlite import TooNew
from penstock.kernel.entry import Entry, Transaction
from penstock.kernel.money import USD, Amount
from penstock.kernel.ports.catalog import Item
from penstock.kernel.problems import Conflict, Refused, StoreUnavailable, Unprocessable
from postgres_part import Server, without_postgres

T = TypeVar("T")
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
WRITERS = 6

Connect = Callable[[], PostgresDatabase]


@pytest.fixture
def connect(postgres_database_dsn: str) -> Iterator[Connect]:
    """Another process, as the server sees it: connections of its own to the same schema."""
    yield from _connecting(postgres_database_dsn)


@pytest.fixture
def connect_to_own(postgres_server: Server) -> Iterator[Connect]:
    """The same, to a server that the test may kill."""
    yield from _connecting(postgres_server.dsn)


def _connecting(dsn: str) -> Iterator[Connect]:
    made: list[PostgresDatabase] = []

    def connect() -> PostgresDatabase:
        made.append(PostgresDatabase(dsn, "service"))
        return made[-1]

    yield connect
    for database in made:
        database.close()


def an_item(id: str, kind: str = "customer", unique: tuple[str, ...] = ()) -> Item:
    return Item("acme", kind, id, b"{}", None, unique)


def a_transaction(id: str, value: str = "1.50", pool: str = "customer-1", reference: str = "contract-1") -> Transaction:
    amount = Amount(Decimal(value), USD)
    less = Amount(-amount.value, USD)
    return Transaction(id, "acme", pool, "GRANT", NOON, reference, (Entry("from", less), Entry("to", amount)))


def at_once(count: int, call: Callable[[int], T]) -> list[T | Conflict]:
    """What `call`, in a thread of its own for each number, returned, or the conflict that it met."""
    barrier = threading.Barrier(count)

    def run(number: int) -> T | Conflict:
        barrier.wait()
        try:
            return call(number)
        except Conflict as conflict:
            return conflict

    with ThreadPoolExecutor(count) as threads:
        return list(threads.map(run, range(count)))


def wait_for_waiting(database: PostgresDatabase, expected: int, *running: Future[Any]) -> None:
    """Return once so many transactions wait for a lock, or one that should wait is through."""
    query = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    pause = threading.Event()
    while not any(future.done() for future in running):
        with database.use() as connection:
            if connection.execute(query).fetchall() == [(expected,)]:
                return
        pause.wait(0.01)


@pytest.mark.parametrize(("ci", "outcome"), [("true", pytest.fail.Exception), ("", pytest.skip.Exception)])
def test_a_missing_server_fails_in_ci_and_is_named_elsewhere(
    monkeypatch: pytest.MonkeyPatch, ci: str, outcome: type[BaseException]
) -> None:
    monkeypatch.setenv("CI", ci)

    with pytest.raises(outcome, match=r"PostgreSQL.*install one"):
        without_postgres(NoPostgres("install one"))


def test_of_many_processes_that_take_one_unique_key_one_wins(connect: Connect) -> None:
    catalogs = [PostgresCatalog(connect()) for _ in range(WRITERS)]

    answers = at_once(WRITERS, lambda n: catalogs[n].put([an_item(f"c{n}", unique=("alias",))], NOON))

    [won] = [answer for answer in answers if isinstance(answer, list)]
    assert sum(isinstance(answer, Conflict) for answer in answers) == WRITERS - 1
    assert catalogs[0].find("acme", "customer", "alias") == won[0]
    assert catalogs[1].list("acme", "customer") == won


def test_of_many_processes_that_make_one_item_or_change_one_revision_one_wins(connect: Connect) -> None:
    catalogs = [PostgresCatalog(connect()) for _ in range(WRITERS)]

    made = at_once(WRITERS, lambda n: catalogs[n].put([an_item("c1")], NOON))
    [[read]] = [answer for answer in made if isinstance(answer, list)]
    changed = at_once(WRITERS, lambda n: catalogs[n].put([msgspec.structs.replace(read, body=b"2")], NOON))

    [[second]] = [answer for answer in changed if isinstance(answer, list)]
    assert (second.revision, second.sequence) == (2, read.sequence)
    assert catalogs[0].list("acme", "customer") == [second]


def test_a_cursor_never_passes_an_item_whose_commit_comes_later(connect: Connect) -> None:
    catalog, other = PostgresCatalog(connect()), PostgresCatalog(connect())
    slow = connect()

    with ThreadPoolExecutor(1) as threads:
        with slow.use() as connection:  # a put that has its sequence and has not committed
            slow.lock(connection, "catalog/customer")
            first = postgres._put(connection, an_item("first"), NOON)
            second = threads.submit(lambda: other.put([an_item("second")], NOON))
            wait_for_waiting(connect(), 1, second)
            seen_meanwhile = catalog.list("acme", "customer")
            [elsewhere] = catalog.put([an_item("p1", kind="product")], NOON)  # another kind does not wait
        items = [first, *second.result()]

    assert seen_meanwhile == []
    assert catalog.list("acme", "customer", after=0) == items
    assert [item.id for item in items] == ["first", "second"]
    assert catalog.list("acme", "product") == [elsewhere]


def test_a_transaction_that_lost_a_race_is_run_again(connect: Connect) -> None:
    database, both_hold_one = connect(), threading.Barrier(2)
    runs: list[str] = []

    def take(first: str, second: str) -> Callable[[Connection], str]:
        def verb(connection: Connection) -> str:
            runs.append(first)
            database.lock(connection, first)
            if len(runs) <= 2:
                both_hold_one.wait()
            database.lock(connection, second)
            return first

        return verb

    answers = at_once(2, lambda n: database.write(take("ab"[n], "ba"[n])))

    assert answers == ["a", "b"]
    assert len(runs) == 3  # the server broke one of them off, once


def test_a_race_that_is_always_lost_is_a_store_that_does_not_answer(postgres_database: PostgresDatabase) -> None:
    runs: list[int] = []

    def lose(connection: Connection) -> None:
        runs.append(1)
        raise errors.SerializationFailure

    with pytest.raises(StoreUnavailable, match="SerializationFailure"):
        postgres_database.write(lose)
    assert len(runs) == 5


def test_processes_that_start_at_once_migrate_once(connect: Connect, postgres_database_dsn: str) -> None:
    script = (
        "import sys\n"
        "from penstock.catalog.postgres import PostgresCatalog\n"
        "from penstock.contracts.store.postgres import PostgresLedger\n"
        "from penstock.database.postgres import PostgresDatabase\n"
        "database = PostgresDatabase(sys.argv[1], 'service')\n"
        "PostgresCatalog(database), PostgresLedger(database)\n"
        "database.close()\n"
    )
    database = connect()

    with database.use() as connection:
        database.lock(connection, "migrations")
        command = [sys.executable, "-W", "error", "-c", script, postgres_database_dsn]
        processes = [subprocess.Popen(command, stderr=subprocess.PIPE) for _ in range(2)]
        wait_for_waiting(connect(), len(processes))
    said = [process.communicate(timeout=60)[1] for process in processes]

    assert [process.returncode for process in processes] == [0, 0], said
    with database.use() as connection:
        versions = connection.execute("SELECT what, version FROM migrated ORDER BY what").fetchall()
    assert versions == [("catalog", 1), ("ledger", 1)]


def test_an_older_schema_is_migrated_and_a_newer_one_is_refused(
    connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    [stored] = PostgresCatalog(connect()).put([an_item("c1")], NOON)
    added = "CREATE TABLE added (at INTEGER); INSERT INTO added VALUES (7)"

    with monkeypatch.context() as broken:
        broken.setattr(postgres, "MIGRATIONS", (*postgres.MIGRATIONS, added, "nonsense"))
        with pytest.raises(psycopg.ProgrammingError, match="nonsense"):
            PostgresCatalog(connect())
    with monkeypatch.context() as newer:
        newer.setattr(postgres, "MIGRATIONS", (*postgres.MIGRATIONS, added))
        for _ in range(2):  # the second opening has nothing to do
            database = connect()
            assert PostgresCatalog(database).get("acme", "customer", "c1") == stored
            with database.use() as connection:
                assert connection.execute("SELECT at FROM added").fetchall() == [(7,)]
    with pytest.raises(TooNew, match="schema service has catalog version 2; this Penstock knows 1"):
        PostgresCatalog(connect())


def test_services_share_a_database_and_do_not_see_each_other(postgres_database_dsn: str) -> None:
    databases = [PostgresDatabase(postgres_database_dsn, schema) for schema in ("rater", "contracts")]
    rater, contracts = (PostgresCatalog(database) for database in databases)

    [mine] = rater.put([an_item("c1", unique=("alias",))], NOON)
    [theirs] = contracts.put([an_item("c1", unique=("alias",))], NOON)

    assert rater.list(None, "customer") == [mine]
    assert contracts.find("acme", "customer", "alias") == theirs
    for database in databases:
        database.close()


def test_a_database_that_cannot_hold_every_text_is_refused(postgres_dsn: str, postgres_database_dsn: str) -> None:
    name = "penstock_latin1"
    with psycopg.connect(postgres_dsn, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE template0 ENCODING 'LATIN1' LOCALE 'C'".encode())
        database = PostgresDatabase(make_conninfo(postgres_dsn, dbname=name), "service")
        with pytest.raises(Refused, match="LATIN1"):
            PostgresCatalog(database)
        database.close()
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


def test_a_commit_is_on_the_disk_whatever_the_database_says(postgres_database_dsn: str, connect: Connect) -> None:
    with psycopg.connect(postgres_database_dsn, autocommit=True) as connection:
        name = connection.info.dbname
        connection.execute(f"ALTER DATABASE {name} SET synchronous_commit = off".encode())

    with connect().use() as connection:
        assert connection.execute("SHOW synchronous_commit").fetchone() == ("on",)


def test_an_id_that_is_too_long_for_an_index_is_refused_by_name(connect: Connect) -> None:
    catalog = PostgresCatalog(connect())
    incompressible = random.Random(1).randbytes(5_000).hex()

    with pytest.raises(Unprocessable, match="too long"):
        catalog.put([an_item(incompressible)], NOON)
    assert catalog.get("acme", "customer", incompressible) is None


def test_a_transaction_posted_by_many_processes_at_once_is_booked_once(connect: Connect) -> None:
    ledgers = [PostgresLedger(connect()) for _ in range(WRITERS)]

    same = at_once(WRITERS, lambda n: ledgers[n].post([a_transaction("t1"), a_transaction("t2")]))
    other = at_once(WRITERS, lambda n: ledgers[n].post([a_transaction("t3", reference=str(n))]))

    assert sorted(map(str, same)) == ["0"] * (WRITERS - 1) + ["2"]
    assert [answer for answer in other if not isinstance(answer, Conflict)] == [1]
    assert ledgers[0].balances("acme", "customer-1") == {"from": Decimal("-4.50"), "to": Decimal("4.50")}


def test_the_server_refuses_to_change_or_delete_what_was_posted(connect: Connect) -> None:
    database = connect()
    ledger = PostgresLedger(database)
    ledger.post([a_transaction("t1")])

    for statement in ("UPDATE ledger_entry SET value = 1", "DELETE FROM ledger_transaction", "TRUNCATE ledger_entry"):
        with pytest.raises(psycopg.errors.RaiseException, match="append-only"), database.use() as connection:
            connection.execute(statement.encode())
    assert ledger.transactions("acme", "customer-1") == [a_transaction("t1")]


def test_a_pool_has_one_writer_over_all_processes(connect: Connect) -> None:
    processes = [(PostgresPools(connect(), PoolLocks()), PostgresLedger(connect())) for _ in range(4)]

    def book_the_next(number: int) -> int:
        pools, ledger = processes[number]
        for _ in range(10):
            with pools.of("acme", "customer-1"):
                place = len(ledger.transactions("acme", "customer-1"))
                assert ledger.post([a_transaction(f"t{place}", reference=str(number))]) == 1
        return number

    assert at_once(4, book_the_next) == [0, 1, 2, 3]
    assert len(processes[0][1].transactions("acme", "customer-1")) == 40


def test_other_pools_do_not_wait_and_an_error_inside_lets_go(connect: Connect) -> None:
    one, two = (PostgresPools(connect(), PoolLocks()) for _ in range(2))

    with one.of("acme", "customer-1"), two.of("acme", "customer-2"), two.of("other", "customer-1"):
        pass
    with pytest.raises(Conflict, match="inside"), one.of("acme", "customer-3"):
        raise Conflict("inside")
    with two.of("acme", "customer-3"), one.of("acme", "customer-1"):
        pass


def test_a_writer_that_lost_its_pool_hears_of_it_and_another_may_go_on(connect: Connect) -> None:
    one, two, database = PostgresPools(connect(), PoolLocks()), PostgresPools(connect(), PoolLocks()), connect()
    end = (
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE state = 'idle in transaction' AND datname = current_database()"
    )

    def hold(pools: PostgresPools, inside: Callable[[], None] = lambda: None) -> None:
        with pools.of("acme", "customer-1"):
            inside()

    def let_another_in() -> None:
        with ThreadPoolExecutor(1) as threads:
            waiting = threads.submit(hold, two)
            wait_for_waiting(database, 1, waiting)
            assert not waiting.done()
            with database.use() as connection:
                connection.execute(end)
            waiting.result()

    with pytest.raises(StoreUnavailable):
        hold(one, let_another_in)


def test_after_a_restart_of_the_server_the_calls_go_on(postgres_server: Server, connect_to_own: Connect) -> None:
    database = connect_to_own()
    catalog = PostgresCatalog(database)
    with ThreadPoolExecutor(4) as threads:  # so that there are several connections to be found broken
        list(threads.map(lambda n: catalog.put([an_item(f"c{n}")], NOON), range(20)))

    postgres_server.restart()
    with suppress(StoreUnavailable):
        catalog.get("acme", "customer", "c1")

    assert len(catalog.list("acme", "customer")) == 20
    assert catalog.put([an_item("c20")], NOON)[0].revision == 1


@pytest.mark.slow
def test_a_server_that_is_killed_loses_nothing_that_was_acknowledged(
    postgres_server: Server, connect_to_own: Connect
) -> None:
    ledger = PostgresLedger(connect_to_own())
    acknowledged: list[str] = []
    enough = threading.Event()

    def post_until_it_is_away(thread: int) -> int | None:
        for n in range(100_000):
            try:
                ledger.post([a_transaction(f"{thread}-{n}")])
            except StoreUnavailable as problem:
                return problem.retry_after_s
            acknowledged.append(f"{thread}-{n}")
            if len(acknowledged) >= 200:
                enough.set()
        return None

    with ThreadPoolExecutor(3) as threads:
        posting = [threads.submit(post_until_it_is_away, thread) for thread in range(3)]
        assert enough.wait(60)
        postgres_server.kill()
        assert [future.result() for future in posting] == [2, 2, 2]
    postgres_server.restart()

    kept = [transaction.id for transaction in ledger.transactions("acme", "customer-1")]
    assert sorted(set(acknowledged) - set(kept)) == []
    assert len(kept) <= len(acknowledged) + 3  # the answer that each of them did not hear
    total = Decimal("1.50") * len(kept)
    assert ledger.balances("acme", "customer-1") == {"from": -total, "to": total}
