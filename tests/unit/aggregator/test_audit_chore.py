"""The continuous audit: what is false is found within a round of passes, stays in sight, and goes when it is mended."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest

from builders import TENANT
from penstock.aggregator.audit import US_PER_HOUR
from penstock.aggregator.audit_chore import CUSTOMERS_PER_PASS, AuditChore
from penstock.aggregator.auditor import Findings
from penstock.kernel.cell import CONSERVATION
from unit.aggregator.audit_world import METRICS, AuditWorld, some_events


def a_world(partitions: int = 1) -> AuditWorld:
    world = AuditWorld(partitions)
    world.define(*METRICS)
    for partition in range(partitions):
        world.send(some_events(1000 * partition, 100), partition)
    world.now_us += US_PER_HOUR
    world.tick()
    world.fold()
    return world


def a_chore(world: AuditWorld, events_max: int = 100_000, seed: int = 1) -> AuditChore:
    return AuditChore(world.auditor, world.store, world.read_log, events_max, random.Random(seed))


def first_found(chore: AuditChore, passes_max: int = 60) -> Findings:
    """Make passes until one finds something."""
    for _ in range(passes_max):
        found = chore.run()
        if found.differences:
            return found
    raise AssertionError(f"{passes_max} passes found nothing")


def test_an_honest_store_is_sampled_without_an_error() -> None:
    world = a_world(3)
    chore = a_chore(world)
    cells = 0
    for n in range(6):
        world.send(some_events(10_000 + 10 * n, 15), partition=n % 3)
        world.fold()
        found = chore.run()
        cells += found.cells

        assert (found.differences, found.events) == ([], 0)

    assert cells > 50


def test_an_empty_store_is_nothing_to_audit() -> None:
    chore = a_chore(AuditWorld())

    assert chore.run() == Findings(0, [])


def test_a_false_cell_is_found_and_stays_in_sight_until_it_is_mended() -> None:
    world = a_world()
    honest = world.cells("units")
    key = world.falsify("units", events=50)
    chore = a_chore(world)

    first_found(chore)
    for _ in range(5):
        found = chore.run()
        assert ([d.key for d in found.differences], found.events) == ([key], 50 - honest[key].events)

    world.store._cells[key] = honest[key]
    assert chore.run().differences == []


def test_a_lost_cell_is_found_where_another_customer_has_a_cell_of_its_window() -> None:
    world = AuditWorld()
    world.define("count")
    world.send([{**some_events(0, 1)[0], "transaction_id": name, "customer_id": name} for name in ("a", "b")])
    world.now_us += US_PER_HOUR
    world.tick()
    world.fold()
    key = world.lose("count")

    found = a_chore(world).run()

    assert [d.key for d in found.differences] == [key]


def test_a_lost_cell_of_a_window_without_other_cells_is_found_by_chance(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("penstock.aggregator.audit_chore.DAYS_BACK", 1)
    world = AuditWorld()
    world.define("count")
    world.send(some_events(0, 1))
    world.now_us += US_PER_HOUR
    world.tick()
    world.fold()
    key = world.lose("count")

    found = first_found(a_chore(world), passes_max=2_000)

    assert [d.key for d in found.differences] == [key]


def test_every_customer_has_its_turn() -> None:
    world = AuditWorld()
    world.define("count")
    names = [f"customer-{n:02}" for n in range(2 * CUSTOMERS_PER_PASS + 3)]
    for n, name in enumerate(names):
        world.send([{**some_events(n, 1)[0], "customer_id": name}])
    world.now_us += US_PER_HOUR
    world.tick()
    world.fold()
    chore = a_chore(world)

    assert sum(chore.run().cells for _ in range(3)) >= len(names)


def test_a_pass_costs_no_more_events_than_its_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    world = AuditWorld()
    world.define("count")
    world.send([{**event, "timestamp": some_events(0, 1)[0]["timestamp"]} for event in some_events(0, 100)])
    world.now_us += US_PER_HOUR
    world.tick()
    world.fold()
    asked: list[Any] = []

    def note(*place: Any) -> Findings:
        asked.append(place)
        return Findings()

    monkeypatch.setattr(world.auditor, "cells", note)

    a_chore(world, events_max=60).run()

    # One of the two customers with 50 events each; and both, by chance, in any window.
    assert [len(customers) for _, _, customers, _ in asked] == [1, 2]


@pytest.mark.parametrize("change", [-2, 5])
def test_conservation_that_does_not_grow_as_the_log_does_is_found(change: int) -> None:
    world = a_world(2)
    chore = a_chore(world)
    assert chore.run().differences == []
    world.send(some_events(500, 20), partition=1)
    world.fold()
    key = next(k for k in world.cells(CONSERVATION) if k.partition == 1 and k.window_us == max_hour(world))
    world.store._cells[key].events += change

    for _ in range(3):
        found = chore.run()
        [difference] = found.differences
        assert (difference.key.tenant, difference.key.partition, difference.key.groups) == (TENANT, 1, ())
        assert difference.stored is not None
        assert (difference.stored.events, difference.recomputed.events) == (20 + change, 20)
        assert found.events == abs(change)

    world.store._cells[key].events -= change
    assert chore.run().differences == []


def test_events_that_the_log_holds_no_more_are_not_asked_for() -> None:
    world = a_world()
    chore = a_chore(world)
    chore.run()
    world.send(some_events(500, 20))
    world.fold()
    asyncio.run(world.log.trim(0, 10**6))

    assert chore.run().differences == []
    world.send(some_events(600, 20))
    world.fold()
    assert chore.run().differences == []


def max_hour(world: AuditWorld) -> int:
    return max(key.window_us for key in world.cells(CONSERVATION))


def test_a_pass_that_is_stopped_looks_at_nothing_more() -> None:
    world = a_world()
    world.falsify("units", events=50)
    chore = a_chore(world)
    chore.stop()

    assert [chore.run() for _ in range(30)] == [Findings(0, [])] * 30
