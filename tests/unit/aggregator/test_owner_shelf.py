"""An owner whose ids are in files counts what one counts that has them all in memory, whatever dies in between."""

from __future__ import annotations

import asyncio
import random
from datetime import timedelta
from pathlib import Path

import pytest

from builders import a_chunk, an_event, yesterday
from penstock.aggregator.consume import Owner
from penstock.aggregator.store.memory import MemoryUsageStore
from penstock.ids.shelf import Shelf
from penstock.kernel.cell import Cell, CellKey
from penstock.kernel.problems import StoreUnavailable
from penstock.kernel.record import Kind
from penstock.kernel.window import to_us
from penstock.log.memory import MemoryLog
from unit.aggregator.test_owner import Died, FaultyStore
from unit.ids.shelf_world import Later, tiny

DAYS = 50  # longer than any id is remembered
RECORDS = 60


async def a_log(chance: random.Random) -> MemoryLog:
    """Events of days on end, many of them sent again, some with another body, a few after their time."""
    now = yesterday() - timedelta(days=DAYS)
    log = MemoryLog(1, clock_us=lambda: to_us(now))
    sent: list[dict[str, object]] = []
    for n in range(RECORDS):
        fresh = [an_event(f"e{n}-{i}", at=now) for i in range(chance.randrange(6))]
        again = [dict(event) for event in sent if chance.random() < 0.1]
        for event in again:
            if chance.random() < 0.2:
                event["properties"] = {"changed": n}
        await log.append(0, Kind.CHUNK, to_us(now), a_chunk([*fresh, *again]).encode())
        sent += fresh
        now += timedelta(hours=chance.randrange(48))
    return log


def counted(store: MemoryUsageStore) -> dict[CellKey, Cell]:
    return {key: cell for key, cell in store._cells.items() if cell.events}


@pytest.mark.parametrize("seed", range(12))
def test_whatever_dies_an_owner_with_files_counts_what_one_in_memory_does(
    seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chance = random.Random(seed)
    tiny(monkeypatch)
    monkeypatch.setattr("os.fsync", lambda descriptor: None)
    store, calm = FaultyStore(chance), MemoryUsageStore()
    files_seen = 0

    async def fold() -> None:
        nonlocal files_seen
        log = await a_log(chance)
        plain = Owner(0, log, calm, retention_us=10**15)
        await plain.restore()
        while plain.offset < RECORDS - 1:
            await plain.step(0)
        offset = -1
        while offset < RECORDS - 1:
            thread = Later()
            shelf = Shelf(tmp_path / "ids", 0, log.identity.log_id, 5, thread)
            owner = Owner(0, log, store, retention_us=10**15, shelf=shelf)
            try:
                await owner.restore()
                while owner.offset < RECORDS - 1 and chance.random() < 0.9:
                    monkeypatch.setattr("penstock.aggregator.consume.READ_BYTES_MAX", chance.choice([1, 6_000, 20_000]))
                    await owner.step(0)
                    if chance.random() < 0.7:
                        thread.finish()
                    files_seen = max(files_seen, len(shelf.files))
            except (Died, StoreUnavailable):
                pass
            offset = owner.offset

    asyncio.run(fold())

    assert files_seen > 1
    assert counted(store) == counted(calm) != {}
