"""A metric that comes after its events is filled beside the fold: whatever fails, whoever else does the same.

Owners fold on while the job writes; the figures are those of the reference model, to the last digit.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

import reference
from builders import a_chunk, a_metric, a_metric_body, a_sum_body, an_event, yesterday
from penstock.aggregator import consume
from penstock.aggregator.consume import Owner
from penstock.aggregator.fill_job import US_PER_HOUR, FillJob, stretches
from penstock.aggregator.store.memory import MemoryUsageStore
from penstock.kernel.cell import FILLED_US, Cell, CellKey, merge
from penstock.kernel.control import MetricArchived, MetricDefined, encode_control
from penstock.kernel.meter import Aggregation
from penstock.kernel.ports import Flush, UsageStore
from penstock.kernel.problems import StoreUnavailable
from penstock.kernel.quantity import exact
from penstock.kernel.record import Kind
from penstock.kernel.window import from_us, to_us
from penstock.log.memory import MemoryLog

DAY = yesterday()
NOW_US = to_us(DAY + timedelta(days=1))
GROUPS = [["region"]]
BODIES = {
    "units": a_sum_body("units", group_keys=GROUPS),
    "least": a_metric_body("least", "MIN", aggregation_key="units"),
    "last": a_metric_body("last", "LATEST", aggregation_key="units", group_keys=GROUPS),
    "regions": a_metric_body("regions", "UNIQUE", aggregation_key="region"),
    "level": a_metric_body("level", "TIME_WEIGHTED_SUM", aggregation_key="units"),
}


class Died(Exception):
    """Where the process ended."""


class FaultyStore(MemoryUsageStore):
    """A store in which whatever is written may be cut short at any step, then die, fail, or come late."""

    def __init__(self, chance: random.Random, fault_share: float) -> None:
        super().__init__()
        self._chance, self._fault_share = chance, fault_share
        self.faults = 0
        self.late: list[tuple[int, str, Mapping[CellKey, Cell], int]] = []

    def flush(self, flush: Flush) -> None:
        if self._chance.random() < self._fault_share / 3:
            raise StoreUnavailable("no answer")
        super().flush(flush)

    def write_fill(self, partition: int, metric: str, cells: Mapping[CellKey, Cell], through_us: int) -> None:
        if self._chance.random() >= self._fault_share:
            super().write_fill(partition, metric, cells, through_us)
            return
        self.faults += 1
        step = self._chance.choice(["late", "some cells", "all cells", "all"])
        if step == "late":
            self.late.append((partition, metric, dict(cells), through_us))
        elif step == "all":
            super().write_fill(partition, metric, cells, through_us)
        else:
            share = self._chance.random() if step == "some cells" else 1
            self._put({key: cell for key, cell in cells.items() if self._chance.random() <= share})
        raise self._chance.choice([StoreUnavailable("no answer"), Died()])


class World:
    """A log whose metrics are defined among its events; owners that share its one partition, and take turns."""

    def __init__(self, seed: int, fault_share: float) -> None:
        self.chance = random.Random(seed)
        self.log = MemoryLog(1, clock_us=lambda: NOW_US)
        self.store = FaultyStore(self.chance, fault_share)
        self.sent: list[dict[str, Any]] = []
        self._owners: list[Owner | None] = [None, None]

    async def send(self, count: int) -> None:
        events = [
            an_event(
                f"e{len(self.sent) + n}",
                at=DAY + timedelta(minutes=7 * self.chance.randrange(40)),
                properties={
                    "units": Decimal(self.chance.randrange(-50, 50)) / 4,
                    "region": self.chance.choice(["eu", "us", None]),
                },
            )
            for n in range(count)
        ]
        self.sent += events
        await self.log.append(0, Kind.CHUNK, NOW_US, a_chunk(events).encode())

    async def define(self, name: str) -> None:
        control = encode_control(MetricDefined(f"define-{name}", name, 0, a_metric(name, BODIES[name])))
        await self.log.append(0, Kind.CONTROL, NOW_US, control)

    async def act(self, at: int) -> bool:
        """One owner starts, folds on or fills on; return whether it had anything to do."""
        try:
            owner = self._owners[at]
            if owner is None:
                owner = self._owners[at] = Owner(0, self.log, self.store, retention_us=10**15)
                await owner.restore()
                return True
            if self.chance.random() < 0.5:
                return await owner.fill() or bool(await owner.step_ahead(0))
            return bool(await owner.step_ahead(0)) or await owner.fill()
        except (StoreUnavailable, Died):
            self._owners[at] = None
            return True

    async def settle(self) -> None:
        for at in (0, 1):
            while await self.act(at):
                pass

    def figures(self, name: str) -> dict[Any, Decimal]:
        return figures_of(name, self.store._cells)


@exact
def figures_of(name: str, cells: Mapping[CellKey, Cell]) -> dict[Any, Decimal]:
    """In the shape of the reference's table: by quarter of an hour and groups."""
    kind = a_metric(name, BODIES[name]).aggregation
    merged: dict[Any, Cell] = {}
    for key, cell in cells.items():
        if key.metric == name and cell.events:
            one = Cell(events=1) if kind is Aggregation.UNIQUE else cell
            merge(kind, merged.setdefault((from_us(key.window_us), key.groups), Cell()), one)
    is_counted = kind is Aggregation.UNIQUE
    return {place: Decimal(cell.events) if is_counted else cell.value for place, cell in merged.items()}


