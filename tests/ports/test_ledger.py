"""What every `Ledger` promises. An adapter that passes is as good as another."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest

from penstock.contracts.store.memory import MemoryLedger
from penstock.contracts.store.postgres import PostgresLedger
from penstock.contracts.store.sqlite import SqliteLedger
from penstock.database.sqlite import TooNew
from penstock.kernel.entry import Entry, Transaction
from penstock.kernel.money import USD, Amount, Unit
from penstock.kernel.ports.ledger import Ledger
from penstock.kernel.problems import Conflict, StoreUnavailable

NOON = datetime(2026, 3, 1, 12, 0, 0, 5, tzinfo=UTC)
TOKENS = Unit("tokens", "Tokens", 12)


@pytest.fixture(params=["memory", "sqlite", "postgres"])
def ledger(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Ledger]:
    adapter: Ledger
    match request.param:
        case "memory":
            adapter = MemoryLedger()
        case "sqlite":
            adapter = SqliteLedger(tmp_path / "ledger.sqlite")
        case _:
            adapter = PostgresLedger(request.getfixturevalue("postgres_database"))
    yield adapter
    adapter.close()


def a_transaction(
    id: str = "t1",
    value: str = "12.50",
    *,
    tenant: str = "acme",
    pool: str = "customer-1",
    unit: Unit = USD,
    other_side: str | None = None,
) -> Transaction:
    taken = Decimal(value) if other_side is None else Decimal(other_side)
    entries = (
        Entry("granted/b1", Amount(taken.copy_negate(), unit)),
        Entry("commit/b1/s1", Amount(Decimal(value), unit)),
    )
    return Transaction(id, tenant, pool, "GRANT", NOON, "contract-1", entries)


def test_what_is_posted_is_read_back_in_the_order_of_posting(ledger: Ledger) -> None:
    later, earlier = a_transaction("z"), a_transaction("a", "0.01")

    assert ledger.post([later]) == 1
    assert ledger.post([earlier]) == 1

    assert ledger.transactions("acme", "customer-1") == [later, earlier]


def test_balances_sum_every_entry_of_the_pool_exactly(ledger: Ledger) -> None:
    ledger.post([a_transaction("t1", "0.10"), a_transaction("t2", "0.20"), a_transaction("t3", "-0.05")])

    assert ledger.balances("acme", "customer-1") == {"granted/b1": Decimal("-0.25"), "commit/b1/s1": Decimal("0.25")}


def test_twenty_six_digits_and_twelve_places_survive(ledger: Ledger) -> None:
    large = "98765432109876543210987654.123456789012"
    ledger.post([a_transaction("t1", large, unit=TOKENS), a_transaction("t2", "0.000000000001", unit=TOKENS)])

    assert ledger.balances("acme", "customer-1")["commit/b1/s1"] == Decimal("98765432109876543210987654.123456789013")
    assert ledger.transactions("acme", "customer-1")[0].entries[1].amount == Amount(Decimal(large), TOKENS)


def test_posting_again_is_a_no_op(ledger: Ledger) -> None:
    ledger.post([a_transaction()])

    assert ledger.post([a_transaction(), a_transaction("t2"), a_transaction("t2")]) == 1
    assert [t.id for t in ledger.transactions("acme", "customer-1")] == ["t1", "t2"]


@pytest.mark.parametrize("batch", [[a_transaction("t1", "3")], [a_transaction("t2"), a_transaction("t1", "3")]])
def test_a_known_id_with_other_content_is_a_conflict_and_nothing_is_posted(
    ledger: Ledger, batch: list[Transaction]
) -> None:
    ledger.post([a_transaction("t1")])

    with pytest.raises(Conflict, match="t1"):
        ledger.post(batch)
    assert ledger.transactions("acme", "customer-1") == [a_transaction("t1")]


def test_two_contents_under_one_id_in_one_call_are_a_conflict(ledger: Ledger) -> None:
    with pytest.raises(Conflict):
        ledger.post([a_transaction("t1", "1"), a_transaction("t1", "2")])
    assert ledger.transactions("acme", "customer-1") == []


def test_an_unbalanced_transaction_is_a_bug_and_nothing_is_posted(ledger: Ledger) -> None:
    with pytest.raises(AssertionError, match="does not sum to zero"):
        ledger.post([a_transaction("t1"), a_transaction("t2", "5", other_side="4.99")])
    assert ledger.transactions("acme", "customer-1") == []


def test_units_balance_each_for_itself(ledger: Ledger) -> None:
    mixed = (Entry("a", Amount(Decimal(1), USD)), Entry("b", Amount(Decimal(-1), TOKENS)))

    with pytest.raises(AssertionError):
        ledger.post([Transaction("t1", "acme", "customer-1", "GRANT", NOON, "c", mixed)])


def test_tenants_and_pools_do_not_see_each_other(ledger: Ledger) -> None:
    ledger.post([a_transaction("t1"), a_transaction("t1", "1", tenant="other"), a_transaction("t2", pool="customer-2")])

    assert ledger.transactions("acme", "customer-1") == [a_transaction("t1")]
    assert ledger.balances("other", "customer-1")["commit/b1/s1"] == Decimal(1)
    assert ledger.balances("acme", "customer-3") == {}


def test_several_threads_post_at_once_and_nothing_is_lost(ledger: Ledger) -> None:
    with ThreadPoolExecutor(4) as threads:
        posted = list(threads.map(lambda n: ledger.post([a_transaction(f"t{n % 40}", "0.01")]), range(80)))

    assert sum(posted) == 40
    assert ledger.balances("acme", "customer-1")["commit/b1/s1"] == Decimal("0.40")


def test_sqlite_keeps_everything_when_it_is_opened_again(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    first = SqliteLedger(path)
    first.post([a_transaction()])
    first.close()

    second = SqliteLedger(path)

    assert second.transactions("acme", "customer-1") == [a_transaction()]
    assert second.post([a_transaction()]) == 0
    second.close()


def test_sqlite_is_on_the_disk_before_it_answers(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    ledger = SqliteLedger(path)
    ledger.post([a_transaction()])

    other = sqlite3.connect(path)
    assert other.execute("SELECT count(*) FROM ledger_entry").fetchone() == (2,)
    assert other.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    other.close()
    ledger.close()


def test_sqlite_refuses_to_change_or_delete_what_was_posted(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    ledger = SqliteLedger(path)
    ledger.post([a_transaction()])
    ledger.close()

    other = sqlite3.connect(path)
    for statement in ("UPDATE ledger_entry SET value = '1'", "DELETE FROM ledger_transaction"):
        with pytest.raises(sqlite3.IntegrityError, match="append-only"):
            other.execute(statement)
    other.close()


def test_sqlite_refuses_a_file_of_a_later_version(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    SqliteLedger(path).close()
    other = sqlite3.connect(path)
    other.execute("PRAGMA user_version = 99")
    other.close()

    with pytest.raises(TooNew, match="version 99"):
        SqliteLedger(path)


def test_sqlite_that_does_not_answer_is_a_problem(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    ledger = SqliteLedger(path)
    other = sqlite3.connect(path)
    other.execute("DROP TABLE ledger_entry")
    other.close()

    with pytest.raises(StoreUnavailable):
        ledger.balances("acme", "customer-1")
    ledger.close()
