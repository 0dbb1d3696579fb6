"""Contracts, as the vendor's SDK sees them (strictly validated), and as the rater is given them."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import metronome
import pytest

from penstock.kernel.contract import MultiplierTier, OverrideKind, Prioritization, Specifier
from penstock.kernel.price import Tier
from penstock.kernel.problems import Conflict
from unit.contracts.contract_world import World, a_commit, day

YEAR = (day(1), datetime(2027, 1, 1, tzinfo=UTC))


@pytest.fixture
def world() -> World:
    return World(day(10))


OVERRIDES = [
    {
        "starting_at": day(1),
        "type": "overwrite",
        "product_id": "api",
        "overwrite_rate": {"rate_type": "tiered", "tiers": [{"price": "0.15", "size": 1000}, {"price": "0.08"}]},
    },
    {
        "starting_at": day(1),
        "ending_before": day(1, 6),
        "type": "MULTIPLIER",
        "multiplier": "0.9",
        "priority": 1,
        "applicable_product_tags": ["llm"],
    },
    {
        "starting_at": day(1),
        "type": "TIERED",
        "priority": 2,
        "tiers": [{"multiplier": "0.9", "size": 10}],
        "override_specifiers": [{"product_id": "gpu", "pricing_group_values": {"region": "eu"}}],
    },
]


def test_a_contract_is_created_and_read_by_both_versions_of_the_api(world: World) -> None:
    customer = world.customer("Acme", "acme")
    sdk: Any = world.sdk
    created = sdk.v1.contracts.create(
        customer_id="acme",
        rate_card_alias="standard",
        starting_at=day(1),
        ending_before=YEAR[1],
        name="Enterprise",
        commits=[a_commit(50_000_00, *YEAR, priority=1, name="Annual", applicable_product_ids=["api", "gpu"])],
        credits=[a_commit(100, *YEAR)],
        overrides=OVERRIDES,
        multiplier_override_prioritization="EXPLICIT",
        net_payment_terms_days=30,
        uniqueness_key="deal-1",
    ).data

    v1 = sdk.v1.contracts.retrieve(customer_id=customer, contract_id=created.id).data
    v2 = sdk.v2.contracts.retrieve(customer_id=customer, contract_id=created.id, include_balance=True).data

    assert created.contract.id == created.id
    assert (v1.id, v1.customer_id, v1.uniqueness_key, v1.amendments) == (created.id, customer, "deal-1", [])
    assert v1.current == v1.initial
    assert v2.usage_statement_schedule.billing_anchor_date == day(1)
    assert (v2.rate_card_id, v2.net_payment_terms_days) == ("card-1", 30)
    assert [(c.amount, c.starting_at) for c in v2.commits[0].access_schedule.schedule_items] == [(5_000_000, day(1))]
    assert (v2.commits[0].balance, v2.credits[0].balance, v2.commits[0].priority) == (5_000_000, 100, 1)
    assert [(t.price, t.size) for t in v2.overrides[0].overwrite_rate.tiers] == [(0.15, 1000), (0.08, None)]
    assert (v2.overrides[1].multiplier, v2.overrides[1].override_specifiers[0].product_tags) == (0.9, ["llm"])
    assert [(t.multiplier, t.size) for t in v2.overrides[2].override_tiers] == [(0.9, 10), (1, None)]
    assert [c.id for c in sdk.v1.contracts.list(customer_id=customer)] == [created.id]
    assert [c.id for c in sdk.v2.contracts.list(customer_id=customer, covering_date=day(5))] == [created.id]
    assert list(sdk.v2.contracts.list(customer_id=customer, covering_date=YEAR[1])) == []


def test_an_override_may_change_entitlement_alone(world: World) -> None:
    customer = world.customer()
    contract = world.contract(customer, overrides=[{"starting_at": day(1), "product_id": "api", "entitled": False}])
    world.invoices(customer)

    [given] = world.rating.seen[-1].overrides
    assert (given.kind, given.entitled, given.unit_price, given.tiers) == (OverrideKind.OVERWRITE, False, None, ())
    [shown] = world.sdk.v2.contracts.retrieve(customer_id=customer, contract_id=contract["id"]).data.overrides
    assert (shown.entitled, shown.overwrite_rate) == (False, None)


def test_the_rater_is_given_the_overrides_in_dollars(world: World) -> None:
    customer = world.customer("Acme", "acme")
    world.contract(customer, overrides=OVERRIDES, multiplier_override_prioritization="explicit")
    world.invoices(customer)

    terms = world.rating.seen[-1]

    assert terms.customer_keys == (customer, "acme")
    assert terms.prioritization is Prioritization.EXPLICIT
    overwrite, multiplier, tiered = terms.overrides
    assert overwrite.tiers == (Tier(Decimal(1000), Decimal("0.0015")), Tier(None, Decimal("0.0008")))
    assert overwrite.specifiers == (Specifier("api"),)
    assert (multiplier.kind, multiplier.multiplier, multiplier.end) == (
        OverrideKind.MULTIPLIER,
        Decimal("0.9"),
        day(1, 6),
    )
    assert tiered.multiplier_tiers == (MultiplierTier(Decimal(10), Decimal("0.9")), MultiplierTier(None, Decimal(1)))
    assert tiered.specifiers == (Specifier("gpu", (), (("region", "eu"),)),)


def test_a_card_override_in_dollars_holds_from_now_on_and_replaces_the_one_before(world: World) -> None:
    customer = world.customer("Acme", "cust_42")
    contract = world.contract(customer)["id"]
    tiers = [{"size": 1_000_000, "price": Decimal("0.0015")}, {"size": None, "price": Decimal("0.0008")}]
    body = {
        "rate_card_id": "card-1",
        "customer_id": "cust_42",
        "overrides": [{"product_id": "api", "rate_type": "tiered", "tiers": tiers}],
    }

    answer = world.call("POST", "/v1/rate-cards/override", body)
    world.clock.time = day(12)
    flat = {"product_id": "api", "rate_type": "FLAT", "price": Decimal("0.01")}
    world.call("POST", "/v1/rate-cards/override", {**body, "overrides": [flat]})

    assert answer["data"]["contract_ids"] == [contract]
    world.invoices(customer)
    first, second = world.rating.seen[-1].overrides
    assert first.tiers == (Tier(Decimal(1_000_000), Decimal("0.0015")), Tier(None, Decimal("0.0008")))
    assert (first.start, first.end, second.start, second.end) == (day(10), day(12), day(12), None)
    assert second.unit_price == Decimal("0.01")
    view = world.call("POST", "/v2/contracts/get", {"customer_id": customer, "contract_id": contract})["data"]
    assert [o["overwrite_rate"]["price"] for o in view["overrides"]] == [None, 1]


def test_two_contracts_that_would_bill_the_same_usage_are_refused_naming_both(world: World) -> None:
    customer = world.customer()
    first = world.contract(customer, name="Old", ending_before=day(1, 6))["id"]

    with pytest.raises(Conflict) as caught:
        world.contract(customer, name="New", starting_at=day(31, 5))

    assert first in caught.value.detail
    assert "Old" in caught.value.detail
    assert "New" in caught.value.detail
    world.contract(customer, name="After", starting_at=day(1, 6))
    world.contract(customer, name="Beside", starting_at=day(31, 5), allow_overlap=True)


def test_a_used_uniqueness_key_is_a_conflict_that_the_sdk_does_not_retry(world: World) -> None:
    customer = world.customer()
    world.contract(customer, ending_before=day(2), uniqueness_key="k")

    with pytest.raises(metronome.ConflictError) as caught:
        world.sdk.v1.contracts.create(
            customer_id=customer, rate_card_id="card-1", starting_at=day(5), uniqueness_key="k"
        )

    assert caught.value.response.headers["x-should-retry"] == "false"
    assert len(world.call("POST", "/v2/contracts/list", {"customer_id": customer})["data"]) == 1


def test_two_cards_that_price_one_metric_are_refused_side_by_side(world: World) -> None:
    customer = world.customer()
    world.contract(customer)
    world.rating.priced = {"card-1": frozenset({"calls", "tokens"}), "card-2": frozenset({"tokens"})}

    with pytest.raises(Conflict, match="would bill the same usage"):
        world.contract(customer, rate_card_id="card-2")

    world.rating.priced["card-2"] = frozenset({"storage"})
    world.contract(customer, rate_card_id="card-2")
