"""What goes on over the seal: owners stop at it, clocks do not wait for it, revisions, rebuilds and mended records."""

from __future__ import annotations

import asyncio
import random
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest

from builders import TENANT
from penstock.aggregator import shapes
from penstock.aggregator.audit_chore import AuditChore
from penstock.aggregator.corrections import Corrections, Told
from penstock.aggregator.heritage import NotDrained, SealReached
from penstock.aggregator.quarantine import pieces_of
from penstock.aggregator.rebuild import NotRebuilt, from_events, from_log
from penstock.aggregator.store.memory import MemoryUsageStore
from penstock.catalog.memory import MemoryCatalog
from penstock.kernel.chunk import Chunk
from penstock.kernel.clock import SystemClock
from penstock.kernel.control import Correction, EventVoided, encode_control
from penstock.kernel.correction import Corrected, Refusal
from penstock.kernel.event import Outcome
from penstock.kernel.identity import partition_of
from penstock.kernel.ports.succession import SealableLog
from penstock.kernel.problems import BadRequest
from penstock.kernel.record import Kind, LogRecord
from penstock.kernel.window import to_us
from repartitioning import DAY, Died, LastingLog, RepartitionWorld, a_chunk_of, opening, some_events


class World(RepartitionWorld):
    """In memory, at a time of its own."""

    def __init__(self, folder: Path, partitions: int = 2) -> None:
        self.now_us = to_us(DAY + timedelta(days=1))
        log = LastingLog(partitions, clock_us=lambda: self.now_us)
        super().__init__(opening(log), MemoryUsageStore(), folder, partitions)

    def _now_us(self) -> int:
        return self.now_us

    def tick(self) -> None:
        async def all_of(log: SealableLog) -> None:
            for partition in log.identity.own:
                await log.append(partition, Kind.TICK, self.now_us, b"")

        self.with_log(all_of, self.partitions)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_an_owner_that_comes_to_the_seal_stops_by_name(world: World) -> None:
    world.define("sum")
    world.send(some_events(0, 20))
    with pytest.raises(Died):
        world.repartition(3, die_at="sealed")

    async def run(log: SealableLog) -> None:
        for _ in range(2):  # the second starts from the marker at the seal
            with world.owner(log, 0) as owner, pytest.raises(SealReached, match="partition 0 is folded to its seal"):
                await asyncio.wait_for(owner.run(), 30)
        assert owner.is_sealed

    world.with_log(run, None)
    assert world.store.markers()[0].offset == asyncio.run(_end(world)) - 1


async def _end(world: World) -> int:
    return (await (await world._open(None)).bounds(0))[1]


def test_the_clocks_of_sealed_partitions_hold_up_nothing(world: World) -> None:
    world.send(some_events(0, 10))
    world.repartition(1)
    world.now_us += 3 * 86_400_000_000
    through = DAY + timedelta(days=3)
    assert not world.usage.settled(through)

    world.tick()
    world.fold()

    assert world.usage.settled(through)


def test_a_log_begins_at_the_clock_of_the_one_that_it_follows(world: World) -> None:
    world.send(some_events(0, 10))
    world.repartition(1)
    world.now_us -= 2 * 86_400_000_000  # a broker whose clock is behind
    world.send(some_events(0, 10))
    world.fold()

    markers = world.store.markers()
    assert markers[2].clock_us == max(markers[0].clock_us, markers[1].clock_us)


def test_a_group_key_added_later_groups_what_the_sealed_log_held(world: World) -> None:
    world.define("sum")
    world.send(some_events(0, 60))
    world.repartition(3)
    body = {**world.bodies["sum"], "group_keys": [["region"], ["region", "model"]]}
    change = msgspec.convert({"id": world.ids["sum"], "group_keys": body["group_keys"]}, shapes.MetricUpdateBody)
    world.metrics.revise(TENANT, world.ids["sum"], change.applied_to)
    world.bodies["sum"] = body
    world.send([*some_events(0, 60), *some_events(60, 20)])
    world.fold()

    assert world.figures("sum", by=("region", "model")) == world.expected("sum", by=("region", "model"))
    world.usage.retire_replaced()
    world.fold()
    assert world.differences() == []


def test_a_conflict_with_an_event_of_the_sealed_log_is_one(world: World) -> None:
    world.define("count")
    world.send(some_events(0, 5))
    world.repartition(3)
    [other] = some_events(0, 1)
    world.send([{**other, "customer_id": "somebody-else"}])
    world.sent.pop()
    world.fold()

    assert world.differences() == []
    [fate] = world.fates("e0")
    assert [(d.outcome.name, d.events) for d in fate.trace.dropped] == [("CONFLICT", 1)]


