"""Invoices and their periods, as the vendor's SDK sees them (strictly validated)."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from penstock.kernel.problems import NotFound
from unit.contracts.contract_world import World, a_commit, day

YEAR = (day(1), datetime(2027, 1, 1, tzinfo=UTC))


@pytest.fixture
def world() -> World:
    return World(day(10))


def test_invoices_are_listed_filtered_and_paged_by_the_sdk(world: World) -> None:
    customer = world.customer()
    contract = world.contract(customer, starting_at=datetime(2025, 11, 1, tzinfo=UTC))["id"]
    world.rating.use(customer, "api", day(5), 1_200)
    world.service.finalize_due()
    invoices = world.sdk.v1.customers.invoices

    listed = list(invoices.list(customer_id=customer, limit=1))

    assert [(i.status, i.total) for i in listed] == [("FINALIZED", 0), ("FINALIZED", 0), ("DRAFT", 6_000)]
    assert [i.id for i in invoices.list(customer_id=customer, sort="date_desc", limit=2)] == [
        i.id for i in reversed(listed)
    ]
    assert [i.id for i in invoices.list(customer_id=customer, status="DRAFT")] == [listed[2].id]
    assert [i.id for i in invoices.list(customer_id=customer, ending_before=day(1))] == [i.id for i in listed[:2]]
    assert [i.id for i in invoices.list(customer_id=customer, starting_on=day(1))] == [listed[2].id]
    assert len(list(invoices.list(customer_id=customer, contract_id=contract))) == 3
    assert list(invoices.list(customer_id=customer, type="SCHEDULED")) == []
    assert list(invoices.list(customer_id=customer, status="VOID")) == []
    one = invoices.retrieve(customer_id=customer, invoice_id=listed[2].id).data
    assert one == listed[2]
    assert (one.line_items[0].quantity, one.line_items[0].unit_price, one.line_items[0].total) == (1_200, 5, 6_000)
    assert one.issued_at == day(2, 2)


def test_an_invoice_is_explained_by_its_charges_draws_and_vector(world: World) -> None:
    customer = world.customer()
    world.contract(customer, commits=[a_commit(5_000, *YEAR)])
    world.rating.use(customer, "api", day(5), 1_200)
    [draft] = world.invoices(customer)

    data = world.call("GET", f"/v1/customers/{customer}/invoices/{draft['id']}/explain")["data"]

    assert (data["vector"], data["engine_version"], data["contract_revision"]) == ([7, 9], 1, 2)
    assert data["charges"][0]["alternatives"][0]["amount"] == Decimal(60)
    assert data["charges"][0]["alternatives"][0]["origin"] == {"rate_card_id": "card-1"}
    assert [(draw["line"], draw["amount"]) for draw in data["draws"]] == [(0, Decimal(50))]
    assert data["total"] == Decimal(10)


@pytest.mark.parametrize(
    ("schedule", "start", "periods"),
    [
        (None, day(9), [day(9), day(1, 2), day(1, 3)]),
        ({"frequency": "MONTHLY", "day": "contract_start"}, day(9, 1, 6), [day(9, 1, 6), day(9, 2, 6)]),
        (
            {"frequency": "MONTHLY", "day": "CUSTOM_DATE", "billing_anchor_date": day(5)},
            day(9),
            [day(9), day(5, 2), day(5, 3)],
        ),
        ({"frequency": "quarterly"}, day(9), [day(9)]),
        ({"frequency": "WEEKLY", "day": "CONTRACT_START"}, day(20, 2), [day(20, 2), day(27, 2), day(6, 3)]),
        ({"frequency": "ANNUAL"}, day(9), [day(9)]),
    ],
    ids=["default", "contract start", "custom", "quarterly", "weekly", "annual"],
)
def test_periods_follow_the_usage_statement_schedule(
    world: World, schedule: dict[str, Any] | None, start: datetime, periods: list[datetime]
) -> None:
    customer = world.customer()
    terms = {} if schedule is None else {"usage_statement_schedule": schedule}
    world.contract(customer, starting_at=start, **terms)
    world.clock.time = day(8, 3)

    starts = [datetime.fromisoformat(invoice["start_timestamp"]) for invoice in world.invoices(customer)]

    assert starts == periods


def test_one_customers_invoice_is_not_found_under_another(world: World) -> None:
    mine, other = world.customer("Mine"), world.customer("Other")
    world.contract(mine)
    [draft] = world.invoices(mine)
    world.clock.time = day(2, 2)
    world.service.finalize_due()

    with pytest.raises(NotFound):
        world.call("GET", f"/v1/customers/{other}/invoices/{draft['id']}")
