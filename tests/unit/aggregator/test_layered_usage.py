"""Usage while a backfill is in force: base or layer by window and customer, as one cut, kept by what is in force."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from decimal import Decimal

import pytest

from builders import TENANT, Body, a_chunk, a_metric_body, a_sum_body, an_event
from penstock.aggregator.backfills import Backfill, Backfills, State, Wanted
from penstock.aggregator.usage import UsageService
from penstock.aggregator.usage_cache import UsageCache
from penstock.catalog.memory import MemoryCatalog
from penstock.kernel.clock import SystemClock
from penstock.kernel.control import Control
from penstock.kernel.problems import Conflict, LogUnavailable
from penstock.kernel.record import Kind, Vector
from penstock.kernel.window import Span
from unit.aggregator.test_usage import DAY, NOW_US, World, ask

HOUR = timedelta(hours=1)
FIRST = Span(DAY, DAY + HOUR)
WHOLE, RAGGED = Span(DAY, DAY + 3 * HOUR), Span(DAY + timedelta(minutes=52), DAY + timedelta(minutes=67))


class BackfilledWorld(World):
    """With backfills beside the metrics, and answers that are kept."""

    def __init__(self) -> None:
        super().__init__()
        self.backfills = Backfills(MemoryCatalog(), SystemClock(), self._send, lambda: self.service.vector())
        self.hits: list[bool] = []
        cache = UsageCache(2**20, self.hits.append)
        self.service = UsageService(self.store, self.metrics, 1, cache, self.backfills.in_force)

    def backfill(self, events: Sequence[Body], span: Span = FIRST, keys: tuple[str, ...] | None = None) -> Backfill:
        made = self.backfills.create(TENANT, Wanted(span, keys, keys))
        chunk = a_chunk(events, made.layer.scope).encode()
        asyncio.run(self.log.append(0, Kind.CHUNK, NOW_US, chunk))
        return made

    def commit(self, backfill: Backfill) -> None:
        self.backfills.commit(TENANT, backfill.layer.id)
        self.fold()
        self.backfills.settle()

    def values(self, metric: str, *spans: Span) -> list[Decimal | None]:
        [answer] = self.service.usage(ask(metric, *spans))
        found = {row.span: row.value for row in answer.rows}
        return [found.get(span) for span in spans]


def units(name: str, minute: int, units: int, customer: str = "acme") -> Body:
    at = DAY + timedelta(minutes=minute)
    return an_event(name, customer_id=customer, at=at, properties={"units": units})


def a_world() -> tuple[BackfilledWorld, str]:
    """Live: 1 unit within the first hour and 10 behind it."""
    world = BackfilledWorld()
    metric = world.define(a_sum_body("units"))
    world.send([units("a", 55, 1), units("b", 65, 10)])
    return world, metric


def test_nothing_is_seen_of_a_backfill_until_every_marker_has_passed_its_commit() -> None:
    world, metric = a_world()
    made = world.backfill([units("x", 53, 100)])
    world.fold()
    seen = [world.values(metric, WHOLE)]
    world.backfills.commit(TENANT, made.layer.id)
    world.backfills.settle()  # the owner has not come to the commit
    seen.append(world.values(metric, WHOLE))
    world.fold()
    seen.append(world.values(metric, WHOLE))
    world.backfills.settle()

    assert seen == [[11], [11], [11]]
    assert world.values(metric, WHOLE) == [110]
    assert world.backfills.find(TENANT, made.layer.id).state is State.COMMITTED


def test_parts_of_windows_are_read_from_what_is_in_force_there() -> None:
    world, metric = a_world()
    world.commit(world.backfill([units("x", 53, 100), units("y", 50, 1_000)]))
    world.send([units("c", 54, 7)])
    world.fold()

    assert world.values(metric, RAGGED) == [117]


@pytest.mark.parametrize("kind", ["TIME_WEIGHTED_SUM", "SUM"])
def test_a_level_before_the_span_is_that_of_the_layer(kind: str) -> None:
    world, _ = a_world()
    metric = world.define(a_metric_body("seats", kind, aggregation_key="units"))
    world.commit(world.backfill([units("x", 30, 2)]))
    behind = Span(DAY + timedelta(hours=2), DAY + timedelta(hours=2, seconds=10))

    assert world.values(metric, behind) == ([120] if kind == "TIME_WEIGHTED_SUM" else [None])


def test_a_layer_of_one_key_leaves_the_other_key_to_the_base() -> None:
    world, metric = a_world()
    world.send([units("other", 55, 5, "acme-alias")])
    world.commit(world.backfill([units("x", 53, 100)], keys=("acme",)))

    assert world.values(metric, FIRST) == [105]
    assert world.values(metric, RAGGED) == [115]


def test_an_answer_is_kept_for_what_was_in_force_alone() -> None:
    world, metric = a_world()
    made = world.backfill([units("x", 53, 100)])
    world.fold()
    world.backfills.commit(TENANT, made.layer.id)
    world.fold()

    before = [world.values(metric, WHOLE), world.values(metric, WHOLE)]
    world.backfills.settle()
    during = [world.values(metric, WHOLE), world.values(metric, WHOLE)]
    world.backfills.revert(TENANT, made.layer.id)
    after = world.values(metric, WHOLE)

    assert [*before, *during, after] == [[11], [11], [110], [110], [11]]
    assert world.hits == [False, True, False, True, True]


def test_an_answer_says_which_layers_it_rests_on() -> None:
    world, metric = a_world()
    made = world.backfill([])
    world.commit(made)

    [answer] = world.service.usage(ask(metric, WHOLE))

    assert answer.layers == (made.layer.id,)


def test_an_archived_metric_keeps_what_it_counted_before_the_commit() -> None:
    world, metric = a_world()
    made = world.backfill([units("x", 53, 100)])
    world.fold()
    world.metrics.archive(TENANT, metric)
    world.commit(made)

    assert world.values(metric, WHOLE) == [11]
    assert world.values(metric, RAGGED) == [11]


def test_two_that_share_a_window_and_a_customer_are_not_in_force_together() -> None:
    world, metric = a_world()
    first, second = world.backfill([units("x", 53, 100)]), world.backfill([units("y", 53, 200)])
    beside = world.backfill([units("z", 53, 400, "acme-alias")], keys=("acme-alias",))
    behind = world.backfill([units("w", 65, 800)], Span(FIRST.end, FIRST.end + HOUR))
    world.commit(first)
    world.commit(behind)

    for other in (second, beside):
        with pytest.raises(Conflict, match=f"backfill {first.layer.id} is in force"):
            world.backfills.commit(TENANT, other.layer.id)

    assert world.values(metric, WHOLE) == [900]
    world.backfills.revert(TENANT, first.layer.id)
    world.commit(second)
    assert world.values(metric, WHOLE) == [1_000]


def test_what_the_log_did_not_take_is_opened_later_and_takes_no_events_before() -> None:
    world, _ = a_world()
    sent = world.backfills._outbox._send

    def unavailable(control: Control) -> Vector:
        raise LogUnavailable("away")

    world.backfills._outbox._send = unavailable
    with pytest.raises(LogUnavailable):
        world.backfills.create(TENANT, Wanted(FIRST, uniqueness_key="once"))
    [(_, made)] = world.backfills.list(TENANT)
    with pytest.raises(LogUnavailable, match="still being opened"):
        world.backfills.open_layer(TENANT, made.layer.id)

    world.backfills._outbox._send = sent
    assert world.backfills.create(TENANT, Wanted(FIRST, uniqueness_key="once")) == made
    assert world.backfills.open_layer(TENANT, made.layer.id) == made.layer
