"""What a bad request is told, by its field, and that it leaves nothing behind."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from penstock.kernel.problems import BadRequest, NotFound, Problem, Unprocessable
from unit.contracts.contract_world import World, a_commit, day

YEAR = (day(1), datetime(2027, 1, 1, tzinfo=UTC))
BALANCES = "/v1/contracts/customerBalances/list"


@pytest.fixture
def world() -> World:
    return World(day(10))


def commits(**changed: Any) -> dict[str, Any]:
    return {"commits": [a_commit(100, *YEAR) | changed]}


def items(*spans: tuple[int, int], **changed: Any) -> dict[str, Any]:
    listed = [{"amount": 100, "starting_at": day(a), "ending_before": day(b)} | changed for a, b in spans]
    return commits(access_schedule={"schedule_items": listed})


def override(**changed: Any) -> dict[str, Any]:
    rate = {"rate_type": "FLAT", "price": 1}
    return {"overrides": [{"starting_at": day(1), "product_id": "api", "overwrite_rate": rate} | changed]}


def tiered(*tiers: dict[str, Any]) -> dict[str, Any]:
    return override(overwrite_rate={"rate_type": "TIERED", "tiers": list(tiers)})


ITEM = "commits[0].access_schedule.schedule_items"
EXPLICIT: dict[str, Any] = {"multiplier_override_prioritization": "EXPLICIT"}


@pytest.mark.parametrize(
    ("terms", "error", "field"),
    [
        ({"customer_id": "nobody"}, NotFound, "customer_id"),
        ({"rate_card_id": "card-9"}, NotFound, "rate_card_id"),
        ({"rate_card_id": None, "rate_card_alias": "gone"}, NotFound, "rate_card_alias"),
        ({"rate_card_id": None}, BadRequest, "rate_card_id"),
        ({"starting_at": "2026-01-01T00:00:00"}, BadRequest, "starting_at"),
        ({"ending_before": day(1)}, BadRequest, "ending_before"),
        ({"multiplier_override_prioritization": "BEST"}, BadRequest, "multiplier_override_prioritization"),
        ({"usage_statement_schedule": {"frequency": "DAILY"}}, BadRequest, "usage_statement_schedule.frequency"),
        (
            {"usage_statement_schedule": {"frequency": "MONTHLY", "day": "CUSTOM_DATE"}},
            BadRequest,
            "usage_statement_schedule.billing_anchor_date",
        ),
        ({"scheduled_charges": [{}]}, Unprocessable, "scheduled_charges"),
        ({"subscriptions": [{}]}, Unprocessable, "subscriptions"),
        ({"recurring_commits": [{}]}, Unprocessable, "recurring_commits"),
        ({"transition": {"type": "RENEWAL"}}, Unprocessable, "transition"),
        ({"spend_threshold_configuration": {"is_enabled": True}}, Unprocessable, "spend_threshold_configuration"),
        ({"usage_filter": {"group_key": "a"}}, Unprocessable, "usage_filter"),
        (commits(access_schedule=None), BadRequest, "commits[0].access_schedule"),
        (commits(access_schedule={"schedule_items": []}), BadRequest, ITEM),
        (commits(product_id="gone"), NotFound, "commits[0].product_id"),
        (commits(applicable_product_ids=["api", "gone"]), NotFound, "commits[0].applicable_product_ids"),
        (commits(type="POSTPAID"), Unprocessable, "commits[0].type"),
        (commits(rate_type="BEST_RATE"), BadRequest, "commits[0].rate_type"),
        (commits(rollover_fraction=Decimal("0.5")), Unprocessable, "commits[0].rollover_fraction"),
        (commits(specifiers=[{"product_id": "api"}]), Unprocessable, "commits[0].specifiers"),
        (
            commits(invoice_schedule={"schedule_items": [{"timestamp": day(1), "amount": 1}]}),
            Unprocessable,
            "commits[0].invoice_schedule",
        ),
        (commits(priority="NaN"), BadRequest, "commits[0].priority"),
        (commits(name=5), BadRequest, "commits[0].name"),
        (items((5, 3)), BadRequest, f"{ITEM}[0].ending_before"),
        (items((1, 5), (4, 9)), BadRequest, ITEM),
        (items((1, 5), amount=-1), BadRequest, f"{ITEM}[0].amount"),
        (items((1, 5), amount=Decimal("0.5")), BadRequest, f"{ITEM}[0].amount"),
        (items((1, 5), amount="Infinity"), BadRequest, f"{ITEM}[0].amount"),
        (items((1, 5), amount=Decimal("1e400")), BadRequest, f"{ITEM}[0].amount"),
        (
            commits(access_schedule={"access_type": "QUANTITY", "schedule_items": []}),
            Unprocessable,
            "commits[0].access_schedule.access_type",
        ),
        (
            commits(access_schedule={"credit_type_id": "eur", "schedule_items": []}),
            Unprocessable,
            "commits[0].access_schedule.credit_type_id",
        ),
        (override(product_id="gone"), NotFound, "overrides[0].product_id"),
        (override(ending_before=day(1)), BadRequest, "overrides[0].ending_before"),
        (override(type="DISCOUNT"), BadRequest, "overrides[0].type"),
        (override(overwrite_rate=None), BadRequest, "overrides[0].overwrite_rate"),
        (override(overwrite_rate={"rate_type": "FLAT"}), BadRequest, "overrides[0].overwrite_rate.price"),
        (
            override(overwrite_rate={"rate_type": "FLAT", "price": -1}),
            BadRequest,
            "overrides[0].overwrite_rate.price",
        ),
        (
            override(overwrite_rate={"rate_type": "PERCENTAGE", "price": 1}),
            Unprocessable,
            "overrides[0].overwrite_rate.rate_type",
        ),
        (
            override(overwrite_rate={"rate_type": "FLAT", "price": 1, "credit_type_id": "eur"}),
            Unprocessable,
            "overrides[0].overwrite_rate.credit_type_id",
        ),
        (tiered({"price": 1, "size": 5}), BadRequest, "overrides[0].overwrite_rate.tiers"),
        (tiered({"price": 1}, {"price": 2}), BadRequest, "overrides[0].overwrite_rate.tiers[0].size"),
        (tiered({"price": 1, "size": 0}, {"price": 2}), BadRequest, "overrides[0].overwrite_rate.tiers[0].size"),
        (override(type="MULTIPLIER"), BadRequest, "overrides[0].multiplier"),
        (override(type="TIERED"), BadRequest, "overrides[0].tiers"),
        (override(type="MULTIPLIER", multiplier=1) | EXPLICIT, BadRequest, "overrides[0].priority"),
        (override(is_commit_specific=True), Unprocessable, "overrides[0].is_commit_specific"),
        (override(target="COMMIT_RATE"), Unprocessable, "overrides[0].target"),
        (override(override_specifiers=[{"product_id": "api"}]), BadRequest, "overrides[0].override_specifiers"),
        (
            override(product_id=None, override_specifiers=[{"commit_ids": ["c"]}]),
            Unprocessable,
            "overrides[0].override_specifiers[0].commit_ids",
        ),
    ],
)
def test_a_bad_contract_is_refused_by_its_field_and_nothing_is_written(
    world: World, terms: dict[str, Any], error: type[Problem], field: str
) -> None:
    customer = world.customer()
    body = {"customer_id": customer, "rate_card_id": "card-1", "starting_at": day(1), "uniqueness_key": "k", **terms}

    with pytest.raises(error) as caught:
        world.call("POST", "/v1/contracts/create", body)

    assert caught.value.field == field
    assert world.call("POST", "/v1/contracts/list", {"customer_id": customer})["data"] == []
    assert world.ledger.transactions("tenant-1", customer) == []
    world.contract(customer, uniqueness_key="k")


@pytest.mark.parametrize(
    ("method", "path", "body", "query", "error", "field"),
    [
        ("POST", "/v1/customers", {"name": " "}, {}, BadRequest, "name"),
        ("POST", "/v1/customers", {"name": "A", "ingest_aliases": [""]}, {}, BadRequest, "ingest_aliases"),
        ("GET", "/v1/customers/nobody", None, {}, NotFound, "customer_id"),
        ("GET", "/v1/customers", None, {"limit": "0"}, BadRequest, "limit"),
        ("GET", "/v1/customers", None, {"next_page": "%"}, BadRequest, "next_page"),
        ("POST", "/v1/contracts/get", {"customer_id": "acme", "contract_id": "c"}, {}, NotFound, "contract_id"),
        ("POST", "/v1/contracts/list", {"customer_id": "acme", "limit": 21}, {}, BadRequest, "limit"),
        ("POST", BALANCES, {"customer_id": "acme", "next_page": "x"}, {}, BadRequest, "next_page"),
        ("POST", BALANCES, {"customer_id": "acme", "access_type": "QUANTITY"}, {}, Unprocessable, "access_type"),
        ("GET", "/v1/contracts/getBalance", None, {}, BadRequest, "customer_id"),
        ("GET", "/v1/invoices", None, {}, BadRequest, "customer_id"),
        ("GET", "/v1/customers/acme/invoices", None, {"status": "PAID"}, BadRequest, "status"),
        ("GET", "/v1/customers/acme/invoices", None, {"sort": "up"}, BadRequest, "sort"),
        ("GET", "/v1/customers/acme/invoices/none", None, {}, NotFound, "invoice_id"),
        (
            "POST",
            "/v1/rate-cards/override",
            {"rate_card_id": "card-1", "customer_id": "acme", "overrides": []},
            {},
            BadRequest,
            "overrides",
        ),
        (
            "POST",
            "/v1/rate-cards/override",
            {
                "rate_card_id": "card-1",
                "customer_id": "acme",
                "overrides": [{"product_id": "api", "rate_type": "flat", "price": 1}],
            },
            {},
            NotFound,
            "rate_card_id",
        ),
    ],
)
def test_a_bad_request_is_told_which_field(
    world: World, method: str, path: str, body: Any, query: dict[str, str], error: type[Problem], field: str
) -> None:
    world.customer("Acme", "acme")

    with pytest.raises(error) as caught:
        world.call(method, path, body, query)

    assert caught.value.field == field
