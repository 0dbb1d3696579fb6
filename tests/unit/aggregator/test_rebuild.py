"""The rebuild: from the log or from stored events, beside the live cells; a swap mends what differs, and only that."""

from __future__ import annotations

import asyncio
from decimal import Decimal

import pytest

from penstock.aggregator.audit import US_PER_HOUR
from penstock.aggregator.auditor import Findings
from penstock.aggregator.rebuild import NotRebuilt, from_events, from_log, swap
from penstock.kernel.cell import COMBINATIONS, CONSERVATION, Cell, CellKey
from unit.aggregator.audit_world import AuditWorld, some_events


def a_world() -> AuditWorld:
    """Metrics before and after events, one archived, two hours; partition 0 of two."""
    world = AuditWorld(2)
    world.define("units", "regions")
    world.send(some_events(0, 50))
    world.send(some_events(40, 30))
    world.define("last", "most")
    world.now_us += US_PER_HOUR
    world.send(some_events(80, 30))
    world.archive("units")
    world.send(some_events(120, 30))
    world.send(some_events(900, 30), partition=1)
    world.tick()
    world.fold()
    return world


def rebuilt(world: AuditWorld, way: str) -> Findings:
    if way == "events":
        return from_events(world.store, 0)
    return asyncio.run(from_log(world.store, world.log, 0))


def figures(cells: dict[CellKey, Cell]) -> dict[CellKey, tuple[int, Decimal, str]]:
    return {key: (cell.events, cell.value, cell.latest_id) for key, cell in cells.items() if cell.events}


ways = pytest.mark.parametrize("way", ["log", "events"])


@ways
def test_an_honest_partition_is_rebuilt_to_what_it_is(way: str) -> None:
    world = a_world()

    found = rebuilt(world, way)

    held = [k for k in world.store.stored_cells(None, None, None, None, 0) if way == "log" or k.metric != COMBINATIONS]
    assert found == Findings(len(held), [])


@ways
def test_a_swap_mends_what_differs_and_later_records_count_on_top(way: str) -> None:
    world, honest = a_world(), a_world()
    world.falsify("units", events=99, value=Decimal(5))
    world.falsify("last", latest_id="zzz")
    lost = world.lose("most")
    made_up = lost._replace(customer="nobody")
    world.store._cells[made_up] = Cell(2, Decimal(7), version=3)
    world.falsify(CONSERVATION, events=1_000)
    newest = world.lose("regions")  # as of the marker's own record or not: the swap must win

    found = rebuilt(world, way)
    assert len(found.differences) == 6
    assert swap(world.store, 0, found.differences) == 6

    assert figures(world.store.stored_cells(None, None, None, None, 0)) == figures(
        honest.store.stored_cells(None, None, None, None, 0)
    )
    assert world.store._cells[made_up].events == 0
    assert newest in world.store._cells
    for way_after in ("log", "events"):
        assert rebuilt(world, way_after).differences == []
    for each in (world, honest):
        each.send(some_events(300, 30))
        each.fold()
    assert figures(world.store.stored_cells(None, None, None, None, 0)) == figures(
        honest.store.stored_cells(None, None, None, None, 0)
    )


def test_a_swap_wins_over_a_cell_at_the_markers_own_version() -> None:
    world = AuditWorld()
    world.define("count")
    world.send(some_events(0, 10))
    world.fold()
    key = world.falsify("count", events=99)
    assert world.store._cells[key].version == world.store.markers()[0].offset

    swap(world.store, 0, from_events(world.store, 0).differences)

    assert from_events(world.store, 0).differences == []


def test_another_partition_is_left_alone() -> None:
    world = a_world()
    key = next(k for k in world.cells("most") if k.partition == 1)
    world.store._cells[key].events = 99

    for way in ("log", "events"):
        assert rebuilt(world, way).differences == []


def test_a_trimmed_log_is_refused_and_names_the_other_way() -> None:
    world = a_world()
    asyncio.run(world.log.trim(0, 2))

    with pytest.raises(NotRebuilt, match=r"begins at offset 2, not at 0: .*--from-events"):
        rebuilt(world, "log")
    assert rebuilt(world, "events").differences == []


def test_records_that_are_not_folded_yet_are_not_rebuilt() -> None:
    world = a_world()
    world.send(some_events(700, 30))

    assert rebuilt(world, "log").differences == []


@ways
def test_a_flush_that_was_cut_short_is_refused(way: str) -> None:
    world = a_world()
    marker = world.store.markers()[0]
    world.send(some_events(700, 30))
    world.fold()
    world.store._markers[0] = marker

    with pytest.raises(NotRebuilt, match=r"cells of partition 0 are ahead of its marker .* Start the server once"):
        rebuilt(world, way)


@ways
def test_a_partition_that_was_never_folded_is_refused(way: str) -> None:
    with pytest.raises(NotRebuilt, match="partition 0 has no marker"):
        rebuilt(AuditWorld(), way)
