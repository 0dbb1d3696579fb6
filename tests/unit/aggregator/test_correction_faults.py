"""Corrections between chunks under seeded faults: flushes that fail at any step, owners that die, late writes.

Whatever happens, cells and corrections are those of an owner that nothing disturbed, and those are the reference's.
"""

from __future__ import annotations

import asyncio
import random
from decimal import Decimal
from typing import Any

import pytest

import reference_corrections
from penstock.aggregator.audit import figure
from penstock.aggregator.consume import Owner
from penstock.aggregator.store.memory import MemoryUsageStore
from penstock.kernel.cell import Cell, CellKey
from penstock.kernel.ports.fold_store import Flush
from penstock.kernel.window import to_us
from unit.aggregator.correction_world import (
    BODIES,
    START,
    KnownLog,
    amend,
    an_event_at,
    as_records,
    define,
    expected_usage,
    plain,
    usage_of,
    void,
)
from unit.aggregator.test_owner import FaultyStore, drained, stored_cells

NOW_US = to_us(START) + 86_400_000_000


def some_entries(chance: random.Random) -> list[Any]:
    """Metrics, then chunks with repeats, and corrections of few ids, some of them sent twice or overtaken."""
    entries: list[Any] = [define(name) for name in BODIES]
    for n in range(30):
        name = f"e{chance.randrange(12)}"
        region, units = chance.choice(["eu", "us", None]), chance.choice([chance.randrange(-9, 9), "1e40", "text"])
        choice = chance.random()
        if choice < 0.45:
            made = [
                an_event_at(f"e{chance.randrange(12)}", chance.randrange(30), region, Decimal(chance.randrange(9)) / 4)
                for _ in range(chance.randrange(1, 4))
            ]
            entries.append(made)
            continue
        fields: dict[str, Any] = {"sequence": 100 + n * 10 - chance.choice([0, 0, 0, 25])}
        if choice < 0.6:
            entries.append(void(f"c{n}", name, **fields))
        else:
            event_type = chance.choice(["llm_call", "llm_call", "upload"])
            changed = {"units": units, "region": region}
            entries.append(amend(f"c{n}", name, event_type=event_type, properties=changed, **fields))
        if chance.random() < 0.2:
            entries.append(entries[-1])
    return entries


@pytest.mark.parametrize("step", ["step", "step_ahead"])
@pytest.mark.parametrize("seed", range(25))
def test_whatever_fails_corrections_are_applied_once(seed: int, step: str, monkeypatch: pytest.MonkeyPatch) -> None:
    chance = random.Random(seed)
    monkeypatch.setattr("penstock.aggregator.fold.WHOLE_EVENTS_MIN", chance.choice([1, 2, 100]))
    monkeypatch.setattr("penstock.aggregator.consume.CELLS_MAX", chance.choice([1, 1_000]))
    entries = some_entries(chance)

    def disturb() -> bool:
        monkeypatch.setattr("penstock.aggregator.consume.READ_BYTES_MAX", chance.choice([1, 3_000, 20_000]))
        return chance.random() < 0.05

    async def play() -> tuple[MemoryUsageStore, FaultyStore]:
        log = KnownLog(1, clock_us=lambda: NOW_US)
        for kind, payload in as_records(entries):
            await log.append(0, kind, NOW_US, payload)
        calm, faulty = MemoryUsageStore(), FaultyStore(chance)
        await drained(log, calm)
        await drained(log, faulty, disturb, step)
        faulty.arrive_late()
        return calm, faulty

    calm, faulty = asyncio.run(play())

    assert faulty.faults > 0
    assert stored_cells(faulty) == stored_cells(calm)
    assert faulty._corrections == calm._corrections
    told = {each.id: each.refusal for _, each in sorted(calm._corrections.items())}
    assert told == reference_corrections.answers(plain(entries))
    for metric_id in BODIES:
        assert usage_of(calm._cells, metric_id) == expected_usage(entries, metric_id), metric_id


class Witness(MemoryUsageStore):
    """Remembers what every cell was written as, by its version."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: dict[tuple[CellKey, int], set[object]] = {}

    def flush(self, flush: Flush) -> None:
        for key, cell in flush.cells.items():
            self.rows.setdefault((key, cell.version), set()).add(figure(cell))
        super().flush(flush)


def rows_of_two_owners(monkeypatch: pytest.MonkeyPatch) -> Witness:
    """One goes on to the end after three records; the other follows it, with what it had in memory."""
    monkeypatch.setattr("penstock.aggregator.consume.READ_BYTES_MAX", 1)
    values = [(1, 5), (2, 9)]
    entries: list[Any] = [define("most"), [an_event_at(f"e{n}", n, "eu", units) for n, units in values]]
    entries += [void("c1", "e2"), an_event_at("e3", 3, "eu", 7)]

    async def play() -> Witness:
        log, store = KnownLog(1, clock_us=lambda: NOW_US), Witness()
        for kind, payload in as_records(entries):
            await log.append(0, kind, NOW_US, payload)
        first, second = (Owner(0, log, store, retention_us=10**15) for _ in range(2))
        for owner in (first, second):
            await owner.restore()
            for _ in range(2):
                await owner.step(0)
        for owner in (first, second):
            while await owner.step(0):
                pass
        return store

    return asyncio.run(play())


def test_an_owner_that_lags_counts_again_as_of_the_correction(monkeypatch: pytest.MonkeyPatch) -> None:
    store = rows_of_two_owners(monkeypatch)

    assert all(len(written) == 1 for written in store.rows.values())
    assert [figures for (key, version), figures in store.rows.items() if key.metric == "most" and version == 2] == [
        {figure(Cell(events=1, value=Decimal(5)))}
    ]


def test_a_recount_of_the_current_state_would_be_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """The weakening of CORE.md: the later event is counted into the cell as of the correction."""
    read_events = MemoryUsageStore.read_events

    def ahead(self: MemoryUsageStore, tenant: str, customers: Any, span: Any, as_of: Any, partition: Any) -> Any:
        return read_events(self, tenant, customers, span, (2**40,) * len(as_of), partition)

    monkeypatch.setattr(MemoryUsageStore, "read_events", ahead)

    store = rows_of_two_owners(monkeypatch)

    assert {key.metric for (key, _), written in store.rows.items() if len(written) > 1} == {"most"}
