"""One log in Kafka, one database, seeded events, and what the reference model says they come to."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import random
from collections.abc import AsyncIterator, Sequence
from datetime import timedelta
from typing import Any

import reference
from builders import TENANT, Body, a_chunk, batches
from faults.events import BODIES, BY, CUSTOMERS, DAY, HOURS, Figures, differences, some_events
from kafka_part import kafka_settings
from penstock.aggregator import shapes
from penstock.aggregator.metrics import Definition, Metrics
from penstock.aggregator.store.clickhouse import ClickHouseUsageStore
from penstock.aggregator.store.connect import server
from penstock.aggregator.usage import UsageService
from penstock.catalog.memory import MemoryCatalog
from penstock.kernel.cell import CONSERVATION
from penstock.kernel.clock import SystemClock
from penstock.kernel.control import Control, encode_control
from penstock.kernel.identity import partition_of
from penstock.kernel.problems import LogUnavailable, Problem
from penstock.kernel.record import Kind, Vector
from penstock.kernel.usage import UsageQuery
from penstock.kernel.window import Span, to_us
from penstock.log.kafka import KafkaLog

POLL_S = 0.2
FOLDED_TIMEOUT_S = 180
ANNOUNCE_TIMEOUT_S = 30


class FaultWorld:
    """Send with `send`; `folded` returns when all of it is in the store; `differences` must be empty then."""

    def __init__(self, log: KafkaLog, topic: str, store: ClickHouseUsageStore, chance: random.Random) -> None:
        self.log, self.topic, self.store, self.chance = log, topic, store, chance
        self._loop = asyncio.get_running_loop()
        self.metrics = Metrics(MemoryCatalog(), SystemClock(), self._announce)
        self.usage = UsageService(store, self.metrics, log.identity.partitions)
        self.sent: list[Body] = []  # in any order: copies of an event are the same
        self._ids: dict[str, str] = {}

    def _announce(self, control: Control) -> Vector:
        """Called in a worker thread."""
        payload, now_us = encode_control(control), to_us(SystemClock().now())

        async def to_all() -> Vector:
            partitions = range(self.log.identity.partitions)
            return tuple([(await self.log.append(p, Kind.CONTROL, now_us, payload)).offset for p in partitions])

        return asyncio.run_coroutine_threadsafe(to_all(), self._loop).result(ANNOUNCE_TIMEOUT_S)

    @classmethod
    @contextlib.asynccontextmanager
    async def open(
        cls, kafka: str, clickhouse: str, database: str, chance: random.Random, **topic: Any
    ) -> AsyncIterator[FaultWorld]:
        """A new topic, a new database, and the metrics of `BODIES` defined."""
        settings = kafka_settings(kafka, **topic)
        log = await KafkaLog.open(settings)
        store = await asyncio.to_thread(ClickHouseUsageStore, server(clickhouse, database))
        world = cls(log, settings.topic, store, chance)
        try:
            await asyncio.to_thread(world._define)
            yield world
        finally:
            await log.close()
            store.close()

    def _define(self) -> None:
        for kind, body in BODIES.items():
            shape = shapes.MetricBody(
                body["name"], body["aggregation_type"], body.get("aggregation_key"), group_keys=body["group_keys"]
            )

            def made(metric_id: str, control_id: str, now: Any, shape: shapes.MetricBody = shape) -> Definition:
                return Definition(shape.to_metric(metric_id, TENANT), now, control_id)

            self._ids[kind] = self.metrics.create(TENANT, made).metric.id

    def some_events(self, count: int) -> list[Body]:
        """New events, some of them twice."""
        return some_events(self.chance, len(self.sent), count)

    async def send(self, events: Sequence[Body], chunk_events: int = 200) -> None:
        """Append them, as a gateway would that remembers nothing: what may have been lost is sent again."""
        for batch in batches(events, chunk_events):
            chunk = a_chunk(batch)
            places = partition_of(chunk.identities, self.log.identity.partitions)
            for partition in sorted(set(places.tolist())):
                await self._append(partition, chunk.take((places == partition).nonzero()[0]).encode())
            self.sent += batch

    async def _append(self, partition: int, payload: bytes) -> None:
        while True:
            try:
                await self.log.append(partition, Kind.CHUNK, to_us(SystemClock().now()), payload)
                return
            except LogUnavailable:
                await asyncio.sleep(POLL_S)

    async def ends(self) -> list[int]:
        """The last offset of every partition."""
        return [(await self.log.bounds(p))[1] - 1 for p in range(self.log.identity.partitions)]

    def offsets(self) -> list[int]:
        """How far every partition is folded and flushed."""
        markers = self.store.markers()
        return [markers[p].offset if p in markers else -1 for p in range(self.log.identity.partitions)]

    async def folded(self, ends: Sequence[int] | None = None, timeout_s: float = FOLDED_TIMEOUT_S) -> None:
        """Return when every marker is at `ends`, or what the log holds now."""
        wanted = await self.ends() if ends is None else ends
        found: list[int] = []
        try:
            async with asyncio.timeout(timeout_s):
                while not found or any(f < w for f, w in zip(found, wanted, strict=True)):
                    with contextlib.suppress(Problem):  # the store may be away for a while
                        found = await asyncio.to_thread(self.offsets)
                    await asyncio.sleep(POLL_S)
        except TimeoutError:
            raise AssertionError(f"folded to {found}, not to {wanted}, in {timeout_s} s") from None

    def differences(self) -> list[str]:
        """Where usage by customer, group and window is not what the reference says; and events that do not add up."""
        accepted = reference.first_of_each_id(self.sent)
        found = differences({kind: self._figures(kind) for kind in BODIES}, accepted)
        counted = self.outcomes().get("COUNTED", 0)
        return found + ([f"counted {counted} of {len(accepted)}"] if counted != len(accepted) else [])

    def _figures(self, kind: str) -> Figures:
        edges = [DAY + timedelta(minutes=15 * n) for n in range(HOURS * 4 + 1)]
        spans = tuple(Span(a, b) for a, b in itertools.pairwise(edges))
        query = UsageQuery(TENANT, self._ids[kind], CUSTOMERS, spans, group_by=BY, by_customer_key=True)
        [answer] = self.usage.usage(query)
        return {(row.customer_key or "", row.span.start, row.groups): row.value for row in answer.rows}

    def outcomes(self) -> dict[str, int]:
        """What became of every event in the log so far."""
        counts: dict[str, int] = {}
        for key, cell in self.store.stored_cells(TENANT, CONSERVATION, None, None, None).items():
            outcome = key.groups[0] or ""
            counts[outcome] = counts.get(outcome, 0) + cell.events
        return counts
