"""Aggregators join, leave and die every few seconds under load; then the lag goes away, and all is counted."""

from __future__ import annotations

import asyncio
import random
import time

import pytest

from faults.conftest import Announce, Parts
from faults.workers import Fleet
from faults.world import FaultWorld

WORKERS_MAX = 3
CALM_TIMEOUT_S = 60
EVENTS_PER_SEND = 1_000


async def storm(fleet: Fleet, chance: random.Random, until_s: float) -> int:
    """Start, stop and kill aggregators until then; return how often."""
    changes = 0
    while time.monotonic() < until_s:
        alive = fleet.alive
        if len(alive) < WORKERS_MAX and chance.random() < 0.6:
            fleet.start(f"worker-{changes}")
        elif alive:
            worker = chance.choice(alive)
            await asyncio.to_thread(chance.choice([worker.kill, worker.terminate]))
        changes += 1
        await asyncio.sleep(chance.uniform(1, 4))
    return changes


async def load(world: FaultWorld, over: asyncio.Event) -> None:
    while not over.is_set():
        await world.send(world.some_events(EVENTS_PER_SEND))
        await asyncio.sleep(0.5)


async def play(parts: Parts, chance: random.Random, storm_s: float) -> None:
    async with parts.world(chance) as world:
        with parts.fleet(world) as fleet:
            over = asyncio.Event()
            loading = asyncio.create_task(load(world, over))
            changes = await storm(fleet, chance, time.monotonic() + storm_s)
            while len(fleet.alive) < 2:
                fleet.start(f"calm-{len(fleet.alive)}")
            ends = await world.ends()
            await world.folded(ends, CALM_TIMEOUT_S)  # the load goes on
            over.set()
            await loading
            await world.folded()

            assert changes > 0
            assert await asyncio.to_thread(world.differences) == []
            for worker in fleet.alive:
                worker.terminate()


@pytest.mark.faults
@pytest.mark.parametrize("storm_number", range(2))
def test_a_minute_of_rebalances_loses_nothing_and_the_lag_is_gone_a_minute_later(
    parts: Parts, announce: Announce, storm_number: int
) -> None:
    chance = announce(f"storm {storm_number}: one to {WORKERS_MAX} aggregators come and go for 60 s under load")
    asyncio.run(play(parts, chance, 60))


@pytest.mark.slow
def test_a_few_rebalances_lose_nothing(parts: Parts, announce: Announce) -> None:
    chance = announce(f"up to {WORKERS_MAX} aggregators come and go for 6 s under load")
    asyncio.run(play(parts, chance, 6))
