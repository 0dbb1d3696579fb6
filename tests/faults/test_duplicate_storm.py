"""Each event 1 to 50 times, shuffled, over several gateways and formats, and again after gateways and owners forgot."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from builders import TENANT, Body, batches, to_json
from faults.conftest import Announce, Parts
from faults.world import FaultWorld
from penstock.gateway.formats import Format
from penstock.gateway.ingest import Gateway
from penstock.kernel.clock import SystemClock
from penstock.kernel.event import Verdict

GATEWAYS = 3
EVENTS = 1_000
COPIES_MAX = 50
BATCH = 500


@contextlib.asynccontextmanager
async def gateways(world: FaultWorld) -> AsyncIterator[list[Gateway]]:
    """Gateways on one log, that know of one another nothing but what is in it when they start."""
    made = [Gateway(world.log, SystemClock()) for _ in range(GATEWAYS)]
    for gateway in made:
        await gateway.start()
    try:
        yield made
    finally:
        for gateway in made:
            await gateway.drain()


def body_of(events: list[Body], form: Format) -> bytes:
    return to_json(events) if form is Format.JSON else b"\n".join(to_json(event) for event in events)


async def send(world: FaultWorld, events: list[Body]) -> None:
    """Every copy is answered by some gateway: accepted where it has not seen the id, else a duplicate."""
    async with gateways(world) as made:
        for batch in batches(events, BATCH):
            gateway, form = world.chance.choice(made), world.chance.choice([Format.JSON, Format.NDJSON])
            answer = await gateway.ingest(TENANT, body_of(batch, form), form)
            assert answer.accepted + answer.counts().get(Verdict.DUPLICATE, 0) == len(batch)
    world.sent += events


@pytest.mark.faults
def test_a_storm_of_duplicates_counts_each_event_once(parts: Parts, announce: Announce) -> None:
    chance = announce(f"{EVENTS} events, 1 to {COPIES_MAX} copies each, over {GATEWAYS} gateways, twice")

    async def story() -> None:
        async with parts.world(chance) as world:
            with parts.fleet(world) as fleet:
                worker = fleet.start("aggregator")
                events = world.some_events(EVENTS)
                copies = [event for event in events for _ in range(chance.randint(1, COPIES_MAX))]
                for _ in range(2):
                    chance.shuffle(copies)
                    await send(world, copies)
                    await world.folded()
                    assert await asyncio.to_thread(world.differences) == []
                    worker.kill()  # its successor restores what it knows of the ids
                    worker = fleet.start("aggregator")
                await send(world, copies[:BATCH])
                await world.folded()

                assert await asyncio.to_thread(world.differences) == []
                worker.terminate()

    asyncio.run(story())
