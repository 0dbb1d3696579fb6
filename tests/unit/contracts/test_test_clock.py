"""The test clock: moved forward from outside, it closes what is due, and only where it was switched on."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from penstock.kernel.problems import BadRequest, Forbidden
from unit.contracts.contract_world import World, a_commit, day

YEAR = (day(1), datetime(2027, 1, 1, tzinfo=UTC))


@pytest.fixture
def world() -> World:
    return World(day(10))


def test_the_test_clock_moves_forward_closes_and_survives_a_restart() -> None:
    world = World(day(10), test_clock=True)
    customer = world.customer()
    world.contract(customer, commits=[a_commit(5_000, *YEAR)])
    world.rating.use(customer, "api", day(5), 1_200)

    answer = world.call("POST", "/v1/test-clock/advance", {"to": day(2, 2)})

    assert answer == {"data": {"now": "2026-02-02T00:00:00Z", "finalized": 1}}
    assert world.usage.asked == [day(10)]  # the log's clock is still in January: all before the jump must be folded
    assert [invoice["total"] for invoice in world.invoices(customer, status="FINALIZED")] == [1_000]
    with pytest.raises(BadRequest, match="only moves forward"):
        world.call("POST", "/v1/test-clock/advance", {"to": day(1, 2)})
    world.clock.time = day(11)
    world.restart(test_clock=True)
    assert world.call("GET", "/v1/test-clock") == {"data": {"now": "2026-02-03T00:00:00Z", "enabled": True}}


def test_a_period_that_the_moved_clock_runs_through_waits_for_the_log_to_catch_up() -> None:
    world = World(day(10), test_clock=True)
    world.contract(world.customer())
    world.call("POST", "/v1/test-clock/advance", {"to": day(1, 2)})  # 22 days ahead
    world.clock.time = day(11)
    world.usage.folded_through = day(10)

    assert world.service.finalize_due() == 0
    assert world.usage.asked == [day(11)]

    world.usage.folded_through = day(11)
    assert world.service.finalize_due() == 1


def test_without_the_test_clock_it_cannot_be_moved(world: World) -> None:
    with pytest.raises(Forbidden, match="--test-clock"):
        world.call("POST", "/v1/test-clock/advance", {"to": day(2, 2)})
    assert world.call("GET", "/v1/test-clock") == {"data": {"now": "2026-01-10T00:00:00Z", "enabled": False}}
