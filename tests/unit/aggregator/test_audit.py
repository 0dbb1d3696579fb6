"""The audit: a cell, a stored event or a conservation cell that was falsified is found and named; nothing else is."""

from __future__ import annotations

import asyncio
import random
from decimal import Decimal

import msgspec
import pyarrow.compute as pc
import pytest

from builders import TENANT, an_event
from penstock.aggregator.audit import ALL_TENANTS, US_PER_HOUR, Difference, ahead_of
from penstock.aggregator.auditor import WINDOWS_END_US, Auditor, Findings
from penstock.kernel.cell import COMBINATIONS, CONSERVATION, Cell
from penstock.kernel.event import Outcome
from penstock.kernel.ports.fold_store import Flush
from penstock.kernel.stored import StoredEvents
from unit.aggregator.audit_world import METRICS, NOW_US, SPAN_US, AuditWorld, some_events
from unit.aggregator.test_owner import METRICS as OWNER_METRICS
from unit.aggregator.test_owner import FaultyStore, a_log, drained

ALL_HOURS = (0, WINDOWS_END_US)


def a_world(partitions: int = 1) -> AuditWorld:
    """Metrics before, between and after events; one archived on the way; duplicates, bad events and ones that nobody
    counts; two hours of the log clock."""
    world = AuditWorld(partitions)
    world.define("count", "units")
    for partition in range(partitions):
        world.send(some_events(1000 * partition, 40), partition)
        world.send(some_events(1000 * partition + 30, 20), partition)  # ten are there already
    world.define("most", "last")
    world.fold()
    world.now_us += US_PER_HOUR
    for partition in range(partitions):
        world.send(some_events(1000 * partition + 60, 40), partition)
        world.send([an_event(f"other-{partition}", event_type="unmetered")], partition)
    world.archive("units", copies=2)
    for partition in range(partitions):
        world.send(some_events(1000 * partition + 200, 30), partition)
    world.define("least", "regions")
    world.tick()
    world.fold()
    return world


def audited(world: AuditWorld) -> Findings:
    found = Findings()
    for metric in METRICS:
        found.add(world.auditor.cells(TENANT, metric, None, SPAN_US))
    for partition in range(world.log.identity.partitions):
        found.add(world.auditor.conservation(partition, ALL_HOURS))
    return found


@pytest.mark.parametrize("partitions", [1, 3])
def test_an_honest_store_has_no_differences_whatever_came_when(partitions: int) -> None:
    world = a_world(partitions)
    outcomes = {key.groups[0] for key in world.cells(CONSERVATION)}

    found = audited(world)

    assert (found.differences, found.events) == ([], 0)
    assert found.cells == len(world.store._cells) - len(world.cells(COMBINATIONS)) > 100 * partitions
    assert outcomes == {"COUNTED", "DUPLICATE", "UNMATCHED", "QUARANTINED"}


@pytest.mark.parametrize("metric", METRICS)
def test_a_falsified_cell_is_found_and_named_with_both_figures(metric: str) -> None:
    world = a_world()
    before = world.cells(metric)
    key = world.falsify(metric, events=99)

    [difference] = audited(world).differences

    marker = world.store.markers()[0]
    assert difference == Difference(key, world.cells(metric)[key], difference.recomputed, marker.offset)
    assert difference.recomputed.events == before[key].events
    assert difference.events == 99 - before[key].events


def test_a_value_that_is_off_in_its_last_digit_is_an_error_of_one_event() -> None:
    world = a_world()
    key = next(k for k, c in world.cells("units").items() if c.value)
    cell = world.store._cells[key]
    cell.value += Decimal("1e-12")

    found = audited(world)

    assert ([d.key for d in found.differences], found.events) == ([key], 1)


def test_a_lost_cell_and_one_that_no_event_made_are_found() -> None:
    world = a_world()
    lost = world.lose("most")
    made_up = lost._replace(customer="nobody")
    world.store._cells[made_up] = Cell(2, Decimal(7), version=3)

    found = {d.key: (d.stored is None, d.recomputed.events) for d in audited(world).differences}

    assert found[made_up] == (False, 0)
    assert found[lost][0]
    assert len(found) == 2


def test_a_cell_without_events_says_nothing_else() -> None:
    world = a_world()
    nothing = next(iter(world.cells("most")))._replace(customer="nobody")
    world.store._cells[nothing] = Cell(0, Decimal(7), 5, "x", 3)

    assert audited(world).differences == []


def test_a_falsified_stored_event_is_found_in_every_metric_that_counts_it_and_a_lost_one_in_conservation_too() -> None:
    world = a_world()
    offset = next(offset for (_, offset), rows in sorted(world.store._events.items()) if len(rows))
    table = world.store._events[0, offset].table
    world.store._events[0, offset] = StoredEvents(table.filter(pc.not_equal(table["transaction_id"], "e1")))

    found = audited(world).differences

    assert {d.key.metric for d in found} == {*METRICS, CONSERVATION}
    [conserved] = (d for d in found if d.key.metric == CONSERVATION)
    assert conserved.key.groups == ("COUNTED",)
    assert conserved.stored is not None
    assert conserved.stored.events - conserved.recomputed.events == conserved.events == 1


