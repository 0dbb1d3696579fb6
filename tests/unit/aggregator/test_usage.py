"""Usage queries: whole windows from cells, ragged ends from stored events, and always one consistent cut."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import Sequence
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

import reference
from builders import TENANT, Body, a_chunk, a_metric_body, a_sum_body, an_event, yesterday
from penstock.aggregator import shapes
from penstock.aggregator.consume import Owner
from penstock.aggregator.metrics import Definition, Metrics
from penstock.aggregator.store.memory import MemoryUsageStore
from penstock.aggregator.usage import UsageService
from penstock.catalog.memory import MemoryCatalog
from penstock.kernel.cell import CellAnswer, CellQuestion
from penstock.kernel.clock import SystemClock
from penstock.kernel.control import Control, encode_control
from penstock.kernel.problems import NotFound, StoreUnavailable
from penstock.kernel.record import Kind, Vector
from penstock.kernel.usage import UsageQuery
from penstock.kernel.window import Span, to_us
from penstock.log.memory import MemoryLog

DAY = yesterday()
NOW_US = to_us(DAY + timedelta(days=1))
GROUPS = [["region"]]
BODIES = {
    "count": a_metric_body("count", group_keys=GROUPS),
    "sum": a_sum_body("units", group_keys=GROUPS),
    "max": a_metric_body("max", "MAX", aggregation_key="units", group_keys=GROUPS),
    "latest": a_metric_body("latest", "LATEST", aggregation_key="units", group_keys=GROUPS),
    "unique": a_metric_body("unique", "UNIQUE", aggregation_key="units", group_keys=GROUPS),
}


class World:
    """A log, an owner, a store and the service over them."""

    def __init__(self, store: MemoryUsageStore | None = None) -> None:
        self.store = store or MemoryUsageStore()
        self.log = MemoryLog(1, clock_us=lambda: NOW_US)
        self.metrics = Metrics(MemoryCatalog(), SystemClock(), self._send)
        self.service = UsageService(self.store, self.metrics, partitions=1)

    def _send(self, control: Control) -> Vector:
        return (asyncio.run(self.log.append(0, Kind.CONTROL, NOW_US, encode_control(control))).offset,)

    def define(self, body: Body) -> str:
        shape = shapes.MetricBody(
            body["name"],
            body["aggregation_type"],
            body.get("aggregation_key"),
            group_keys=body.get("group_keys"),
        )

        def made(metric_id: str, control_id: str, now: Any) -> Definition:
            return Definition(shape.to_metric(metric_id, TENANT), now, control_id, shape.declared_group_keys())

        return self.metrics.create(TENANT, made).metric.id

    def send(self, events: Sequence[Body]) -> None:
        async def play() -> None:
            await self.log.append(0, Kind.CHUNK, NOW_US, a_chunk(events).encode())

        asyncio.run(play())

    def fold(self) -> None:
        async def play() -> None:
            owner = Owner(0, self.log, self.store, retention_us=10**15)
            await owner.restore()
            while await owner.step(0) or await owner.fill():
                pass

        asyncio.run(play())


def some_events(count: int) -> list[Body]:
    chance = random.Random(7)
    return [
        an_event(
            f"e{n}",
            customer_id=chance.choice(["acme", "acme-alias", "other"]),
            at=DAY + timedelta(seconds=chance.randrange(3 * 3600)),
            properties={"units": chance.randrange(20), "region": chance.choice(["eu", "us", None])},
        )
        for n in range(count)
    ]


def ask(metric: str, *spans: Span, **fields: Any) -> UsageQuery:
    return UsageQuery(TENANT, metric, ("acme", "acme-alias"), spans, **fields)


@pytest.mark.parametrize("kind", BODIES)
def test_spans_that_end_inside_windows_are_exact(kind: str) -> None:
    world = World()
    metric = world.define(BODIES[kind])
    events = some_events(400)
    world.send(events)
    world.fold()
    edges = [DAY + timedelta(minutes=m, seconds=s) for m, s in ((0, 0), (7, 3), (7, 30), (31, 0), (60, 0), (179, 59))]
    spans = [Span(a, b) for a, b in itertools.pairwise(edges)]

    [answer] = world.service.usage(ask(metric, *spans, group_by=("region",)))

    naive = {}
    for span in spans:
        within = [e for e in events if span.start <= reference.instant(e["timestamp"]) < span.end]
        held = [e for e in within if e["customer_id"] != "other"]
        for region in ("eu", "us", None):
            of_region = [e for e in held if e["properties"]["region"] == region]
            if of_region:
                naive[span, region] = reference.aggregate(BODIES[kind], of_region)[0]
    assert {(row.span, row.groups[0]): row.value for row in answer.rows} == naive


def test_a_gap_between_spans_is_not_counted() -> None:
    world = World()
    metric = world.define(BODIES["count"])
    world.send([an_event(f"e{h}", at=DAY + timedelta(hours=h)) for h in range(4)])
    world.fold()
    first, last = (Span(DAY + timedelta(hours=h), DAY + timedelta(hours=h + 1)) for h in (0, 3))

    [answer] = world.service.usage(ask(metric, first, last))

    assert [(row.span, row.value) for row in answer.rows] == [(first, Decimal(1)), (last, Decimal(1))]


def test_several_questions_have_one_vector() -> None:
    world = World()
    metrics = [world.define(BODIES[kind]) for kind in ("count", "sum")]
    world.send([an_event("a", properties={"units": 2})])
    world.fold()
    day = Span(DAY, DAY + timedelta(days=1))

    answers = world.service.usage(*(ask(metric, day) for metric in metrics))

    assert [answer.vector for answer in answers] == [(2,), (2,)]
    assert [row.value for answer in answers for row in answer.rows] == [1, 2]


def test_what_came_after_an_archive_counts_in_no_span_ragged_or_whole() -> None:
    world = World()
    metric = world.define(BODIES["count"])
    world.send([an_event("a", at=DAY + timedelta(minutes=1))])
    world.metrics.archive(TENANT, metric)
    world.send([an_event("b", at=DAY + timedelta(minutes=1))])
    world.fold()

    answers = world.service.usage(*(ask(metric, Span(DAY, DAY + timedelta(minutes=m))) for m in (14, 15)))

    assert [row.value for answer in answers for row in answer.rows] == [1, 1]


class FlushingStore(MemoryUsageStore):
    """A store whose marker is read before a flush and whose cells after it, the first time it is asked."""

    def __init__(self) -> None:
        super().__init__()
        self.world: World | None = None

    def read_cells(self, question: CellQuestion) -> CellAnswer:
        if self.world is not None:
            world, self.world = self.world, None
            world.fold()
        return super().read_cells(question)


def test_cells_ahead_of_the_marker_are_read_again_so_that_figures_are_one_cut() -> None:
    store = FlushingStore()
    world = World(store)
    metric = world.define(BODIES["sum"])
    world.fold()
    world.send([an_event("a", properties={"units": 2})])
    store.world = world

    [answer] = world.service.usage(ask(metric, Span(DAY, DAY + timedelta(days=1))))

    assert ([row.value for row in answer.rows], answer.vector) == ([Decimal(2)], (1,))


def test_which_groups_are_the_greatest_and_their_figures_are_of_one_cut() -> None:
    """A flush comes between the read that ranks and the read of the figures: both are made again."""

    class FlushingBetween(FlushingStore):
        def read_cells(self, question: CellQuestion) -> CellAnswer:
            return super().read_cells(question) if question.kept else MemoryUsageStore.read_cells(self, question)

    store = FlushingBetween()
    world = World(store)
    metric = world.define(BODIES["sum"])
    world.send([an_event("a", properties={"units": 2, "region": "eu"})])
    world.fold()
    world.send([an_event("b", properties={"units": 8, "region": "us"})])
    store.world = world

    [answer] = world.service.usage(
        ask(metric, Span(DAY, DAY + timedelta(days=1)), group_by=("region",), top=1, rest=True)
    )

    assert [row.value for row in answer.rows] == [8, 2]
    assert [(row.groups, row.is_rest) for row in answer.rows] == [(("us",), False), ((), True)]
    assert answer.vector == (2,)


def test_a_metric_has_no_figures_before_it_is_in_force(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("penstock.aggregator.usage.FILL_WAIT_MS", 0)
    world = World()
    world.send([an_event("a")])
    metric = world.define(BODIES["count"])
    day = Span(DAY, DAY + timedelta(days=1))

    with pytest.raises(StoreUnavailable, match="still being filled"):
        world.service.usage(ask(metric, day))

    world.fold()
    [answer] = world.service.usage(ask(metric, day))
    assert [row.value for row in answer.rows] == [1]


def test_an_unknown_metric_or_group_key_is_not_found() -> None:
    world = World()
    metric = world.define(BODIES["count"])
    world.fold()
    day = Span(DAY, DAY + timedelta(days=1))

    with pytest.raises(NotFound, match="no billable metric nope"):
        world.service.usage(ask("nope", day))
    with pytest.raises(NotFound, match="no group key color"):
        world.service.usage(ask(metric, day, group_by=("color",)))
