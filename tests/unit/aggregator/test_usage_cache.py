"""The cache of usage answers: only the marker vector says what still holds, and what is kept stays within its bytes."""

from __future__ import annotations

import tracemalloc
from datetime import timedelta
from decimal import Decimal

from builders import TENANT, a_metric_body, a_sum_body, an_event
from penstock.aggregator.store.memory import MemoryUsageStore
from penstock.aggregator.usage import UsageService
from penstock.aggregator.usage_cache import Asked, UsageCache, size_of
from penstock.kernel.cell import COMBINATIONS, CellAnswer, CellQuestion
from penstock.kernel.meter import Aggregation, Metric
from penstock.kernel.usage import Usage, UsageQuery, UsageRow
from penstock.kernel.window import Span
from unit.aggregator.test_usage import DAY, World, ask

MORNING = Span(DAY, DAY + timedelta(hours=12))
TO_COME = Span(DAY, DAY + timedelta(days=3))


class CountingStore(MemoryUsageStore):
    """Counts how often figures, and how often versions alone, are read."""

    def __init__(self) -> None:
        super().__init__()
        self.figures = self.versions = 0

    def read_cells(self, question: CellQuestion) -> CellAnswer:
        if question.metric != COMBINATIONS:
            self.versions += question.versions_only
            self.figures += not question.versions_only
        return super().read_cells(question)


class CachedWorld(World):
    """A world whose service keeps answers; `lookups` is whether each was a hit."""

    def __init__(self) -> None:
        self.counting = CountingStore()
        super().__init__(self.counting)
        self.lookups: list[bool] = []
        self.cache = UsageCache(2**20, self.lookups.append)
        self.service = UsageService(self.store, self.metrics, 1, self.cache)

    def units(self, metric: str, *spans: Span) -> list[Decimal | None]:
        """What was used in each span, asked one by one; None where nothing was."""
        values = []
        for span in spans:
            [answer] = self.service.usage(ask(metric, span))
            assert answer.vector == self.service.vector()
            values.append(answer.rows[0].value if answer.rows else None)
        return values


def a_world() -> tuple[CachedWorld, str]:
    world = CachedWorld()
    metric = world.define(a_sum_body("units", group_keys=[["region"]]))
    world.send([an_event("a", at=DAY + timedelta(hours=1), properties={"units": 2})])
    world.fold()
    return world, metric


def test_the_same_question_at_the_same_vector_is_read_once() -> None:
    world, metric = a_world()

    assert world.units(metric, TO_COME, TO_COME, TO_COME) == [2, 2, 2]
    assert world.lookups == [False, True, True]
    assert (world.counting.figures, world.counting.versions) == (1, 0)


def test_an_open_span_is_read_again_at_every_new_vector() -> None:
    world, metric = a_world()
    world.units(metric, TO_COME)
    world.send([an_event("b", customer_id="other")])
    world.fold()

    assert world.units(metric, TO_COME) == [2]
    assert world.lookups == [False, False]
    assert world.counting.versions == 0


def test_a_closed_span_is_not_read_again_while_none_of_its_cells_changes() -> None:
    world, metric = a_world()
    ragged = Span(DAY + timedelta(minutes=61), DAY + timedelta(hours=11, minutes=7))
    assert world.units(metric, MORNING, ragged) == [2, None]
    for number, hour in enumerate((13, 14)):
        world.send([an_event(f"later-{number}", at=DAY + timedelta(hours=hour), properties={"units": 4})])
        world.fold()
        assert world.units(metric, MORNING, ragged) == [2, None]

    assert world.lookups == [False, False, True, True, True, True]
    assert world.counting.versions == 4


def test_a_late_event_in_a_closed_span_is_seen_in_its_ragged_ends_too() -> None:
    world, metric = a_world()
    ragged = Span(DAY + timedelta(minutes=61), DAY + timedelta(hours=11, minutes=7))
    world.units(metric, MORNING, ragged)
    world.send([an_event("late", at=DAY + timedelta(hours=11, minutes=3), properties={"units": 4})])
    world.fold()

    assert world.units(metric, MORNING, ragged) == [6, 4]
    assert world.lookups == [False] * 4


def a_row(text: str) -> UsageRow:
    return UsageRow(MORNING, (text,), Decimal(1), 1, text)


def asked(number: int) -> Asked:
    metric = Metric(f"m{number}", TENANT, "metric", Aggregation.COUNT)
    return Asked(UsageQuery(TENANT, metric.id, ("acme",), (MORNING,)), metric, None, None)


def test_the_least_recently_used_answers_go_and_the_bytes_stay_within_the_bound() -> None:
    answer = Usage((a_row("x"),), (1,))
    cache = UsageCache(3 * size_of(asked(0), answer))
    for number in range(3):
        cache.put(asked(number), answer)
    assert cache.newest(asked(0), (1,)) == answer

    cache.put(asked(3), answer)

    assert [cache.newest(asked(number), (1,)) is not None for number in range(4)] == [True, False, True, True]
    assert cache.held_bytes == 3 * size_of(asked(0), answer)


def test_an_answer_that_does_not_fit_is_not_kept() -> None:
    cache = UsageCache(10_000)
    cache.put(asked(0), Usage((a_row("x" * 10_000),), (1,)))

    assert cache.newest(asked(0), (1,)) is None
    assert cache.held_bytes == 0


def test_a_newer_answer_replaces_and_an_older_one_does_not() -> None:
    older, newer = Usage((a_row("old"),), (1, 1)), Usage((a_row("new one"),), (2, 1))
    cache = UsageCache(100_000)
    for answer in (older, newer, older):
        cache.put(asked(0), answer)

    assert cache.newest(asked(0), (2, 2)) == newer
    assert cache.newest(asked(0), (1, 9)) is None
    assert cache.held_bytes == size_of(asked(0), newer)


def test_the_size_of_an_answer_errs_upwards() -> None:
    tracemalloc.start()
    rows = (UsageRow(MORNING, (f"group {n}", f"ü{n}"), Decimal(n) / 7, n, None) for n in range(5_000))
    answer = Usage(tuple(rows), (1,))
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert held < size_of(asked(0), answer) < 3 * held


def test_a_question_for_another_metric_or_group_is_another_question() -> None:
    world, metric = a_world()
    count = world.define(a_metric_body("count"))
    world.fold()

    assert world.units(metric, MORNING) + world.units(count, MORNING) == [2, 1]
    [grouped] = world.service.usage(ask(metric, MORNING, group_by=("region",)))
    assert [row.groups for row in grouped.rows] == [(None,)]
    assert world.lookups == [False, False, False]