def expected(name: str, sent: list[dict[str, Any]]) -> dict[Any, Any]:
    body = BODIES[name]
    return reference.usage(body, sent, DAY, DAY + timedelta(days=1), "QUARTER", reference.group_names(body))


async def play(world: World) -> None:
    """Events and definitions come in turn; owners do a little in between, so that fills run while events flow."""
    names = world.chance.sample(sorted(BODIES), len(BODIES))
    for n in range(25):
        await world.send(world.chance.randrange(1, 5))
        if n % 4 == 2 and names:
            await world.define(names.pop())
        for _ in range(world.chance.randrange(4)):
            await world.act(world.chance.randrange(2))
    for late in world.store.late:  # of jobs that were thought dead
        MemoryUsageStore.write_fill(world.store, *late)
    await world.settle()


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Little is enough: batches of an event or two, a step of a record, cells that are forgotten at once."""
    monkeypatch.setattr("penstock.aggregator.fill_job.EVENTS_PER_BATCH", 2)
    monkeypatch.setattr(consume, "RECORDS_PER_STEP_MAX", 2)
    monkeypatch.setattr(consume, "CELLS_MAX", 3)


@pytest.mark.parametrize("seed", range(0, 24, 3))
@pytest.mark.usefixtures("small")
def test_whatever_fails_while_events_flow_the_figures_are_those_of_the_reference(seed: int) -> None:
    worlds = [World(seed + n, fault_share) for n, fault_share in enumerate((0, 0.2, 0.5))]

    for world in worlds:
        asyncio.run(play(world))

        assert {name: world.figures(name) for name in BODIES} == {name: expected(name, world.sent) for name in BODIES}
        assert world.store.fills(None) == {(0, name): FILLED_US for name in BODIES}
    assert sum(world.store.faults for world in worlds)  # threads take turns as they like: one world may be lucky


def is_caught(fault_share: float) -> bool:
    """Whether one of the first seeds gives figures that are not the reference's."""
    for seed in range(5):
        world = World(seed, fault_share)
        asyncio.run(play(world))
        if any(world.figures(name) != expected(name, world.sent) for name in BODIES):
            return True
    return False


class MergingJob(FillJob):
    """What must not be done: history is added to whatever the cell is by then."""

    def __init__(self, store: UsageStore) -> None:
        super().__init__(_Merging(store))


class _Merging:
    def __init__(self, store: UsageStore) -> None:
        self._store = store

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    @exact
    def write_fill(self, partition: int, metric: str, cells: Mapping[CellKey, Cell], through_us: int) -> None:
        live = self._store.load_cells(list(cells))
        for key, cell in cells.items():
            merge(a_metric(metric, BODIES[metric]).aggregation, live.setdefault(key, Cell()), cell)
        self._store.write_fill(partition, metric, live, through_us)


@pytest.mark.usefixtures("small")
def test_a_fill_that_is_merged_into_live_cells_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(consume, "FillJob", MergingJob)
    monkeypatch.setattr(consume, "bases", lambda store, fillings, keys: {})

    assert is_caught(fault_share=0.2)


@pytest.mark.usefixtures("small")
def test_an_absent_cell_that_is_taken_for_zero_before_the_fill_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(consume, "bases", lambda store, fillings, keys: {})

    assert is_caught(fault_share=0)


def test_a_metric_that_is_archived_before_it_is_filled_keeps_what_came_before() -> None:
    async def archived() -> World:
        world = World(0, fault_share=0)
        await world.send(20)
        await world.define("units")
        await world.log.append(0, Kind.CONTROL, NOW_US, encode_control(MetricArchived("end", "units", 1, "units")))
        counted = list(world.sent)
        await world.send(20)
        await world.settle()
        world.sent = counted
        return world

    world = asyncio.run(archived())

    assert world.figures("units") == expected("units", world.sent)


def test_a_job_goes_on_where_another_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("penstock.aggregator.fill_job.EVENTS_PER_BATCH", 1)

    async def begun() -> tuple[World, list[int]]:
        world = World(0, fault_share=0)
        await world.send(40)
        await world.define("units")
        reached = []
        for _ in range(2):
            owner = Owner(0, world.log, world.store, retention_us=10**15)
            await owner.restore()
            while await owner.step(0):
                pass
            await owner.fill()
            reached.append(world.store.fills(0)[0, "units"])
        return world, reached

    world, reached = asyncio.run(begun())

    assert reached[0] < reached[1] < FILLED_US
    hours = {key.window_us // US_PER_HOUR for key in world.store._cells if key.metric == "units"}
    assert len(hours) == 2


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
        world = World(0, fault_share=0)
        store = Unanswering()
        await world.send(5)
        await world.define("units")
        await world.send(5)
        owner = Owner(0, world.log, store, retention_us=10**15)
        owner.stop()  # it returns when it has folded what the log holds
        await owner.run()
        return owner.offset

    assert asyncio.run(run()) == 2
