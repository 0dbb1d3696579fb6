"""The shell around the fold under seeded faults: stores that fail at any step, owners that die, late writes.

Whatever happens, the stored cells are those of a fold that nothing disturbed (DESIGN.md section 3).
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal

import msgspec
import pytest

from builders import TENANT, a_chunk, a_metric, a_metric_body, a_sum_body, an_event, yesterday
from penstock.aggregator.consume import Owner, WrongLog
from penstock.aggregator.store.memory import MemoryUsageStore
from penstock.kernel.cell import Cell, CellKey
from penstock.kernel.control import Control, MetricArchived, MetricDefined, encode_control
from penstock.kernel.ports.fold_store import Flush
from penstock.kernel.ports.usage_store import UsageStore
from penstock.kernel.problems import StoreUnavailable
from penstock.kernel.record import Kind, Marker
from penstock.kernel.window import to_us
from penstock.log.memory import MemoryLog

GROUPS = [["region"]]
METRICS = [
    a_metric("units", a_sum_body("units", group_keys=GROUPS)),
    a_metric("most", a_metric_body("most", "MAX", aggregation_key="units")),
    a_metric("last", a_metric_body("last", "LATEST", aggregation_key="units", group_keys=GROUPS)),
    a_metric("regions", a_metric_body("regions", "UNIQUE", aggregation_key="region")),
]
NOW_US = to_us(yesterday() + timedelta(days=1))


class Died(Exception):
    """Where the process of this owner ended."""


class FaultyStore(MemoryUsageStore):
    """A store whose flushes may write only their first parts, then die, fail, or fail with the whole written."""

    def __init__(self, chance: random.Random) -> None:
        super().__init__()
        self._chance = chance
        self.faults = 0
        self.late: list[Flush] = []

    def flush(self, flush: Flush) -> None:
        if self._chance.random() < 0.6:
            super().flush(flush)
            return
        self.faults += 1
        self._write_part(flush)
        raise self._chance.choice([StoreUnavailable("no answer"), Died()])

    def _write_part(self, flush: Flush) -> None:
        """Events, then some cells, then the marker: up to any step. A whole flush may also arrive much later."""
        step = self._chance.randrange(5)
        if step == 0:
            self.late.append(flush)
            return
        cells: dict[CellKey, Cell] = {}
        if step >= 2:
            share = self._chance.random() if step == 2 else 1
            cells = {k: c for k, c in flush.cells.items() if self._chance.random() <= share}
        marker = flush.marker if step == 4 else Marker(flush.marker.partition, -1, "", 0, b"", 0)
        super().flush(msgspec.structs.replace(flush, cells=cells, marker=marker))
        if self._markers[flush.marker.partition].offset == -1:
            del self._markers[flush.marker.partition]

    def arrive_late(self) -> None:
        """A zombie's flush arrives now."""
        for flush in self.late:
            super().flush(flush)
        self.late = []


async def a_log(chance: random.Random, records: int) -> MemoryLog:
    """Chunks with repeats, ticks, and the metrics, each defined somewhere on the way."""
    log = MemoryLog(1, clock_us=lambda: NOW_US)
    define_at = {chance.randrange(records): metric for metric in METRICS}
    for n in range(records):
        if n in define_at:
            metric = define_at[n]
            control = encode_control(MetricDefined(f"define-{metric.id}", metric.id, 0, metric))
            for _ in range(chance.randrange(1, 3)):  # an outbox may send twice
                await log.append(0, Kind.CONTROL, NOW_US, control)
        if chance.random() < 0.1:
            await log.append(0, Kind.TICK, NOW_US, b"")
        events = [
            an_event(
                f"e{chance.randrange(records * 2)}",
                at=yesterday() + timedelta(minutes=5 * chance.randrange(12)),
                properties={"units": Decimal(chance.randrange(-50, 50)) / 4, "region": chance.choice(["eu", "us"])},
            )
            for _ in range(chance.randrange(5))
        ]
        await log.append(0, Kind.CHUNK, NOW_US, a_chunk(events).encode())
    return log


async def drained(
    log: MemoryLog, store: UsageStore, disturb: Callable[[], bool] = lambda: False, step: str = "step"
) -> None:
    """Owners come and go until the log is folded to its end. `disturb` is asked before each owner and each step."""
    _, end = await log.bounds(0)
    while True:
        disturb()
        owner = Owner(0, log, store, retention_us=10**15)
        try:
            await owner.restore()
            while owner.offset < end - 1 or await owner.fill():
                if await getattr(owner, step)(0) == 0 or disturb():
                    break
            else:
                return
        except (Died, StoreUnavailable):
            continue


def stored_cells(store: MemoryUsageStore) -> dict[CellKey, Cell]:
    return {key: cell for key, cell in store._cells.items() if cell.events}