def test_a_correction_outlives_its_log_and_one_that_comes_later_is_refused_by_name(world: World) -> None:
    world.define("sum")
    world.send(some_events(0, 20))
    catalog = MemoryCatalog()
    assert void(world, catalog, "e3").corrected is None
    world.fold()
    world.repartition(3)

    void(world, catalog, "e4")
    world.fold()

    [voided, standing] = world.fates("e3", "e4")
    assert (voided.outcome, standing.outcome) == (Outcome.VOIDED, Outcome.COUNTED)
    assert [each.refusal for each in standing.corrections] == [Refusal.SEALED]
    assert found(world, catalog, "void-e3") == voided.corrections[0]
    assert found(world, catalog, "void-e4") == standing.corrections[0]
    world.sent = [event for event in world.sent if event["transaction_id"] != "e3"]
    assert world.differences() == []


def void(world: World, catalog: MemoryCatalog, transaction_id: str) -> Told:
    control = EventVoided(f"void-{transaction_id}", 0, TENANT, transaction_id)
    return corrections_of(world, catalog).order(control)


def found(world: World, catalog: MemoryCatalog, correction_id: str) -> Corrected | None:
    told = corrections_of(world, catalog).find(TENANT, correction_id)
    assert told is not None
    return told.corrected


def corrections_of(world: World, catalog: MemoryCatalog) -> Corrections:
    """Those of a process of now, on the newest log."""

    def send(control: Correction, partition: int) -> int:
        async def append(log: SealableLog) -> int:
            return (await log.append(partition, Kind.CONTROL, world.now_us, encode_control(control))).offset

        return world.with_log(append, world.partitions)

    return Corrections(catalog, SystemClock(), world.store, world.log, send)


def test_a_store_that_was_not_folded_to_the_seal_is_refused(world: World) -> None:
    world.repartition(3)
    world.store = MemoryUsageStore()

    with pytest.raises(NotDrained, match=r"no marker of the sealed partitions \[0, 1\]"):
        world.fold()


def test_partitions_of_both_logs_can_be_rebuilt(world: World) -> None:
    world.define("count", "latest")
    world.send(some_events(0, 40))
    world.repartition(3)
    world.send(some_events(20, 40))
    world.define("sum")
    world.fold()

    async def rebuilt(log: SealableLog) -> None:
        for partition in log.identity.own:
            assert (await from_log(world.store, log, partition)).differences == []
        with pytest.raises(NotRebuilt, match="use --from-events"):
            await from_log(world.store, log, 0)

    world.with_log(rebuilt, None)
    found = [from_events(world.store, partition, world.log.first) for partition in range(5)]
    assert [each.differences for each in found] == [[]] * 5
    assert all(each.cells for each in found)


def test_the_continuous_audit_looks_at_both_logs(world: World) -> None:
    world.define("count")
    world.send(some_events(0, 40))
    world.repartition(1)

    def read_log(partition: int, start: int, bytes_max: int) -> list[LogRecord]:
        assert partition == 2, "nobody reads a sealed log"
        return asyncio.run(_read(world, partition, start, bytes_max))

    chore = AuditChore(world.auditor, world.store, read_log, 10_000, random.Random(5))
    for _ in range(3):
        world.send(world.new_events(10))
        world.fold()
        found = chore.run()
        assert found.differences == []
    assert found.cells


async def _read(world: World, partition: int, start: int, bytes_max: int) -> list[LogRecord]:
    return await (await world._open(None)).read(partition, start, bytes_max, 0)


def test_a_mended_record_of_a_sealed_partition_goes_to_those_of_the_newest_log(world: World) -> None:
    chunk = a_chunk_of(world.log, some_events(0, 60))
    of_sealed = chunk.take((partition_of(chunk.identities, 2) == 1).nonzero()[0])
    world.repartition(3)

    pieces = pieces_of(of_sealed.encode(), 1, world.log)

    assert {partition for partition, _ in pieces} == {2, 3, 4}
    for partition, piece in pieces:
        assert set(partition_of(Chunk.decode(piece).identities, 3).tolist()) == {partition - 2}
    assert sorted(id for _, piece in pieces for id in Chunk.decode(piece).ids()) == sorted(of_sealed.ids())
    with pytest.raises(BadRequest, match="not all of partition 0"):
        pieces_of(of_sealed.encode(), 0, world.log)
