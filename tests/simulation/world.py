"""Virtual time and seeded chance, instead of clocks, threads and luck: a seed replays exactly."""

from __future__ import annotations

import heapq
import itertools
import random
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime
from typing import Any, TypeVar

import msgspec

from penstock.kernel.window import from_us, to_us

T = TypeVar("T")
MINUTE_US, HOUR_US, DAY_US = 60_000_000, 3_600_000_000, 86_400_000_000
START_US = to_us(datetime(2025, 3, 1, 9, 30, tzinfo=UTC))
NESTING_MAX = 2


class Plan(msgspec.Struct, frozen=True):
    """What a seed plays. Shares are chances per append, insert or record."""

    seed: int
    days: int  # of virtual time
    actions: int
    partitions: int
    gateways: int
    owners_max: int  # of one partition at once: more than one are zombies, or think of each other as such
    cells_max: int
    log_fault_share: float
    clock_fault_share: float
    insert_fault_share: float
    pause_share: float
    fill_events_max: int  # in one batch
    whole_events_min: int  # records of so many events are stored whole
    has_files: bool  # ids of some pods are in files
    has_corrections: bool

    @classmethod
    def draw(cls, seed: int) -> Plan:
        chance = random.Random(f"plan {seed}")
        is_long = chance.random() < 0.5
        return cls(
            seed=seed,
            days=chance.randrange(42, 84) if is_long else chance.randrange(1, 4),
            actions=chance.randrange(40, 75),
            partitions=chance.choice([1, 1, 2, 3]),
            gateways=chance.randrange(1, 4),
            owners_max=chance.randrange(1, 4),
            cells_max=chance.choice([1, 6, 20, 10_000]),
            log_fault_share=chance.choice([0, 0.05, 0.15]),
            clock_fault_share=chance.choice([0, 0, 0.05]),
            insert_fault_share=chance.choice([0.01, 0.04, 0.08]),
            pause_share=chance.choice([0, 0.03, 0.1]),
            fill_events_max=chance.choice([1, 4, 50_000]),
            whole_events_min=chance.choice([3, 256]),
            has_files=chance.random() < 0.15,
            has_corrections=chance.random() < 0.4,
        )


class World:
    """The one clock and the one source of chance of a seed; a `Clock` of the product's too."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.chance = random.Random(plan.seed)
        self.now_us = START_US
        self.is_calm = False  # at the end nothing fails any more
        self.told: list[str] = []
        self.meanwhile: Callable[[], None] = lambda: None  # what others do while somebody is paused
        self._agenda: list[tuple[int, int, Callable[[], object]]] = []
        self._number = itertools.count()
        self._depth = 0

    def now(self) -> datetime:
        return from_us(self.now_us)

    def fault(self, share: float) -> bool:
        """Whether something goes wrong now."""
        return not self.is_calm and self.chance.random() < share

    def tell(self, text: str) -> None:
        self.told.append(f"{from_us(self.now_us):%d %b %H:%M:%S} {'  ' * self._depth}{text}")

    def at(self, instant_us: int, act: Callable[[], object]) -> None:
        """Let `act` happen when the clock comes to that instant."""
        heapq.heappush(self._agenda, (instant_us, next(self._number), act))

    def advance(self, by_us: int) -> None:
        """Let time pass; what is due on the way happens at its own instant."""
        until_us = self.now_us + by_us
        while self._agenda and self._agenda[0][0] <= until_us:
            at_us, _, act = heapq.heappop(self._agenda)
            self.now_us = max(self.now_us, at_us)
            act()
        self.now_us = max(self.now_us, until_us)

    def pause(self, share: float) -> None:
        """Perhaps let others act in the middle of what somebody does."""
        if self._depth < NESTING_MAX and self.fault(share):
            self._depth += 1
            for _ in range(self.chance.randrange(1, 5)):
                self.meanwhile()
            self._depth -= 1


def run_now(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine that never waits: everything it awaits here answers at once."""
    try:
        coroutine.send(None)
    except StopIteration as done:
        result: T = done.value
        return result
    raise AssertionError("a coroutine waited for what is not simulated")