@pytest.mark.parametrize("step", ["step", "step_ahead"])
@pytest.mark.parametrize("seed", range(40))
def test_whatever_fails_the_cells_are_those_of_an_undisturbed_fold(
    seed: int, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    chance = random.Random(seed)
    monkeypatch.setattr("penstock.aggregator.fold.WHOLE_EVENTS_MIN", chance.choice([1, 3, 100]))
    monkeypatch.setattr("penstock.aggregator.consume.CELLS_MAX", chance.choice([1, 1_000]))

    def disturb() -> bool:
        """Cut the log into other batches than the owner before did, and sometimes give up."""
        monkeypatch.setattr("penstock.aggregator.consume.READ_BYTES_MAX", chance.choice([1, 3_000, 6_000, 20_000]))
        return chance.random() < 0.05

    async def play() -> tuple[MemoryUsageStore, FaultyStore]:
        log = await a_log(chance, records=30)
        calm, faulty = MemoryUsageStore(), FaultyStore(chance)
        await drained(log, calm)
        await drained(log, faulty, disturb, step)
        faulty.arrive_late()
        return calm, faulty

    calm, faulty = asyncio.run(play())

    assert faulty.faults > 0
    assert stored_cells(faulty) == stored_cells(calm)
    assert faulty.marker(0) == calm.marker(0)


def test_a_metric_defined_later_counts_what_was_before_it() -> None:
    async def play(define_first: bool) -> dict[CellKey, Cell]:
        log = MemoryLog(1, clock_us=lambda: NOW_US)
        control = encode_control(MetricDefined("c", "units", 0, METRICS[0]))
        if define_first:
            await log.append(0, Kind.CONTROL, NOW_US, control)
        for n in range(5):
            event = an_event(f"e{n}", properties={"units": n, "region": "eu"})
            await log.append(0, Kind.CHUNK, NOW_US, a_chunk([event, event]).encode())
        if not define_first:
            await log.append(0, Kind.CONTROL, NOW_US, control)
        store = MemoryUsageStore()
        await drained(log, store)
        return {k: Cell(c.events, c.value) for k, c in stored_cells(store).items() if k.metric == "units"}

    assert asyncio.run(play(True)) == asyncio.run(play(False)) != {}


def test_an_archived_metric_takes_no_further_event_and_keeps_what_it_counted() -> None:
    async def play() -> MemoryUsageStore:
        log = MemoryLog(1, clock_us=lambda: NOW_US)
        controls: list[Control] = [
            MetricDefined("c1", "units", 0, METRICS[0]),
            MetricArchived("c2", "units", 1, "units"),
        ]
        for n, control in enumerate(controls):
            await log.append(0, Kind.CONTROL, NOW_US, encode_control(control))
            event = an_event(f"e{n}", properties={"units": 5})
            await log.append(0, Kind.CHUNK, NOW_US, a_chunk([event]).encode())
        store = MemoryUsageStore()
        await drained(log, store)
        return store

    cells = stored_cells(asyncio.run(play()))

    assert [c.value for k, c in cells.items() if k.metric == "units" and k.tenant == TENANT] == [5]


def test_a_store_that_was_folded_from_another_log_is_refused_by_name() -> None:
    async def play() -> None:
        store = MemoryUsageStore()
        for _ in range(2):
            log = MemoryLog(1, clock_us=lambda: NOW_US)
            await log.append(0, Kind.CHUNK, NOW_US, a_chunk([an_event()]).encode())
            owner = Owner(0, log, store, retention_us=10**15)
            await owner.restore()
            await owner.step(0)

    with pytest.raises(WrongLog, match="folded from log"):
        asyncio.run(play())


def test_a_log_that_lost_its_end_is_refused_by_name() -> None:
    async def play() -> None:
        log = MemoryLog(1, clock_us=lambda: NOW_US)
        store = MemoryUsageStore()
        store.flush(Flush((), (), (), frozenset(), {}, Marker(0, 7, log.identity.log_id, 1, b"x" * 16, NOW_US)))
        await Owner(0, log, store, retention_us=10**15).restore()

    with pytest.raises(WrongLog, match="the log holds offsets 0 to -1"):
        asyncio.run(play())


def test_folded_records_past_their_retention_are_trimmed_and_a_restart_still_works() -> None:
    async def play() -> tuple[int, int]:
        clock = [NOW_US]
        log = MemoryLog(1, clock_us=lambda: clock[0])
        store = MemoryUsageStore()
        owner = Owner(0, log, store, retention_us=2 * 3_600_000_000)
        await owner.restore()
        for n in range(8):
            await log.append(0, Kind.CHUNK, clock[0], a_chunk([an_event(f"e{n}")]).encode())
            await owner.step(0)
            clock[0] += 3_700_000_000
        await Owner(0, log, store, retention_us=0).restore()
        return await log.bounds(0)

    first, end = asyncio.run(play())

    assert 0 < first < end == 8


