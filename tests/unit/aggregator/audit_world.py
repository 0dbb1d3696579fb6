"""A log, its owners, a store and an auditor over them, for the tests of the audit and the rebuild."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from decimal import Decimal

import msgspec

from builders import TENANT, Body, a_chunk, a_metric, a_metric_body, a_sum_body, an_event, yesterday
from penstock.aggregator.auditor import Auditor
from penstock.aggregator.consume import Owner
from penstock.aggregator.store.memory import MemoryUsageStore
from penstock.kernel.cell import Cell, CellKey
from penstock.kernel.control import Control, MetricArchived, MetricDefined, encode_control
from penstock.kernel.record import Kind, LogRecord
from penstock.kernel.window import to_us
from penstock.log.memory import MemoryLog

DAY = yesterday()
NOW_US = to_us(DAY + timedelta(days=1, hours=2))
SPAN_US = (to_us(DAY), to_us(DAY + timedelta(days=2)))
GROUPS = [["region"]]
METRICS = {
    "count": a_metric_body("count"),
    "units": a_sum_body("units", group_keys=GROUPS),
    "most": a_metric_body("most", "MAX", aggregation_key="units"),
    "least": a_metric_body("least", "MIN", aggregation_key="units"),
    "last": a_metric_body("last", "LATEST", aggregation_key="units", group_keys=GROUPS),
    "regions": a_metric_body("regions", "UNIQUE", aggregation_key="region"),
}


class AuditWorld:
    """Defines metrics, sends events, folds them; `falsify` changes what the store holds of a cell."""

    def __init__(self, partitions: int = 1, store: MemoryUsageStore | None = None) -> None:
        self.store = store or MemoryUsageStore()
        self.now_us = NOW_US
        self.log = MemoryLog(partitions, clock_us=lambda: self.now_us)
        self.auditor = Auditor(self.store, partitions)

    def define(self, *names: str) -> None:
        for name in names:
            self.control(MetricDefined(f"define-{name}", name, 0, a_metric(name, METRICS[name])))

    def archive(self, name: str, copies: int = 1) -> None:
        for _ in range(copies):
            self.control(MetricArchived(f"archive-{name}", name, 1, name))

    def control(self, control: Control) -> None:
        for partition in range(self.log.identity.partitions):
            self._append(partition, Kind.CONTROL, encode_control(control))

    def send(self, events: Sequence[Body], partition: int = 0, tenant: str = TENANT) -> None:
        self._append(partition, Kind.CHUNK, a_chunk(events, tenant).encode())

    def tick(self) -> None:
        for partition in range(self.log.identity.partitions):
            self._append(partition, Kind.TICK, b"")

    def _append(self, partition: int, kind: Kind, payload: bytes) -> None:
        asyncio.run(self.log.append(partition, kind, self.now_us, payload))

    def fold(self) -> None:
        """Fold every partition to the end of the log."""

        async def play() -> None:
            for partition in range(self.log.identity.partitions):
                owner = Owner(partition, self.log, self.store, retention_us=10**15)
                await owner.restore()
                while await owner.step(0) or await owner.fill():
                    pass

        asyncio.run(play())

    async def step(self) -> None:
        """Fold the next records of partition 0, and fill what is due."""
        owner = Owner(0, self.log, self.store, retention_us=10**15)
        await owner.restore()
        await owner.step(0)
        while await owner.fill():
            pass

    def read_log(self, partition: int, start: int, bytes_max: int) -> list[LogRecord]:
        return asyncio.run(self.log.read(partition, start, bytes_max, 0))

    def cells(self, metric: str) -> dict[CellKey, Cell]:
        return self.store.stored_cells(None, metric, None, None, None)

    def falsify(self, metric: str, **changes: object) -> CellKey:
        """Change the first of a metric's cells; return its key."""
        key = min(self.cells(metric), key=repr)
        self.store._cells[key] = msgspec.structs.replace(self.store._cells[key], **changes)
        return key

    def lose(self, metric: str) -> CellKey:
        """Drop the first of a metric's rows; return its key."""
        key = min(self.cells(metric), key=repr)
        del self.store._cells[key]
        return key


def some_events(start: int, count: int, **fields: object) -> list[Body]:
    """Events of two customers over three hours of yesterday; every seventh cannot be read where units are."""
    return [
        an_event(
            f"e{n}",
            customer_id=("acme", "other")[n % 2],
            at=DAY + timedelta(minutes=3 * (n % 60)),
            properties={"units": Decimal(n) / 4 if n % 7 else Decimal("1e30"), "region": ("eu", "us", None)[n % 3]},
            **fields,
        )
        for n in range(start, start + count)
    ]
