"""A log that is given other partition counts: a world for each adapter, and what the reference model says of it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

import reference
from builders import TENANT, Body, a_chunk, a_metric_body, a_sum_body, an_event, yesterday
from penstock.aggregator import shapes
from penstock.aggregator.auditor import Auditor
from penstock.aggregator.consume import Owner
from penstock.aggregator.metrics import Definition, Metrics
from penstock.aggregator.repartition import repartition
from penstock.aggregator.transactions import Fate, Transactions
from penstock.aggregator.usage import UsageService
from penstock.catalog.memory import MemoryCatalog
from penstock.ids.shelf import Shelf
from penstock.kernel.chunk import Chunk
from penstock.kernel.clock import SystemClock
from penstock.kernel.control import Control, encode_control
from penstock.kernel.identity import identify, partition_of
from penstock.kernel.ports.succession import SealableLog
from penstock.kernel.ports.usage_store import UsageStore
from penstock.kernel.record import Kind, LogIdentity, Vector
from penstock.kernel.usage import UsageQuery
from penstock.kernel.window import Span, to_us
from penstock.log.memory import MemoryLog

DAY = yesterday()
WHOLE = Span(DAY, DAY + timedelta(days=1))
GROUPS, BY = [["region"]], ("region",)
BODIES = {
    "count": a_metric_body("count", group_keys=GROUPS),
    "sum": a_sum_body("units", group_keys=GROUPS),
    "max": a_metric_body("max", "MAX", aggregation_key="units", group_keys=GROUPS),
    "least": a_metric_body("least", "MIN", aggregation_key="units", group_keys=GROUPS),
    "latest": a_metric_body("latest", "LATEST", aggregation_key="units", group_keys=GROUPS),
    "unique": a_metric_body("unique", "UNIQUE", aggregation_key="units", group_keys=GROUPS),
}
MEMORY_IDS_MAX = 16  # so few that ids go to files

# The newest log: of so many partitions, or with None whatever it has, to be sealed.
Open = Callable[[int | None], Awaitable[SealableLog]]
T = TypeVar("T")


class Died(Exception):
    """Where the command ended."""


def some_events(start: int, count: int) -> list[Body]:
    return [
        an_event(
            f"e{n}",
            customer_id=("acme", "other")[n % 5 == 0],
            at=DAY + timedelta(minutes=13 * n % 1_000, seconds=n % 60),
            properties={
                "units": Decimal(n % 37) / 4,
                "region": ("eu", "us", None)[n % 3],
                "model": ("a", "b")[n % 2],
            },
        )
        for n in range(start, start + count)
    ]


class RepartitionWorld:
    """Everything opens the log, does one thing and closes it, as processes do that come one after the other."""

    def __init__(self, opening: Open, store: UsageStore, folder: Path, partitions: int) -> None:
        self._open, self.store, self._folder, self.partitions = opening, store, folder, partitions
        self.metrics = Metrics(MemoryCatalog(), SystemClock(), self._send)
        self.ids: dict[str, str] = {}
        self.bodies: dict[str, Body] = {}
        self.sent: list[Body] = []

    def _now_us(self) -> int:
        return to_us(SystemClock().now())

    def with_log(self, use: Callable[[SealableLog], Awaitable[T]], partitions: int | None) -> T:
        async def play() -> T:
            log = await self._open(partitions)
            try:
                return await use(log)
            finally:
                await log.close()

        return asyncio.run(play())

    @property
    def log(self) -> LogIdentity:
        return self.with_log(_identity, self.partitions)

    @property
    def newest(self) -> LogIdentity:
        """However many partitions it has, sealed or not."""
        return self.with_log(_identity, None)

    def _send(self, control: Control) -> Vector:
        async def to_all(log: SealableLog) -> Vector:
            payload, now_us = encode_control(control), self._now_us()
            offsets = [(await log.append(p, Kind.CONTROL, now_us, payload)).offset for p in log.identity.own]
            return (*[-1] * log.identity.first, *offsets)

        return self.with_log(to_all, self.partitions)

    def define(self, *names: str) -> None:
        for name in names:
            body = self.bodies[name] = BODIES[name]
            shape = shapes.MetricBody(
                body["name"], body["aggregation_type"], body.get("aggregation_key"), group_keys=body.get("group_keys")
            )

            def made(metric_id: str, control_id: str, now: Any, shape: shapes.MetricBody = shape) -> Definition:
                return Definition(shape.to_metric(metric_id, TENANT), now, control_id, shape.declared_group_keys())

            self.ids[name] = self.metrics.create(TENANT, made).metric.id

    def send(self, events: Sequence[Body]) -> None:
        """As a gateway would that remembers nothing: every copy goes to the log."""
        self.sent += events

        async def to_owners(log: SealableLog) -> None:
            chunk = a_chunk_of(log.identity, events)
            owners = partition_of(chunk.identities, log.identity.partitions)
            for at, partition in enumerate(log.identity.own):
                part = chunk.take(np.flatnonzero(owners == at))
                if len(part):
                    await log.append(partition, Kind.CHUNK, self._now_us(), part.encode())

        self.with_log(to_owners, self.partitions)

    @contextmanager
    def owner(self, log: SealableLog, partition: int) -> Iterator[Owner]:
        folder = self._folder / str(partition)
        with closing(Shelf(folder, partition, log.identity.log_id, MEMORY_IDS_MAX)) as shelf:
            yield Owner(partition, log, self.store, 10**15, shelf)

    def fold(self) -> None:
        async def all_of(log: SealableLog) -> None:
            for partition in log.identity.own:
                with self.owner(log, partition) as owner:
                    await owner.restore()
                    while await owner.step(0) or await owner.fill():
                        pass

        self.with_log(all_of, self.partitions)

    def repartition(self, partitions: int, die_at: str | None = None) -> None:
        """Raise `Died` where the step `die_at` is done."""

        def step(name: str) -> None:
            if name == die_at:
                raise Died(name)

        async def command(log: SealableLog) -> None:
            await repartition(log, self.store, partitions, lambda p: self.owner(log, p), self._now_us(), step)

        self.with_log(command, None)
        self.partitions = partitions

    def new_events(self, count: int) -> list[Body]:
        """Some that were not sent yet."""
        return some_events(len({event["transaction_id"] for event in self.sent}), count)

    @property
    def usage(self) -> UsageService:
        log = self.log
        return UsageService(self.store, self.metrics, log.end, sealed=log.first)

    @property
    def auditor(self) -> Auditor:
        log = self.log
        return Auditor(self.store, log.end, log.first)

    def figures(self, name: str, span: Span = WHOLE, by: Sequence[str] = BY) -> dict[Any, Decimal | None]:
        query = UsageQuery(TENANT, self.ids[name], ("acme", "other"), (span,), group_by=tuple(by))
        return {(row.span.start, row.groups): row.value for row in self.usage.usage(query)[0].rows}

    def expected(self, name: str, span: Span = WHOLE, by: Sequence[str] = BY) -> dict[Any, Decimal | None]:
        events = reference.first_of_each_id(self.sent)
        return dict(reference.usage(self.bodies[name], events, span.start, span.end, by=by))

    def events_as_of(self, vector: Vector) -> int:
        """How many stored events there are as of then."""
        return sum(map(len, self.store.read_events(TENANT, None, None, vector, None)))

    def differences(self) -> list[object]:
        """Where a figure, or what became of the events, is not what the reference model and the auditor say."""
        ragged = Span(DAY + timedelta(minutes=50, seconds=3), DAY + timedelta(hours=7, minutes=1))
        found: list[object] = []
        for name in self.bodies:
            for span in (WHOLE, ragged):
                figures, expected = self.figures(name, span), self.expected(name, span)
                if figures != expected:
                    found.append((name, span, figures, expected))
        auditor = self.auditor
        span_us = (to_us(DAY), to_us(DAY + timedelta(days=3)))
        for metric_id in self.ids.values():
            found += auditor.cells(TENANT, metric_id, None, span_us).differences
        for partition in range(auditor.partitions):
            found += auditor.conservation(partition, span_us).differences
        return found

    def fates(self, *transaction_ids: str) -> list[Fate]:
        return Transactions(self.store, self.metrics, self.log).find(TENANT, transaction_ids)


async def _identity(log: SealableLog) -> LogIdentity:
    return log.identity


def a_chunk_of(log: LogIdentity, events: Sequence[Body]) -> Chunk:
    """The chunk that a gateway of this log would make."""
    made = a_chunk(events)
    ids = made.ids()
    return Chunk.of_columns(
        identities=identify(log.hash_key, TENANT, ids),
        body_hashes=made.body_hashes,
        tenants=made.arrow("tenant"),
        customers=made.arrow("customer"),
        event_types=made.arrow("event_type"),
        times_us=made.times_us,
        transaction_ids=made.arrow("transaction_id"),
        properties=made.arrow("properties"),
    )


class LastingLog(MemoryLog):
    """In memory; it outlives its openers, as a file does."""

    async def close(self) -> None:
        """Nothing to let go of."""


def opening(log: SealableLog) -> Open:
    """Opens the one that there is."""

    async def opened(partitions: int | None) -> SealableLog:
        return log

    return opened
