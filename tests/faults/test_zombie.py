"""An aggregator that stands still past its session while another takes over, then wakes up inside a flush."""

from __future__ import annotations

import asyncio
import random

import pytest

from faults.conftest import Announce, Parts
from faults.test_kill9 import FLUSH_STEPS

EVENTS = 3_000


async def stand_still(parts: Parts, chance: random.Random, step: str) -> None:
    async with parts.world(chance) as world:
        with parts.fleet(world) as fleet:
            zombie = fleet.start("zombie", fault_at=step, fault="STOP")
            sending = asyncio.create_task(world.send(world.some_events(EVENTS)))
            await asyncio.to_thread(zombie.wait_until_paused)
            await sending
            fleet.start("heir")
            await world.send(world.some_events(EVENTS))
            await world.folded()  # by the heir alone: the zombie is silent

            assert await asyncio.to_thread(world.differences) == []
            markers = await asyncio.to_thread(world.store.markers)
            zombie.resume()
            await asyncio.to_thread(zombie.wait_until_member_again)
            assert await asyncio.to_thread(world.differences) == []
            now = await asyncio.to_thread(world.store.markers)
            assert all(now[p].offset >= markers[p].offset for p in markers)

            await world.send(world.some_events(EVENTS))
            await world.folded()
            assert await asyncio.to_thread(world.differences) == []
            for worker in fleet.alive:
                worker.terminate()


@pytest.mark.slow
def test_a_zombie_wakes_up_in_a_flush_and_changes_nothing(parts: Parts, announce: Announce) -> None:
    chance = announce("SIGSTOP half way through the cells of a flush, another takes over, SIGCONT")
    asyncio.run(stand_still(parts, chance, f"half_cells:{chance.randint(1, 3)}"))


@pytest.mark.faults
@pytest.mark.parametrize("step", FLUSH_STEPS)
def test_a_zombie_wakes_up_at_any_step_of_a_flush_and_changes_nothing(
    parts: Parts, announce: Announce, step: str
) -> None:
    chance = announce(f"SIGSTOP at {step}, another takes over, SIGCONT")
    asyncio.run(stand_still(parts, chance, f"{step}:{chance.randint(1, 3)}"))