@pytest.mark.parametrize("outcome", ["COUNTED", "UNMATCHED", "QUARANTINED"])
def test_a_falsified_conservation_cell_is_named_by_tenant_hour_and_outcome(outcome: str) -> None:
    world = a_world()
    key = next(k for k in sorted(world.cells(CONSERVATION)) if k.groups == (outcome,))
    world.store._cells[key].events += 3

    [difference] = audited(world).differences

    assert (difference.key, difference.events) == (key, 3)
    assert world.auditor.conservation(0, ALL_HOURS, TENANT).differences == [difference]
    assert world.auditor.conservation(0, ALL_HOURS, "tenant-2").differences == []
    assert world.auditor.conservation(0, (0, key.window_us)).differences == []


def test_what_was_dropped_adds_up_over_all_tenants_together() -> None:
    world = AuditWorld()
    for tenant in (TENANT, "tenant-2"):
        world.send(some_events(0, 5), tenant=tenant)
        world.send(some_events(0, 5), tenant=tenant)
    world.fold()
    assert audited(world).differences == []
    key = next(k for k in sorted(world.cells(CONSERVATION)) if k.groups == (Outcome.DUPLICATE.name,))
    world.store._cells[key].events += 2

    [difference] = audited(world).differences

    assert difference.key == key._replace(tenant=ALL_TENANTS)
    assert (difference.stored, difference.recomputed) == (Cell(12), Cell(10))


def test_a_lost_hour_of_conservation_is_found() -> None:
    world = a_world()
    hour = max(key.window_us for key in world.cells(CONSERVATION))
    for key in [k for k in world.cells(CONSERVATION) if k.window_us == hour]:
        del world.store._cells[key]

    [*found] = audited(world).differences

    assert {d.key.groups for d in found} >= {("COUNTED",), ("UNMATCHED",)}
    assert {d.key.window_us for d in found} == {NOW_US // US_PER_HOUR * US_PER_HOUR}


def test_cells_ahead_of_the_marker_are_audited_as_of_their_own_version() -> None:
    """A flush cut short: events of two records and half of the cells are there, the marker is not."""
    world = AuditWorld()
    world.define("units", "count")
    world.send(some_events(0, 30))
    world.fold()
    marker, before = world.store.markers()[0], world.cells("units")
    for n in range(3):
        world.send(some_events(100 + 30 * n, 30))
        world.fold()
    world.store._markers[0] = marker
    moved = [key for key, cell in world.cells("units").items() if cell.version > marker.offset]
    for key in moved[::2]:
        if key in before:
            world.store._cells[key] = before[key]
        else:
            del world.store._cells[key]

    span = (TENANT, "units", None, SPAN_US)
    assert world.auditor.cells(*span).differences == []

    ahead = moved[1]
    world.store._cells[ahead] = msgspec.structs.replace(world.store._cells[ahead], value=Decimal(-1))
    [difference] = world.auditor.cells(*span).differences
    assert (difference.key, difference.version) == (ahead, world.store._cells[ahead].version)
    assert difference.version > marker.offset


def test_a_metric_whose_control_record_a_partition_has_not_reached_has_no_cells_to_audit_there() -> None:
    world = AuditWorld()
    world.send(some_events(0, 10))
    world.fold()
    marker = world.store.markers()[0]
    world.define("units")
    world.fold()
    filled = world.cells("units")
    world.store._markers[0] = marker
    assert world.auditor.cells(TENANT, "units", None, SPAN_US) == Findings(len(filled), [])

    for key in filled:
        del world.store._cells[key]
    assert world.auditor.cells(TENANT, "units", None, SPAN_US) == Findings(0, [])


def test_only_the_customers_and_windows_asked_for_are_audited() -> None:
    world = a_world()
    key = world.falsify("count", events=99)
    other = "other" if key.customer == "acme" else "acme"
    window_us = (key.window_us, key.window_us + US_PER_HOUR // 4)

    assert world.auditor.cells(TENANT, "count", (other,), SPAN_US).differences == []
    assert world.auditor.cells(TENANT, "count", None, (window_us[1], SPAN_US[1])).differences == []
    found = world.auditor.cells(TENANT, "count", (key.customer,), window_us)
    assert ([d.key for d in found.differences], found.cells) == ([key], 1)


def test_a_flush_written_again_over_a_cell_changes_nothing() -> None:
    world = a_world()
    world.store.flush(Flush((), (), (), frozenset(), world.cells("units"), world.store.markers()[0]))

    assert audited(world).differences == []


@pytest.mark.parametrize("seed", range(10))
def test_whatever_a_flush_leaves_behind_is_no_difference(seed: int) -> None:
    """Owners die in their flushes and zombies write late; an auditor that looks at any moment finds nothing wrong."""
    chance = random.Random(seed)
    store, looks = FaultyStore(chance), 0
    auditor = Auditor(store, 1)

    def look() -> bool:
        nonlocal looks
        looks += 1
        for metric in OWNER_METRICS:
            assert auditor.cells(TENANT, metric.id, None, SPAN_US).differences == []
        if not ahead_of(store.stored_cells(None, CONSERVATION, None, None, None), store.markers()):
            assert auditor.conservation(0, ALL_HOURS).differences == []
        return False

    async def play() -> None:
        await drained(await a_log(chance, records=30), store, look)

    asyncio.run(play())
    store.arrive_late()
    look()

    assert store.faults > 0
    assert looks > 10
