"""Contracts on cards in units of their own: lines and draws in the unit, what is left converted once, nothing mixed."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from penstock.kernel.card_units import CardUnits, UnitConversion
from penstock.kernel.money import CURRENCIES, USD, Unit
from penstock.kernel.problems import Unprocessable
from unit.contracts.contract_world import World, a_commit, day, later

CREDITS = Unit("credits", "AI credits", 12)
HALF_A_DOLLAR = CardUnits(USD, (UnitConversion(CREDITS, Decimal("0.5")),))


@pytest.fixture
def world() -> World:
    """The product `api` costs two credits, `gpu` two dollars."""
    world = World(day(20), test_clock=True)
    world.rating.units = HALF_A_DOLLAR
    world.rating.prices["api"], world.rating.priced_in["api"] = Decimal(2), CREDITS
    return world


def of_credits(amount: int, **more: Any) -> dict[str, Any]:
    commit = a_commit(amount, day(1), day(1, month=2), **more)
    commit["access_schedule"]["credit_type_id"] = "credits"
    return commit


def lines(invoice: dict[str, Any]) -> list[tuple[Any, ...]]:
    return [
        (line["type"], line["credit_type"]["id"], line["quantity"], line["total"]) for line in invoice["line_items"]
    ]


def test_credits_are_drawn_from_a_commit_of_credits_and_what_is_left_is_converted(world: World) -> None:
    """Example 88: 80 calls at 2 are 160 credits, 100 of them committed; 60 at 50 cents are 3000 cents."""
    customer = world.customer("Acme", "acme")
    world.contract(customer, commits=[of_credits(100)])
    world.rating.use("acme", "api", day(3), 80)

    [draft] = world.invoices(customer)

    assert lines(draft) == [
        ("usage", "credits", 80, 160),
        ("applied_commit_or_credit", "credits", None, -100),
        ("cpu_conversion", USD.id, 60, 3000),
    ]
    assert (draft["total"], draft["credit_type"]["id"]) == (3000, USD.id)
    assert draft["line_items"][2]["unit_price"] == 50
    [listed] = world.sdk.v1.customers.invoices.list(customer_id=customer).data
    assert [line.type for line in listed.line_items] == ["usage", "applied_commit_or_credit", "cpu_conversion"]


def test_dollars_never_pay_credits_nor_credits_dollars(world: World) -> None:
    """The other half of example 88: a commit in USD leaves lines in credits, and their conversion, as they are."""
    customer = world.customer("Acme", "acme")
    world.contract(customer, commits=[a_commit(100_000, day(1), day(1, month=2))], credits=[of_credits(1000)])
    world.rating.use("acme", "gpu", day(3), 3)
    world.rating.use("acme", "api", day(3), 600)

    [draft] = world.invoices(customer)

    assert lines(draft) == [
        ("usage", "credits", 600, 1200),
        ("usage", USD.id, 3, 600),
        ("applied_commit_or_credit", USD.id, None, -600),
        ("applied_commit_or_credit", "credits", None, -1000),
        ("cpu_conversion", USD.id, 200, 10_000),
    ]
    assert draft["total"] == 10_000


def test_balances_are_told_unit_by_unit_and_never_added_up(world: World) -> None:
    customer = world.customer("Acme", "acme")
    world.contract(customer, commits=[of_credits(100), a_commit(5000, day(1), day(1, month=2))])
    world.rating.use("acme", "api", day(3), 30)

    balances = world.sdk.v1.contracts.get_net_balance
    in_credits, in_dollars = balances(customer_id=customer, credit_type_id="credits"), balances(customer_id=customer)
    listed = world.sdk.v1.contracts.list_balances(customer_id=customer, include_balance=True).data
    short = world.call("GET", "/v1/contracts/getBalance", query={"customer_id": customer})

    assert (in_credits.data.balance, in_credits.data.credit_type_id) == (40, "credits")
    assert (in_dollars.data.balance, in_dollars.data.credit_type_id) == (5000, USD.id)
    assert balances(customer_id=customer, credit_type_id="EUR").data.balance == 0
    assert [balance.balance for balance in listed] == [40, 5000]
    assert (short["balance"], short["consumed"]) == (5000, 0)


def test_what_is_final_is_booked_in_each_unit_and_every_balance_adds_up(world: World) -> None:
    customer = world.customer("Acme", "acme")
    commit = world.contract(customer, commits=[of_credits(100)])["commits"][0]
    segment = commit["access_schedule"]["schedule_items"][0]["id"]
    entry = {"customer_id": customer, "id": commit["id"], "segment_id": segment, "amount": -4, "reason": "mine"}
    world.call("POST", "/v1/contracts/addManualBalanceLedgerEntry", entry)
    world.rating.use("acme", "api", day(3), 50)

    world.call("POST", "/v1/test-clock/advance", {"to": later(day(1, month=2), hours=25)})
    ledger = world.call("GET", f"/v1/customers/{customer}/ledger")["data"]

    assert ledger["accounts"] == {
        f"commit/{commit['id']}/{segment}": 0,
        f"granted/{commit['id']}": -100,
        f"manual/{commit['id']}": 4,
        f"revenue/{commit['id']}": 96,
        "receivable": -200,
        "revenue": 200,
    }
    assert [proof["holds"] for proof in ledger["proofs"]] == [True]
    explained = world.invoices(customer)[0]["id"]
    told = world.call("GET", f"/v1/customers/{customer}/invoices/{explained}/explain")["data"]
    assert (told["status"], told["units"]["conversions"][0]["fiat_per_unit"]) == ("FINALIZED", Decimal("0.5"))


def test_a_card_in_euros_is_invoiced_and_booked_in_euros(world: World) -> None:
    euro = CURRENCIES["EUR"]
    world.rating.units, world.rating.priced_in = CardUnits(euro), {}
    customer = world.customer("Acme", "acme")
    world.contract(customer, commits=[a_commit(10, day(1), day(1, month=2))])
    world.rating.use("acme", "gpu", day(3), 6)

    [draft] = world.invoices(customer)
    world.call("POST", "/v1/test-clock/advance", {"to": later(day(1, month=2), hours=25)})
    accounts = world.call("GET", f"/v1/customers/{customer}/ledger")["data"]["accounts"]

    assert (draft["credit_type"]["id"], draft["total"]) == ("EUR", 2)  # 12 euros, of which 10 were committed
    assert (accounts["receivable/EUR"], accounts["revenue/EUR"]) == (-2, 2)


def test_an_amount_in_a_custom_unit_is_converted_once_and_rounded_half_away_from_zero(world: World) -> None:
    """0.015 credits at 0.5 are 0.0075 dollars."""
    world.rating.prices["api"] = Decimal("0.005")
    customer = world.customer("Acme", "acme")
    world.contract(customer)
    world.rating.use("acme", "api", day(3), 3)

    [draft] = world.invoices(customer)

    assert lines(draft) == [("usage", "credits", 3, Decimal("0.015")), ("cpu_conversion", USD.id, Decimal("0.015"), 1)]


@pytest.mark.parametrize(
    ("part", "field"),
    [
        (
            {
                "commits": [
                    a_commit(1, day(1), day(2)) | {"access_schedule": {"schedule_items": [], "credit_type_id": "EUR"}}
                ]
            },
            "commits[0].access_schedule.credit_type_id",
        ),
        (
            {
                "overrides": [
                    {
                        "starting_at": day(1),
                        "type": "OVERWRITE",
                        "overwrite_rate": {"rate_type": "FLAT", "price": 1, "credit_type_id": "tokens"},
                    }
                ]
            },
            "overrides[0].overwrite_rate.credit_type_id",
        ),
    ],
)
def test_what_is_agreed_in_a_unit_that_the_card_lacks_is_refused_by_name(
    world: World, part: dict[str, Any], field: str
) -> None:
    customer = world.customer()

    with pytest.raises(Unprocessable) as refused:
        world.contract(customer, **part)

    assert refused.value.field == field


def test_an_overwrite_is_agreed_and_shown_in_its_unit(world: World) -> None:
    rate = {"rate_type": "TIERED", "credit_type_id": "credits", "tiers": [{"price": 3, "size": 5}, {"price": 1}]}
    contract = world.contract(
        world.customer(), overrides=[{"starting_at": day(1), "type": "OVERWRITE", "overwrite_rate": rate}]
    )

    shown = contract["overrides"][0]["overwrite_rate"]

    assert (shown["credit_type"]["id"], shown["tiers"]) == (
        "credits",
        [{"price": 3, "size": 5}, {"price": 1, "size": None}],
    )
