"""kill -9 of a real aggregator at each step of a flush: what it left half done is neither lost nor twice.

One process lives at a time; each kills itself at a step of a flush, and the next one starts from what it finds.
"""

from __future__ import annotations

import asyncio

import pytest

from faults.conftest import Announce, Parts

FLUSH_STEPS = ("before_events", "after_events", "half_cells", "after_cells", "after_marker")
KILLS = 20
EVENTS_PER_LIFE = 3_000


async def die(parts: Parts, kills: int, announce: Announce) -> None:
    chance = announce(f"{kills} kills, each at a step of a flush, under load")
    async with parts.world(chance) as world:
        with parts.fleet(world) as fleet:
            for n in range(kills):
                step = f"{FLUSH_STEPS[n % len(FLUSH_STEPS)]}:{chance.randint(1, 4)}"
                worker = fleet.start("aggregator", fault_at=step)
                sending = asyncio.create_task(world.send(world.some_events(EVENTS_PER_LIFE)))
                await asyncio.to_thread(worker.wait_until_killed)
                await sending
            fleet.start("aggregator")
            await world.folded()

            assert await asyncio.to_thread(world.differences) == []
            fleet.alive[0].terminate()


@pytest.mark.slow
def test_three_kills_in_a_flush_change_no_figure(parts: Parts, announce: Announce) -> None:
    asyncio.run(die(parts, 3, announce))


@pytest.mark.faults
@pytest.mark.timeout(900)
def test_twenty_kills_at_each_step_of_a_flush_change_no_figure(parts: Parts, announce: Announce) -> None:
    asyncio.run(die(parts, KILLS, announce))
