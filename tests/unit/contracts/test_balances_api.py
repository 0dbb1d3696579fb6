"""Balances, as the vendor's SDK sees them (strictly validated), and the seed document's short forms."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import metronome
import pytest
from metronome.types.shared import Commit

from penstock.kernel.money import USD
from unit.contracts.contract_world import World, a_commit, day

YEAR = (day(1), datetime(2027, 1, 1, tzinfo=UTC))
BALANCES = "/v1/contracts/customerBalances/list"


@pytest.fixture
def world() -> World:
    return World(day(10))


def test_balances_are_listed_page_by_page_with_ledgers_that_sum_to_the_balance(world: World) -> None:
    customer = world.customer()
    commit = a_commit(5_000, *YEAR, priority=2)
    world.contract(customer, commits=[commit, commit], credits=[a_commit(700, day(1), day(8))])
    world.rating.use(customer, "api", day(5), 1_200)

    listed = list(
        world.sdk.v1.contracts.list_balances(customer_id=customer, include_balance=True, include_ledgers=True, limit=1)
    )

    assert [(b.type, b.balance) for b in listed] == [("PREPAID", 0), ("PREPAID", 4_000), ("CREDIT", 0)]
    for balance in listed:
        assert sum(entry.amount for entry in balance.ledger or []) == balance.balance
    assert isinstance(listed[0], Commit)
    assert [(e.type, e.amount) for e in listed[0].ledger or []] == [
        ("PREPAID_COMMIT_SEGMENT_START", 5_000),
        ("PREPAID_COMMIT_AUTOMATED_INVOICE_DEDUCTION", -5_000),
    ]
    assert [(e.type, e.amount) for e in listed[2].ledger or []] == [
        ("CREDIT_SEGMENT_START", 700),
        ("CREDIT_EXPIRATION", -700),
    ]


def test_balances_are_filtered(world: World) -> None:
    customer = world.customer()
    world.contract(customer, commits=[a_commit(5_000, *YEAR), a_commit(0, day(1, 6), day(1, 7))])

    def amounts(**asked: Any) -> list[int]:
        rows = world.call("POST", BALANCES, {"customer_id": customer, **asked})["data"]
        return [row["access_schedule"]["schedule_items"][0]["amount"] for row in rows]

    assert amounts() == [5_000, 0]
    assert amounts(exclude_zero_balances=True) == [5_000]
    assert amounts(covering_date=day(5)) == [5_000]
    assert amounts(effective_before=day(5)) == [5_000]
    assert amounts(starting_at=day(1, 8)) == [5_000]


def test_the_net_balance_is_filtered_by_type_and_id(world: World) -> None:
    customer = world.customer()
    contract = world.contract(customer, commits=[a_commit(5_000, *YEAR)], credits=[a_commit(700, *YEAR)])
    get: Any = world.sdk.v1.contracts.get_net_balance

    assert get(customer_id=customer).data.balance == 5_700
    assert get(customer_id=customer, credit_type_id=USD.id).data.credit_type_id == USD.id
    assert get(customer_id=customer, filters=[{"balance_types": ["CREDIT"]}]).data.balance == 700
    commit_id = contract["commits"][0]["id"]
    both = [{"ids": [commit_id], "balance_types": ["CREDIT"]}, {"ids": [commit_id]}]
    assert get(customer_id=customer, filters=both).data.balance == 5_000
    assert get(customer_id=customer, filters=[{"custom_fields": {"a": "b"}}]).data.balance == 0


def test_a_manual_entry_by_the_sdk_shows_in_the_ledger_and_its_key_is_used_once(world: World) -> None:
    customer = world.customer()
    [commit] = world.contract(customer, commits=[a_commit(5_000, *YEAR)])["commits"]
    entry: Any = {
        "customer_id": customer,
        "id": commit["id"],
        "segment_id": commit["access_schedule"]["schedule_items"][0]["id"],
        "amount": 250,
        "reason": "goodwill",
        "uniqueness_key": "gift-1",
    }
    world.sdk.v1.contracts.add_manual_balance_entry(**entry)

    [balance] = world.sdk.v1.contracts.list_balances(customer_id=customer, include_balance=True, include_ledgers=True)
    assert balance.balance == 5_250
    assert [(e.type, e.amount) for e in balance.ledger or []][1] == ("PREPAID_COMMIT_MANUAL", 250)
    with pytest.raises(metronome.ConflictError) as caught:
        world.sdk.v1.contracts.add_manual_balance_entry(**entry)
    assert caught.value.response.headers["x-should-retry"] == "false"


def test_the_seed_documents_short_forms_work(world: World) -> None:
    customer = world.customer("Acme", "cust_42")
    commit = {"product_id": "api", "type": "prepaid", "amount": 50_000_00, "priority": 1}
    world.contract("cust_42", commits=[{**commit, "applicable_product_ids": ["api", "gpu"]}])
    world.rating.use("cust_42", "api", day(5), 1_000)

    by_query = world.call("GET", "/v1/contracts/getBalance", query={"customer_id": "cust_42"})
    by_body = world.call("POST", "/v1/contracts/getBalance", {"customer_id": "cust_42"})
    drafts = world.call("GET", "/v1/invoices", query={"customer_id": "cust_42", "status": "draft"})["data"]
    final = world.call("GET", "/v1/invoices", query={"customer_id": "cust_42", "status": "finalized"})["data"]

    assert by_query == by_body == {"customer_id": customer, "balance": 4_995_000, "consumed": 5_000}
    assert [invoice["status"] for invoice in drafts] == ["DRAFT"]
    assert final == []
    world.clock.time = day(3, 2)
    world.service.finalize_due()
    assert world.call("POST", "/v1/contracts/getBalance", {"customer_id": "cust_42"}) == by_body
