"""A metric that comes after its events is filled beside the fold: where a fill goes on, and where it ends.

The simulation has owners that fill while events flow and everything fails; here is what it does not show by itself.
"""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

import reference
from builders import a_chunk, a_metric, a_sum_body, an_event, yesterday
from penstock.aggregator.consume import Owner
from penstock.aggregator.fill_job import US_PER_HOUR, stretches
from penstock.aggregator.store.memory import MemoryUsageStore
from penstock.kernel.cell import FILLED_US
from penstock.kernel.control import MetricArchived, MetricDefined, encode_control
from penstock.kernel.ports.usage_store import UsageStore
from penstock.kernel.problems import StoreUnavailable
from penstock.kernel.record import Kind
from penstock.kernel.window import from_us, to_us
from penstock.log.memory import MemoryLog

DAY = yesterday()
NOW_US = to_us(DAY + timedelta(days=1))
BODY = a_sum_body("units", group_keys=[["region"]])


class World:
    """A log of one partition whose metric is defined among its events."""

    def __init__(self) -> None:
        self.log = MemoryLog(1, clock_us=lambda: NOW_US)
        self.store = MemoryUsageStore()
        self.sent: list[dict[str, Any]] = []

    async def send(self, count: int) -> None:
        events = [
            an_event(
                f"e{n}",
                at=DAY + timedelta(minutes=7 * n),
                properties={"units": n, "region": "eu" if n % 3 else None},
            )
            for n in range(len(self.sent), len(self.sent) + count)
        ]
        self.sent += events
        await self.log.append(0, Kind.CHUNK, NOW_US, a_chunk(events).encode())

    async def define(self) -> None:
        control = encode_control(MetricDefined("define-units", "units", 0, a_metric("units", BODY)))
        await self.log.append(0, Kind.CONTROL, NOW_US, control)

    def owner(self, store: UsageStore | None = None) -> Owner:
        return Owner(0, self.log, store or self.store, retention_us=10**15)

    async def folded(self) -> Owner:
        """An owner that has folded all there is, and filled nothing."""
        owner = self.owner()
        await owner.restore()
        while await owner.step(0):
            pass
        return owner

    def figures(self) -> dict[Any, Any]:
        """In the shape of the reference's table: by quarter of an hour and groups."""
        cells = self.store.stored_cells(None, "units", None, None, 0)
        return {(from_us(key.window_us), key.groups): cell.value for key, cell in cells.items()}


def expected(sent: list[dict[str, Any]]) -> dict[Any, Any]:
    return reference.usage(BODY, sent, DAY, DAY + timedelta(days=1), "QUARTER", reference.group_names(BODY))


def test_a_metric_that_is_archived_before_it_is_filled_keeps_what_came_before() -> None:
    async def archived() -> tuple[World, list[dict[str, Any]]]:
        world = World()
        await world.send(20)
        await world.define()
        await world.log.append(0, Kind.CONTROL, NOW_US, encode_control(MetricArchived("end", "units", 1, "units")))
        counted = list(world.sent)
        await world.send(20)
        owner = await world.folded()
        while await owner.fill():
            pass
        return world, counted

    world, counted = asyncio.run(archived())

    assert world.figures() == expected(counted)


def test_a_job_goes_on_where_another_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("penstock.aggregator.fill_job.EVENTS_PER_BATCH", 1)

    async def begun() -> tuple[World, list[int]]:
        world = World()
        await world.send(40)
        await world.define()
        reached = []
        for _ in range(2):
            owner = await world.folded()
            await owner.fill()
            reached.append(world.store.fills(0)[0, "units"])
        return world, reached

    world, reached = asyncio.run(begun())

    assert reached[0] < reached[1] < FILLED_US
    cells = world.store.stored_cells(None, "units", None, None, 0)
    assert len({key.window_us // US_PER_HOUR for key in cells}) == 2


def test_a_fill_that_a_restart_cut_short_goes_on_although_nothing_new_is_defined() -> None:
    async def restarted() -> World:
        loop, filled = asyncio.get_running_loop(), asyncio.Event()

        class Told(MemoryUsageStore):
            def write_fill(self, *args: Any) -> None:
                super().write_fill(*args)
                loop.call_soon_threadsafe(filled.set)

        world = World()
        world.store = Told()
        await world.send(20)
        await world.define()
        await world.folded()  # and this owner ends before it fills
        owner = world.owner()
        running = asyncio.create_task(owner.run())
        await asyncio.wait_for(filled.wait(), 30)
        owner.stop()
        await running
        return world

    world = asyncio.run(restarted())

    assert world.store.fills(0) == {(0, "units"): FILLED_US}
    assert world.figures() == expected(world.sent)


def test_hours_are_joined_up_to_a_batch_and_those_done_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("penstock.aggregator.fill_job.EVENTS_PER_BATCH", 10)
    hours = [(n * US_PER_HOUR, events) for n, events in ((1, 4), (2, 6), (5, 1), (6, 30), (7, 2))]

    assert stretches(hours, 0) == [
        (1 * US_PER_HOUR, 3 * US_PER_HOUR),
        (5 * US_PER_HOUR, 6 * US_PER_HOUR),
        (6 * US_PER_HOUR, 7 * US_PER_HOUR),
        (7 * US_PER_HOUR, 8 * US_PER_HOUR),
    ]
    assert stretches(hours, 6 * US_PER_HOUR) == stretches(hours, 0)[2:]
    assert stretches(hours, FILLED_US) == []


def test_folding_goes_on_while_the_job_waits_for_the_store() -> None:
    class Unanswering(MemoryUsageStore):
        def write_fill(self, *_: object) -> None:
            raise StoreUnavailable("no answer")

    async def run() -> int:
        world = World()
        await world.send(5)
        await world.define()
        await world.send(5)
        owner = world.owner(Unanswering())
        owner.stop()  # it returns when it has folded what the log holds
        await owner.run()
        return owner.offset

    assert asyncio.run(run()) == 2
