"""From usage to a final invoice: drafts, finalization, what the ledger says of it, and a crash at every step."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from penstock.catalog.memory import MemoryCatalog
from penstock.catalog.sqlite import SqliteCatalog
from penstock.contracts.store.memory import MemoryLedger
from penstock.contracts.store.sqlite import SqliteLedger
from penstock.kernel.entry import Transaction
from penstock.kernel.ports.catalog import Item
from penstock.kernel.problems import NotFound, StoreUnavailable
from unit.contracts.contract_world import World, a_commit, day, later

YEAR = (day(1), datetime(2027, 1, 1, tzinfo=UTC))


@pytest.fixture
def world() -> World:
    return World(day(10))


def totals(invoices: Sequence[dict[str, Any]]) -> list[tuple[str, str, int]]:
    return [(invoice["start_timestamp"][:10], invoice["status"], invoice["total"]) for invoice in invoices]


def net(world: World, customer: str, mode: str = "FINALIZED_AND_DRAFT") -> int:
    body = {"customer_id": customer, "invoice_inclusion_mode": mode}
    balance: int = world.call("POST", "/v1/contracts/customerBalances/getNetBalance", body)["data"]["balance"]
    return balance


def ledger(world: World, customer: str) -> dict[str, Any]:
    data: dict[str, Any] = world.call("GET", f"/v1/customers/{customer}/ledger")["data"]
    return data


def lines(invoice: dict[str, Any]) -> list[tuple[str, int]]:
    return [(line["name"], line["total"]) for line in invoice["line_items"]]


def test_credit_then_commit_pay_a_usage_of_382_dollars_25(world: World) -> None:
    customer = world.customer()
    credit = a_commit(10_000, *YEAR, priority=1, name="Welcome", applicable_product_ids=["api"])
    commit = a_commit(50_000, *YEAR, priority=2, name="Annual")
    world.contract(customer, commits=[commit], credits=[credit])
    world.rating.use(customer, "api", day(5), 7_645)

    [draft] = world.invoices(customer)

    assert lines(draft) == [("API", 38_225), ("API (Welcome applied)", -10_000), ("API (Annual applied)", -28_225)]
    assert draft["total"] == 0
    assert net(world, customer) == 21_775
    assert net(world, customer, "FINALIZED") == 60_000


def test_usage_beyond_the_commit_is_overage_at_list_price_on_the_same_invoice(world: World) -> None:
    customer = world.customer()
    world.contract(customer, commits=[a_commit(5_000, *YEAR)])
    world.rating.use(customer, "api", day(5), 1_200)

    [draft] = world.invoices(customer)

    assert lines(draft) == [("API", 6_000), ("API (Prepaid commit applied)", -5_000)]
    assert draft["total"] == 1_000


def test_only_the_segment_of_the_time_of_use_pays_and_what_it_keeps_expires(world: World) -> None:
    customer = world.customer()
    items = [
        {"amount": 1_000, "starting_at": day(1), "ending_before": day(16)},
        {"amount": 1_000, "starting_at": day(16), "ending_before": day(1, 2)},
    ]
    commit = {"product_id": "api", "type": "PREPAID", "access_schedule": {"schedule_items": items}}
    world.contract(customer, commits=[commit])
    world.rating.use(customer, "api", day(5), 100)
    world.rating.use(customer, "api", day(20), 300)

    assert net(world, customer) == 500  # the segment of the second half is still to come
    world.clock.time = day(21)
    assert net(world, customer) == 0  # the first is over, the second spent
    [draft] = world.invoices(customer)
    assert draft["total"] == 500

    world.clock.time = day(3, 2)
    assert world.service.finalize_due() == 1

    [proof] = ledger(world, customer)["proofs"]
    assert {k: proof[k] for k in ("granted", "drawn", "expired", "remaining", "holds")} == {
        "granted": 2_000,
        "drawn": 1_500,
        "expired": 500,
        "remaining": 0,
        "holds": True,
    }


def test_a_manual_entry_lowers_the_balance_at_once_and_below_zero_counts_as_zero(world: World) -> None:
    customer = world.customer()
    [commit] = world.contract(customer, commits=[a_commit(5_000, *YEAR)])["commits"]
    [segment] = commit["access_schedule"]["schedule_items"]
    entry = {"customer_id": customer, "id": commit["id"], "segment_id": segment["id"], "reason": "goodwill"}

    world.call("POST", "/v1/contracts/addManualBalanceLedgerEntry", {**entry, "amount": -1_000})
    assert net(world, customer) == 4_000

    world.call("POST", "/v1/contracts/addManualBalanceLedgerEntry", {**entry, "amount": -4_500})
    assert net(world, customer) == 0
    [proof] = ledger(world, customer)["proofs"]
    assert (proof["granted"], proof["added"], proof["remaining"], proof["holds"]) == (5_000, -5_500, -500, True)


def test_an_invoice_is_a_draft_while_its_period_runs_and_final_24_hours_after_its_end(world: World) -> None:
    customer = world.customer()
    world.contract(customer, commits=[a_commit(5_000, *YEAR)])
    world.rating.use(customer, "api", day(5), 1_200)
    [draft] = world.invoices(customer)

    world.clock.time = later(day(2, 2), microseconds=-1)
    assert world.service.finalize_due() == 0
    assert totals(world.invoices(customer)) == [("2026-01-01", "DRAFT", 1_000), ("2026-02-01", "DRAFT", 0)]

    world.clock.time = day(2, 2)
    assert world.service.finalize_due() == 1
    final, _ = world.invoices(customer)
    assert totals(world.invoices(customer)) == [("2026-01-01", "FINALIZED", 1_000), ("2026-02-01", "DRAFT", 0)]
    assert final == {**draft, "status": "FINALIZED"}
    assert world.service.finalize_due() == 0


def test_a_period_stays_open_until_its_usage_is_settled(world: World) -> None:
    customer = world.customer()
    world.contract(customer)
    world.clock.time = day(2, 3)
    world.usage.folded_through = day(2, 2)

    assert world.service.finalize_due() == 1
    assert world.usage.asked == [day(2, 2), day(2, 3)]

    world.usage.folded_through = day(2, 3)
    assert world.service.finalize_due() == 1


def test_every_past_period_becomes_final_even_without_usage(world: World) -> None:
    customer = world.customer()
    world.contract(customer, starting_at=datetime(2025, 11, 10, tzinfo=UTC), ending_before=day(20))
    world.clock.time = day(5, 4)

    assert world.service.finalize_due() == 3
    assert [(i["start_timestamp"], i["end_timestamp"], i["total"]) for i in world.invoices(customer)] == [
        ("2025-11-10T00:00:00Z", "2025-12-01T00:00:00Z", 0),
        ("2025-12-01T00:00:00Z", "2026-01-01T00:00:00Z", 0),
        ("2026-01-01T00:00:00Z", "2026-01-20T00:00:00Z", 0),
    ]


def test_the_earlier_of_two_open_periods_draws_first(world: World) -> None:
    customer = world.customer()
    world.contract(customer, commits=[a_commit(5_000, *YEAR)])
    world.rating.use(customer, "api", day(5), 800)
    world.rating.use(customer, "api", day(1, 2), 800)
    world.clock.time = day(1, 2, hour=12)

    assert totals(world.invoices(customer)) == [("2026-01-01", "DRAFT", 0), ("2026-02-01", "DRAFT", 3_000)]
    assert net(world, customer) == 0


def test_a_final_invoice_books_draws_overage_and_nothing_else(world: World) -> None:
    customer = world.customer()
    bought = a_commit(5_000, *YEAR, invoice_schedule={"do_not_invoice": True})  # so what is free goes first
    world.contract(customer, commits=[bought], credits=[a_commit(700, *YEAR)])
    world.rating.use(customer, "api", day(5), 1_200)
    world.clock.time = day(2, 2)
    world.service.finalize_due()

    booked = ledger(world, customer)

    assert [(t["kind"], t["entries"][1]["amount"]) for t in booked["transactions"]] == [
        ("GRANT", 5_000),
        ("GRANT", 700),
        ("DRAW", 700),
        ("DRAW", 5_000),
        ("OVERAGE", 300),
    ]
    assert sum(booked["accounts"].values()) == 0
    assert booked["accounts"]["revenue"] == 300
    assert all(proof["holds"] for proof in booked["proofs"])


def test_a_contract_that_cannot_be_priced_does_not_hold_up_the_others(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    broken, fine = world.customer("Broken"), world.customer("Fine")
    stuck = world.contract(broken)["id"]
    world.contract(fine)
    priced = world.rating.charges

    def charges(terms: Any, period: Any, cuts: Any) -> Any:
        if terms.customer_id == broken:
            raise NotFound("no metric 'm1'")
        return priced(terms, period, cuts)

    world.rating.charges = charges  # type: ignore[method-assign]  # the fault of this test
    world.clock.time = day(2, 2)

    assert world.service.finalize_due() == 1
    assert f"contract {stuck} stays open: no metric 'm1'" in caplog.text
    assert world.invoices(fine, status="FINALIZED")[0]["customer_id"] == fine


class Killed(BaseException):
    """The process is gone."""


class MortalCatalog(MemoryCatalog):
    """Dies before or after the write number `deadline`."""

    writes, deadline, after = 0, -1, False

    def put(self, items: Sequence[Item], recorded_at: datetime) -> list[Item]:
        self.writes += 1
        if self.writes == self.deadline and not self.after:
            raise Killed
        stored = super().put(items, recorded_at)
        if self.writes == self.deadline:
            raise Killed
        return stored


class MortalLedger(MemoryLedger):
    """Dies before or after the write number `deadline`."""

    writes, deadline, after = 0, -1, False

    def post(self, transactions: Sequence[Transaction]) -> int:
        self.writes += 1
        if self.writes == self.deadline and not self.after:
            raise Killed
        posted = super().post(transactions)
        if self.writes == self.deadline:
            raise Killed
        return posted


def closed_books(store: str = "catalog", write: int = -1, after: bool = False) -> tuple[Any, ...]:
    """Two months closed, then the facts that must not depend on where the process died (write -1: nowhere)."""
    catalog, book = MortalCatalog(), MortalLedger()
    world = World(day(10), catalog=catalog, ledger=book)
    customer = world.customer()
    mortal = catalog if store == "catalog" else book
    mortal.writes, mortal.deadline, mortal.after = 0, write, after
    try:
        world.contract(customer, commits=[a_commit(5_000, day(1), day(20, 2))], uniqueness_key="k")
        world.rating.use(customer, "api", day(5), 800)
        world.rating.use(customer, "api", day(5, 2), 150)
        world.clock.time = day(5, 3)
        world.service.finalize_due()
        assert write == -1, "nobody was killed"
    except Killed:
        world.restart()
        if not world.invoices(customer):
            world.contract(customer, commits=[a_commit(5_000, day(1), day(20, 2))], uniqueness_key="k")
        world.rating.used = []
        world.rating.use(customer, "api", day(5), 800)
        world.rating.use(customer, "api", day(5, 2), 150)
        world.clock.time = day(5, 3)
        world.service.finalize_due()
    booked = ledger(world, customer)
    kinds = [(t["kind"], t["effective_at"], t["entries"][1]["amount"]) for t in booked["transactions"]]
    [proof] = booked["proofs"]
    assert proof.pop("balance_id")
    return totals(world.invoices(customer)), kinds, proof


WHOLE = (
    [("2026-01-01", "FINALIZED", 0), ("2026-02-01", "FINALIZED", 0), ("2026-03-01", "DRAFT", 0)],
    [
        ("GRANT", "2026-01-01T00:00:00Z", 5_000),
        ("DRAW", "2026-02-01T00:00:00Z", 4_000),
        ("DRAW", "2026-03-01T00:00:00Z", 750),
        ("EXPIRATION", "2026-02-20T00:00:00Z", 250),
    ],
    {"granted": 5_000, "added": 0, "drawn": 4_750, "expired": 250, "remaining": 0, "holds": True},
)


def test_two_months_are_closed_and_the_rest_of_the_commit_expires() -> None:
    assert closed_books() == WHOLE


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize(
    ("store", "write"), [("catalog", n) for n in range(1, 7)] + [("ledger", n) for n in range(1, 5)]
)
def test_a_crash_at_any_write_leaves_the_same_books(store: str, write: int, after: bool) -> None:
    assert closed_books(store, write, after) == WHOLE


def test_a_ledger_that_fails_in_between_is_booked_by_the_next_run(world: World, monkeypatch: Any) -> None:
    customer = world.customer()
    world.contract(customer, commits=[a_commit(5_000, *YEAR)])
    world.rating.use(customer, "api", day(5), 800)
    world.clock.time = day(2, 2)
    with monkeypatch.context() as broken:

        def fail(transactions: Sequence[Transaction]) -> int:
            raise StoreUnavailable("disk full")

        broken.setattr(world.ledger, "post", fail)
        assert world.service.finalize_due() == 0

    assert world.service.finalize_due() == 0
    [proof] = ledger(world, customer)["proofs"]
    assert proof["drawn"] == Decimal(4_000)
    assert net(world, customer) == 1_000


def test_sqlite_keeps_the_books_over_a_restart(tmp_path: Path) -> None:
    def opened() -> tuple[SqliteCatalog, SqliteLedger]:
        return SqliteCatalog(tmp_path / "catalog.sqlite"), SqliteLedger(tmp_path / "ledger.sqlite")

    catalog, book = opened()
    world = World(day(10), catalog=catalog, ledger=book)
    customer = world.customer()
    world.contract(customer, commits=[a_commit(5_000, *YEAR)])
    world.rating.use(customer, "api", day(5), 1_200)
    world.clock.time = day(2, 2)
    world.service.finalize_due()
    before = (world.invoices(customer), ledger(world, customer))
    catalog.close()
    book.close()

    catalog, book = opened()
    again = World(day(2, 2), catalog=catalog, ledger=book)

    assert again.service.finalize_due() == 0
    assert (again.invoices(customer), ledger(again, customer)) == before
    catalog.close()
    book.close()


def test_several_threads_close_and_read_at_once_and_every_period_is_booked_once(world: World) -> None:
    customers = [world.customer(f"Customer {number}") for number in range(5)]
    for customer in customers:
        world.contract(customer, commits=[a_commit(5_000, *YEAR)])
        world.rating.use(customer, "api", day(5), 800)
    world.clock.time = day(2, 2)

    with ThreadPoolExecutor(4) as threads:
        closing = [threads.submit(world.service.finalize_due) for _ in range(4)]
        balances = list(threads.map(lambda customer: net(world, customer), customers * 10))

    assert sum(future.result() for future in closing) == 5
    assert set(balances) == {1_000}  # before, while and after the period is closed
    assert [len(ledger(world, customer)["transactions"]) for customer in customers] == [2] * 5


def test_a_balance_without_an_end_keeps_nobodys_invoice_open(world: World) -> None:
    endless, other = world.customer(), world.customer()
    world.contract(endless, commits=[a_commit(100, day(1), datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC))])
    world.contract(other)
    world.clock.time = day(2, 2)

    assert world.service.finalize_due() == 2
