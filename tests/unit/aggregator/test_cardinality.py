"""Bounded cardinality: what is let in is a function of the log, readers refuse by name, and nothing else changes."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from datetime import datetime, timedelta
from hashlib import blake2b
from typing import Any

import msgspec
import pytest

from builders import TENANT, Body, a_chunk, a_metric, a_metric_body, a_sum_body, an_event, yesterday
from penstock.aggregator.auditor import Auditor
from penstock.aggregator.cardinality import CardinalityWatch
from penstock.aggregator.consume import Owner
from penstock.aggregator.metrics import Definition, Metrics
from penstock.aggregator.rebuild import from_events, from_log
from penstock.aggregator.store.memory import MemoryUsageStore
from penstock.aggregator.usage import UsageService
from penstock.aggregator.usage_cache import UsageCache
from penstock.catalog.memory import MemoryCatalog
from penstock.kernel.cell import COMBINATIONS, CONSERVATION, CellKey
from penstock.kernel.chunk import Chunk
from penstock.kernel.clock import SystemClock
from penstock.kernel.control import Control, MetricDefined, decode_control, encode_control
from penstock.kernel.problems import CardinalityExceeded
from penstock.kernel.record import Kind, Vector
from penstock.kernel.usage import UsageQuery
from penstock.kernel.window import Span, to_us
from penstock.log.memory import MemoryLog
from unit.aggregator.test_owner import FaultyStore, drained

DAY = yesterday()
NOW_US = to_us(DAY + timedelta(days=1))
EARLIER = DAY - timedelta(days=1)
WHOLE_DAY = Span(DAY, DAY + timedelta(days=1))
GROUPS = [["region"]]
LIMIT = 2


def limited(metric_id: str, body: Body, limit: int = LIMIT) -> Any:
    return msgspec.structs.replace(a_metric(metric_id, body), group_combinations_max=limit)


class World:
    """A log of some partitions, owners, and the service and auditor over their store."""

    def __init__(self, partitions: int = 1) -> None:
        self.store = MemoryUsageStore()
        self.log = MemoryLog(partitions, clock_us=lambda: NOW_US)
        self.metrics = Metrics(MemoryCatalog(), SystemClock(), self._send)
        self.service = UsageService(self.store, self.metrics, partitions, UsageCache(2**20))
        self.auditor = Auditor(self.store, partitions)

    def _append(self, partition: int, kind: Kind, payload: bytes) -> int:
        return asyncio.run(self.log.append(partition, kind, NOW_US, payload)).offset

    def _send(self, control: Control) -> Vector:
        payload = encode_control(control)
        return tuple(self._append(p, Kind.CONTROL, payload) for p in range(self.log.identity.partitions))

    def define(self, body: Body, limit: int = LIMIT) -> str:
        def made(metric_id: str, control_id: str, now: datetime) -> Definition:
            return Definition(limited(metric_id, body, limit), now, control_id, tuple(map(tuple, GROUPS)))

        return self.metrics.create(TENANT, made).metric.id

    def raise_limit(self, metric_id: str, limit: int) -> None:
        def change(held: Definition) -> Definition:
            metric = msgspec.structs.replace(held.metric, group_combinations_max=limit)
            return msgspec.structs.replace(held, metric=metric)

        self.metrics.revise(TENANT, metric_id, change)

    def send(self, *regions: str | None, partition: int = 0, **fields: Any) -> None:
        """One record with an event of one unit for each region."""
        events = [
            an_event(f"{partition}-{len(self.log_of(partition))}-{n}", properties={"units": 1, "region": r}, **fields)
            for n, r in enumerate(regions)
        ]
        self._append(partition, Kind.CHUNK, a_chunk(events).encode())

    def log_of(self, partition: int) -> Sequence[Any]:
        return asyncio.run(self.log.read(partition, 0, 2**30, 0))

    def fold(self) -> None:
        async def play() -> None:
            for partition in range(self.log.identity.partitions):
                owner = Owner(partition, self.log, self.store, retention_us=10**15)
                await owner.restore()
                while await owner.step(0) or await owner.fill():
                    pass

        asyncio.run(play())

    def units(self, metric: str, span: Span = WHOLE_DAY, by: tuple[str, ...] = ()) -> dict[tuple[str | None, ...], int]:
        [answer] = self.service.usage(UsageQuery(TENANT, metric, ("acme",), (span,), by))
        return {row.groups: int(row.value or 0) for row in answer.rows}

    def refusal(self, metric: str, span: Span = WHOLE_DAY) -> str:
        with pytest.raises(CardinalityExceeded) as refused:
            self.units(metric, span)
        return refused.value.detail

    def cells(self, metric: str) -> set[CellKey]:
        return set(self.store.stored_cells(None, metric, None, None, None))


SUM = a_sum_body("units", group_keys=GROUPS)


def test_a_metric_answers_up_to_its_limit_and_one_combination_more_is_refused_by_name() -> None:
    world = World()
    metric = world.define(SUM)
    world.send("eu", "us", "eu")
    world.fold()
    at_the_limit = world.units(metric, by=("region",))
    world.send("asia")
    world.fold()

    assert at_the_limit == {("eu",): 2, ("us",): 1}
    detail = world.refusal(metric)
    assert detail.startswith(
        f"billable metric {metric} has more than 2 group combinations on {DAY.date()}, so it has no"
    )
    assert "group_combinations_max" in detail


def test_only_spans_that_touch_the_day_are_refused() -> None:
    world = World()
    metric = world.define(SUM)
    world.send("eu", "us", "asia")
    world.send("eu", at=EARLIER + timedelta(hours=5))
    world.fold()

    assert world.units(metric, Span(EARLIER, DAY)) == {(): 1}
    world.refusal(metric, Span(EARLIER, DAY + timedelta(microseconds=1)))
    world.refusal(metric, Span(DAY + timedelta(hours=23, minutes=59, seconds=59), WHOLE_DAY.end))


def test_a_level_that_was_changed_on_an_exceeded_day_is_refused_on_every_later_one() -> None:
    world = World()
    metric = world.define(a_metric_body("seats", "TIME_WEIGHTED_SUM", aggregation_key="units", group_keys=GROUPS))
    world.send("eu", "us", "asia", at=EARLIER)
    world.fold()

    assert str(EARLIER.date()) in world.refusal(metric)


def test_combinations_are_united_over_partitions() -> None:
    world = World(partitions=3)
    metric = world.define(SUM)
    for partition, region in enumerate(("eu", "us", "eu")):
        world.send(region, partition=partition)
    world.fold()
    same = world.units(metric)
    world.send("asia", partition=2)
    world.fold()

    assert same == {(): 3}
    world.refusal(metric)


def test_customers_windows_values_and_days_are_no_combinations() -> None:
    world = World()
    metrics = [
        world.define(SUM),
        world.define(a_metric_body("ids", "UNIQUE", aggregation_key="id", group_keys=GROUPS)),
        world.define(a_sum_body("units"), limit=1),
    ]
    for n in range(5):
        event = {"properties": {"units": 1, "region": "eu", "id": f"id-{n}"}}
        events = [
            an_event(f"e{n}", at=DAY + timedelta(hours=n), **event),
            an_event(f"o{n}", customer_id=f"c{n}", **event),
        ]
        world._append(0, Kind.CHUNK, a_chunk(events).encode())
        world.send(f"of day {n}", at=EARLIER - timedelta(days=n))
    world.fold()

    assert [world.units(metric) for metric in metrics] == [{(): 5}] * 3


def test_beyond_the_limit_no_cells_are_written_and_every_event_is_stored_and_counted() -> None:
    world = World()
    metric = world.define(SUM)
    for n in range(20):
        world.send(*(f"region {n}-{m}" for m in range(5)))
    world.fold()

    assert len({key.groups for key in world.cells(metric)}) == len(world.cells(COMBINATIONS)) == LIMIT + 1
    outcomes = world.store.stored_cells(None, CONSERVATION, None, None, None)
    assert {key.groups[0]: cell.events for key, cell in outcomes.items()} == {"COUNTED": 100}
    assert sum(map(len, world.store.read_events(TENANT, None, None, (10**6,), None))) == 100


def test_a_kept_answer_is_refused_once_another_customer_exceeds_the_day() -> None:
    world = World()
    metric = world.define(SUM)
    world.send("eu")
    world.fold()
    before = world.units(metric)
    world.send("us", "asia", customer_id="other")
    world.fold()

    assert before == {(): 1}
    world.refusal(metric)


def test_a_revision_with_a_higher_limit_answers_with_every_event() -> None:
    world = World()
    metric = world.define(SUM)
    world.send("eu", "us", "asia", "eu")
    world.send("africa")
    world.fold()
    world.refusal(metric)
    world.raise_limit(metric, 4)
    world.fold()

    assert world.units(metric, by=("region",)) == {("africa",): 1, ("asia",): 1, ("eu",): 2, ("us",): 1}
    world.send("arctic")
    world.fold()
    world.refusal(metric)


@pytest.mark.parametrize("before", [("eu", "us", "asia", "africa"), ("eu", "us"), ("eu",)])
def test_what_a_fill_counts_is_united_with_what_comes_after(before: tuple[str, ...]) -> None:
    world = World()
    world.send(*before)
    metric = world.define(SUM)
    world.fold()
    if len(before) <= LIMIT:
        assert world.units(metric) == {(): len(before)}
    world.send("us", "arctic")
    world.fold()

    world.refusal(metric)


def test_the_auditor_excuses_what_is_beyond_the_limit_and_nothing_else() -> None:
    world = World()
    world.send("eu", "arctic")
    metric = world.define(SUM)
    for n in range(10):
        world.send(f"region {n}", "eu")
    world.fold()
    span_us = (to_us(DAY), to_us(WHOLE_DAY.end))
    honest = world.auditor.cells(TENANT, metric, None, span_us)
    let_in = next(key for key in world.cells(metric) if key.groups == ("eu",))
    world.store._cells[let_in].events += 1
    falsified = world.auditor.cells(TENANT, metric, None, span_us)

    assert honest.differences == []
    assert [difference.key for difference in falsified.differences] == [let_in]


def test_a_rebuild_agrees_with_a_partition_that_has_an_exceeded_day() -> None:
    world = World()
    world.send("eu", "arctic")
    world.define(SUM)
    for n in range(10):
        world.send(f"region {n}", "eu")
    world.fold()

    assert asyncio.run(from_log(world.store, world.log, 0)).differences == []
    assert from_events(world.store, 0).differences == []


def test_the_watch_names_an_exceeded_metric_and_tells_the_log_once(caplog: pytest.LogCaptureFixture) -> None:
    world = World()
    exceeded, fine = world.define(SUM), world.define(SUM, limit=3)
    watch = CardinalityWatch(world.store, world.metrics, SystemClock())
    watch.look()
    before = dict(watch.exceeded)
    world.send("eu", "us", "asia")
    world.fold()
    watch.look()
    watch.look()

    assert before == {}
    assert watch.exceeded == {(TENANT, exceeded): 1}
    [told] = [record.getMessage() for record in caplog.records if "too many group combinations" in record.getMessage()]
    assert exceeded in told
    assert fine not in told


async def a_log(chance: random.Random) -> MemoryLog:
    """Two metrics, each defined somewhere on the way, and records of many regions, of two event types."""
    log = MemoryLog(1, clock_us=lambda: NOW_US)
    bodies = [SUM, a_metric_body("ids", "UNIQUE", aggregation_key="units", group_keys=GROUPS, event_type_filter=None)]
    define_at = dict(zip(chance.sample(range(15), 2), bodies, strict=True))
    for n in range(30):
        if n in define_at:
            metric = limited(f"metric-{n}", define_at[n], limit=3)
            await log.append(0, Kind.CONTROL, NOW_US, encode_control(MetricDefined(metric.id, metric.id, 0, metric)))
        events = [
            an_event(
                f"e{n}-{m}",
                at=DAY + timedelta(hours=6 * chance.randrange(8)),
                event_type=chance.choice(["llm_call", "other"]),
                properties={"units": chance.randrange(3), "region": chance.choice("abcdefgh"[: 2 + n // 4])},
            )
            for m in range(chance.randrange(5))
        ]
        await log.append(0, Kind.CHUNK, NOW_US, a_chunk(events).encode())
    return log


@pytest.mark.parametrize("step", ["step", "step_ahead"])
@pytest.mark.parametrize("seed", range(6))
def test_whatever_fails_the_same_combinations_are_let_in(seed: int, step: str, monkeypatch: pytest.MonkeyPatch) -> None:
    chance = random.Random(seed)
    monkeypatch.setattr("penstock.aggregator.fold.WHOLE_EVENTS_MIN", chance.choice([1, 100]))
    monkeypatch.setattr("penstock.aggregator.consume.CELLS_MAX", chance.choice([1, 1_000]))

    def disturb() -> bool:
        monkeypatch.setattr("penstock.aggregator.consume.READ_BYTES_MAX", chance.choice([1, 3_000, 20_000]))
        return chance.random() < 0.05

    async def play() -> tuple[MemoryLog, MemoryUsageStore, FaultyStore]:
        log = await a_log(chance)
        calm, faulty = MemoryUsageStore(), FaultyStore(chance)
        await drained(log, calm)
        await drained(log, faulty, disturb, step)
        faulty.arrive_late()
        return log, calm, faulty

    log, calm, faulty = asyncio.run(play())

    assert faulty.faults > 0
    assert faulty._cells == calm._cells
    folded = {(k.customer, k.window_us, k.member): c.version for k, c in calm._cells.items() if _is_folded(k)}
    assert folded == first_in_the_log(log, limit=3)


def _is_folded(key: CellKey) -> bool:
    return key.metric == COMBINATIONS and len(key.groups) == 1


def first_in_the_log(log: MemoryLog, limit: int) -> dict[tuple[str, int, str], int]:
    """By metric and day the first combinations, event by event: of one record in the order of their hashes."""
    metrics: dict[str, Any] = {}
    found: dict[tuple[str, int], dict[str, int]] = {}
    for record in asyncio.run(log.read(0, 0, 2**30, 0)):
        if record.kind is Kind.CONTROL:
            control = decode_control(record.payload)
            assert isinstance(control, MetricDefined)
            metrics[control.metric.id] = control.metric
            continue
        chunk = Chunk.decode(record.payload)
        types, names = chunk.codes("event_type")
        new: set[tuple[str, str, int]] = set()
        for time_us, code, properties in zip(chunk.times_us.tolist(), types.tolist(), chunk.properties, strict=True):
            groups = [msgspec.json.decode(properties)["region"]]
            member = blake2b(msgspec.json.encode(groups), digest_size=16).hexdigest()
            day = time_us // 86_400_000_000 * 86_400_000_000
            new.update((member, m.id, day) for m in metrics.values() if m.event_types.matches(names[code]))
        for member, metric_id, day in sorted(new):
            held = found.setdefault((metric_id, day), {})
            if len(held) <= limit:
                held.setdefault(member, record.offset)
    return {(*at, member): offset for at, held in found.items() for member, offset in held.items()}
