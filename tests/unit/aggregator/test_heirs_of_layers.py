"""Backfills over the seal of a log: one that is open goes on taking events, one that is in force goes on following."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest

from builders import TENANT, Body, a_chunk, an_event
from penstock.aggregator.backfills import Backfill, Backfills, State, Wanted
from penstock.aggregator.rebuild import from_events, from_log
from penstock.aggregator.store.memory import MemoryUsageStore
from penstock.aggregator.usage import UsageService
from penstock.catalog.memory import MemoryCatalog
from penstock.kernel.chunk import Chunk
from penstock.kernel.clock import SystemClock
from penstock.kernel.identity import identify, partition_of
from penstock.kernel.ports.succession import SealableLog
from penstock.kernel.record import Kind
from penstock.kernel.usage import UsageQuery
from penstock.kernel.window import Span, to_us
from repartitioning import DAY, WHOLE, LastingLog, RepartitionWorld, opening

HOUR = timedelta(hours=1)
INSIDE = Span(DAY, DAY + 2 * HOUR)


class World(RepartitionWorld):
    """With backfills beside the metrics."""

    def __init__(self, folder: Path) -> None:
        super().__init__(opening(LastingLog(2)), MemoryUsageStore(), folder, 2)
        self.backfills = Backfills(MemoryCatalog(), SystemClock(), self._send, lambda: self.usage.vector())

    def backfill(self) -> Backfill:
        return self.backfills.create(TENANT, Wanted(INSIDE))

    def send_to(self, backfill: Backfill, events: Sequence[Body]) -> None:
        async def to_owners(log: SealableLog) -> None:
            chunk = _in_scope(backfill.layer.scope, log.identity.hash_key, events)
            owners = partition_of(chunk.identities, log.identity.partitions)
            for at, partition in enumerate(log.identity.own):
                part = chunk.take(np.flatnonzero(owners == at))
                if len(part):
                    await log.append(partition, Kind.CHUNK, self._now_us(), part.encode())

        self.with_log(to_owners, self.partitions)

    def commit(self, backfill: Backfill) -> State:
        self.backfills.commit(TENANT, backfill.layer.id)
        self.fold()
        self.backfills.settle()
        return self.backfills.find(TENANT, backfill.layer.id).state

    @property
    def usage(self) -> UsageService:
        log = self.log
        return UsageService(self.store, self.metrics, log.end, in_force=self.backfills.in_force, sealed=log.first)

    def values(self, name: str) -> list[Decimal | None]:
        """Of the day and of a ragged part of it that the backfill has."""
        spans = (WHOLE, Span(DAY + timedelta(minutes=7), DAY + timedelta(minutes=67)))
        found = []
        for span in spans:
            [answer] = self.usage.usage(UsageQuery(TENANT, self.ids[name], ("acme",), (span,)))
            found += [row.value for row in answer.rows]
        return found

    def off(self) -> list[object]:
        """What the auditor finds in every scope and partition, and both rebuilds."""
        auditor, span_us = self.auditor, (to_us(DAY), to_us(DAY + timedelta(days=3)))
        found: list[object] = []
        for metric_id in self.ids.values():
            for scope in auditor.scopes(TENANT):
                found += auditor.cells(scope, metric_id, None, span_us).differences
        for partition in range(auditor.partitions):
            found += from_events(self.store, partition, self.log.first).differences

        async def rebuilt(log: SealableLog) -> list[object]:
            return [d for p in log.identity.own for d in (await from_log(self.store, log, p)).differences]

        return found + self.with_log(rebuilt, None)


def _in_scope(scope: str, hash_key: bytes, events: Sequence[Body]) -> Chunk:
    made = a_chunk(events, scope)
    return Chunk.of_columns(
        identities=identify(hash_key, scope, made.ids()),
        body_hashes=made.body_hashes,
        tenants=made.arrow("tenant"),
        customers=made.arrow("customer"),
        event_types=made.arrow("event_type"),
        times_us=made.times_us,
        transaction_ids=made.arrow("transaction_id"),
        properties=made.arrow("properties"),
    )


def units(prefix: str, count: int, units: int, minute: int = 20) -> list[Body]:
    at = DAY + timedelta(minutes=minute)
    return [
        an_event(f"{prefix}{n}", customer_id="acme", at=at, properties={"units": units, "region": "eu", "model": "a"})
        for n in range(count)
    ]


@pytest.fixture
def world(tmp_path: Path) -> World:
    world = World(tmp_path)
    world.define("sum")
    world.send([*units("live", 20, 1), *units("outside", 20, 100, minute=600)])
    return world


def test_a_backfill_that_is_open_goes_on_in_the_log_that_follows(world: World) -> None:
    made = world.backfill()
    sent = units("again", 20, 3)
    world.send_to(made, sent[:15])
    world.repartition(3)
    assert world.values("sum") == [2_020, 20]

    world.send_to(made, sent)  # the first fifteen are copies
    assert world.commit(made) is State.COMMITTED
    assert world.values("sum") == [2_060, 60]
    world.send(units("late", 20, 7))
    world.fold()
    assert world.values("sum") == [2_200, 200]
    world.define("max", "count")
    world.fold()
    assert [world.values("max"), world.values("count")] == [[100, 7], [60, 40]]
    assert world.off() == []

    world.backfills.revert(TENANT, made.layer.id)
    assert [world.values(name) for name in ("sum", "count")] == [[2_160, 160], [60, 40]]


@pytest.mark.parametrize("is_switched", [True, False])
def test_a_committed_backfill_follows_live_events_of_the_log_that_follows(world: World, is_switched: bool) -> None:
    made = world.backfill()
    world.send_to(made, units("again", 20, 3))
    if is_switched:
        assert world.commit(made) is State.COMMITTED
    else:
        world.backfills.commit(TENANT, made.layer.id)
    world.send(units("followed", 20, 5))
    world.repartition(3)
    world.backfills.settle()
    assert world.backfills.find(TENANT, made.layer.id).state is State.COMMITTED
    assert world.values("sum") == [2_160, 160]

    world.send([*units("followed", 20, 5), *units("late", 20, 7)])  # copies, and new ones
    world.fold()
    assert world.values("sum") == [2_300, 300]
    world.define("latest", "max")  # filled in the sealed partitions too, the layer's part as well
    world.fold()
    assert world.values("max") == [100, 7]
    assert world.off() == []

    world.repartition(1)
    world.send(units("later", 20, 2))
    world.fold()
    assert world.values("sum") == [2_340, 340]
    assert world.off() == []
