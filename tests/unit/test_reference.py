"""The oracle itself, held against figures worked out by hand (reference/SURFACE.md section 5, examples 75 to 84)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from builders import a_commit_body, a_metric_body, a_rate_body, a_sum_body, an_event
from reference import World, is_quarantined, text

MAY = datetime(2026, 5, 1, tzinfo=UTC)
JUNE = datetime(2026, 6, 1, tzinfo=UTC)
NOON = MAY + timedelta(days=9, hours=12)


def a_world(quantity: object, rate: dict[str, Any], at: datetime = NOON, **contract: Any) -> World:
    """One event of `quantity` units in May, priced by one rate."""
    return World(
        sent=[an_event(at=at, properties={"units": quantity})],
        keys={"acme"},
        metrics={"m": a_sum_body("units")},
        products={"p": {"name": "Units", "billable_metric_id": "m", "tags": ["metered"]}},
        rates=[a_rate_body("p", MAY, **rate)],
        contract={"starting_at": MAY, **contract},
    )


def total_of(world: World) -> Decimal:
    invoices, _ = world.invoices(JUNE)
    assert [(invoice.start, invoice.end) for invoice in invoices] == [(MAY, JUNE)]
    return invoices[0].total


@pytest.mark.parametrize(
    ("quantity", "cents"), [(1_500, 300), (1_000_000, 200_000), (12_000_000, 1_800_000), ("0", 0), (-5, 0)]
)
def test_a_tier_size_is_a_width(quantity: object, cents: int) -> None:
    tiers = [{"size": 1_000_000, "price": 0.2}, {"size": 10_000_000, "price": 0.15}, {"size": None, "price": 0.1}]

    assert total_of(a_world(quantity, {"tiers": tiers})) == cents


def test_a_multiplier_takes_ten_percent_off() -> None:
    override = {"type": "MULTIPLIER", "multiplier": 0.9, "starting_at": MAY, "product_id": "p"}

    assert total_of(a_world(50, {"price": 5}, overrides=[override])) == 225


def test_a_tiered_override_holds_for_its_width_and_then_the_list_price() -> None:
    tiers = [{"multiplier": 0.9, "size": 10}]
    override = {"type": "TIERED", "tiers": tiers, "priority": 1, "starting_at": MAY, "product_id": "p"}

    assert total_of(a_world(20, {"price": 5}, overrides=[override])) == 95


def test_an_overwrite_goes_before_a_lower_multiplier_and_only_while_it_is_in_force() -> None:
    overwrite = {"type": "OVERWRITE", "overwrite_rate": {"rate_type": "FLAT", "price": 4}, "starting_at": MAY}
    halved = {"type": "MULTIPLIER", "multiplier": 0.5, "starting_at": MAY, "applicable_product_tags": ["metered"]}
    ended = overwrite | {"ending_before": NOON}

    assert total_of(a_world(10, {"price": 5}, overrides=[halved, overwrite])) == 40
    assert total_of(a_world(10, {"price": 5}, overrides=[halved, ended])) == 25


def test_half_a_cent_is_rounded_away_from_zero_once() -> None:
    assert total_of(a_world(5, {"price": 0.1})) == 1
    assert total_of(a_world(-5, {"price": 0.1})) == -1
    assert total_of(a_world("0.1", {"price": 44.9})) == 4


def test_commits_are_drawn_by_priority_and_leave_the_rest_to_pay() -> None:
    first = a_commit_body("p", 10_000, MAY, JUNE, priority=1, name="A", applicable_product_ids=["p"])
    second = a_commit_body("p", 50_000, MAY, JUNE, priority=2, name="B")
    world = a_world(38_225, {"price": 1}, commits=[second, first])

    (invoice,), _ = world.invoices(JUNE)

    assert invoice.draws == [("A", "p", Decimal(10_000)), ("B", "p", Decimal(28_225))]
    assert invoice.total == 0
    assert world.net_balance(JUNE - timedelta(hours=1)) == 21_775


def test_usage_beyond_the_commit_is_overage() -> None:
    world = a_world(6_000, {"price": 1}, commits=[a_commit_body("p", 5_000, MAY, JUNE, name="A")])

    assert total_of(world) == 1_000


def test_only_the_segment_that_covers_the_usage_pays_for_it() -> None:
    early = a_commit_body("p", 5_000, MAY, NOON, name="ended before")
    late = a_commit_body("p", 5_000, NOON + timedelta(seconds=1), JUNE, name="begins after")
    world = a_world(100, {"price": 1}, commits=[early, late])

    assert total_of(world) == 100
    assert world.net_balance(NOON) == 0


def test_a_price_change_does_not_restart_the_tier_counter() -> None:
    tiers = [{"size": 10, "price": 100}, {"price": 50}]
    world = a_world(8, {"tiers": tiers}, at=NOON - timedelta(days=1))
    world.sent = [*world.sent, an_event("second", at=NOON, properties={"units": 8})]
    dearer = [{"size": 10, "price": 200}, {"price": 100}]
    world.rates = [*world.rates, a_rate_body("p", NOON, tiers=dearer)]

    assert total_of(world) == 8 * 100 + 2 * 200 + 6 * 100


def test_the_first_copy_of_an_id_counts_and_the_latest_instant_wins_latest() -> None:
    world = World(
        sent=[
            an_event("a", at=NOON, properties={"units": 1}),
            an_event("a", at=NOON, properties={"units": 100}),
            an_event("b", at=NOON, properties={"units": "7"}),
            an_event("c", at=MAY, properties={"units": 9}),
            an_event("d", at=NOON, properties={"units": True}),
        ],
        keys={"acme"},
        metrics={
            "sum": a_sum_body("units"),
            "latest": a_metric_body("latest", "LATEST", aggregation_key="units"),
            "unique": a_metric_body("unique", "UNIQUE", aggregation_key="units"),
            "count": a_metric_body("count"),
        },
    )

    answers = {name: world.usage(name, MAY, JUNE)[(MAY, ())] for name in world.metrics}

    assert answers == {"sum": 17, "latest": 7, "unique": 4, "count": 4}


@pytest.mark.parametrize(
    ("value", "quarantined"),
    [
        ("9" * 26, False),
        ("9" * 27, True),
        ("0." + "0" * 11 + "1", False),
        ("0." + "0" * 12 + "1", True),
        ("1e400", True),
    ],
)
def test_numbers_have_26_digits_before_and_12_after_the_point(value: str, quarantined: bool) -> None:
    metric, event = a_sum_body("units"), an_event(properties={"units": Decimal(value)})

    assert is_quarantined([metric], event) is quarantined
    assert is_quarantined([metric], an_event(properties={"units": value})) is quarantined
    assert not is_quarantined([metric], an_event(properties={"other": Decimal(value)}))


def test_a_group_value_is_text_a_canonical_decimal_or_nothing() -> None:
    values = ["a", "", 1, Decimal("1.0"), Decimal("1e3"), Decimal("-0.0"), True, None, [1]]

    assert [text(value) for value in values] == ["a", "", "1", "1", "1000", "0", "true", None, None]
