"""How soon an owner without files folds when it takes over a partition whose window of ids is full.

    python -m loadtest.takeover_bench --ids 100000000

Fills the table of ids of an embedded ClickHouse, as 37 days of flushes leave it; then starts an owner in an empty
folder and measures its start, its first record of new events and its first of events that came before, and how fast it
folds until every day is a file, and after that. All that was sent before must be dropped, all else be kept.
"""

from __future__ import annotations

import argparse
import asyncio
import shutil
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from loadtest.idset_bench import anonymous_mib

from penstock.aggregator.consume import Owner, marker_at
from penstock.aggregator.store.clickhouse import ClickHouseUsageStore
from penstock.ids.shelf import Shelf
from penstock.kernel.chunk import Chunk
from penstock.kernel.event import GENERATIONS_KEPT, Outcome
from penstock.kernel.identity import BodyHashes, Identities
from penstock.kernel.ports.fold_store import Flush
from penstock.kernel.record import US_PER_DAY, Kind
from penstock.log.memory import MemoryLog, system_clock_us

RECORD_EVENTS = 1_000
RECORDS_PER_STEP = 20
MEMORY_IDS_MAX = 4_000_000
RETENTION_US = 10**15

_HASHES = "cityHash64(number, 1), cityHash64(number, 2), cityHash64(number, 3)"
_FILL = f"""INSERT INTO ids
    WITH ({_HASHES}) AS hashes
    SELECT {{day}}, 0, concat(reinterpretAsFixedString(hashes.1), reinterpretAsFixedString(hashes.2)), hashes.3,
           intDiv(number, {RECORD_EVENTS}), number % {RECORD_EVENTS}, 0, 255
    FROM numbers({{first}}, {{count}})"""


class Bench:
    """An owner at the end of a log of ticks, each of which stands for a record of ids that are in the store."""

    def __init__(self, folder: Path, ids: int) -> None:
        self._ids, self._sent = ids, 0
        self._log = MemoryLog(1)
        self._store = ClickHouseUsageStore.embedded(folder / "clickhouse")
        self._shelf = Shelf(folder / "ids", 0, self._log.identity.log_id, MEMORY_IDS_MAX)
        self._owner = Owner(0, self._log, self._store, RETENTION_US, self._shelf)

    async def fill(self) -> None:
        """Put the ids and the marker there that an owner before this one would have left."""
        today = system_clock_us() // US_PER_DAY
        each = -(-self._ids // GENERATIONS_KEPT)
        for at in range(GENERATIONS_KEPT):
            first = at * each
            day = today - GENERATIONS_KEPT + 1 + at
            filled = _FILL.format(day=day, first=first, count=min(each, self._ids - first))
            await asyncio.to_thread(self._store._writer.command, filled)
            _say(f"\r  {min(self._ids, first + each):,} ids are in the store ", end="")
        for _ in range(-(-self._ids // RECORD_EVENTS)):
            await self._log.append(0, Kind.TICK, system_clock_us(), b"")
        _, end = await self._log.bounds(0)
        [last] = await self._log.read(0, end - 1, 1, 0)
        marker = marker_at(last, self._log.identity, last.appended_at_us)
        self._store.flush(Flush((), (), (), frozenset(), {}, marker))
        _say("")

    async def start(self) -> None:
        began = time.perf_counter()
        await self._owner.restore()
        _say(f"the owner is ready after {time.perf_counter() - began:.2f} s, {self._shelf.unread:,} ids are unread")

    async def first_records(self) -> None:
        for name, (ids, bodies), dropped in (
            ("new events", self._new(RECORD_EVENTS), 0),
            ("events sent before", self._sent_before(), RECORD_EVENTS),
        ):
            await self._append(ids, bodies)
            began = time.perf_counter()
            await self._owner.step(0)
            took_s = time.perf_counter() - began
            sql = f"SELECT count() FROM ids WHERE offset = {self._owner.offset} AND outcome = {int(Outcome.DUPLICATE)}"
            [[found]] = self._store._writer.query(sql).result_rows
            assert found == dropped, f"{found} of {name} dropped, not {dropped}"
            _say(f"a record of {RECORD_EVENTS:,} {name}: folded and flushed in {took_s:.2f} s")

    async def catch_up(self) -> None:
        """Fold at full speed until nothing is unread."""
        began, events, slowest_s = time.perf_counter(), 0, 0.0
        while self._shelf.unread:
            step_s = await self._step()
            events, slowest_s = events + RECORDS_PER_STEP * RECORD_EVENTS, max(slowest_s, step_s)
            _say(f"\r  {self._shelf.unread:,} ids unread, {anonymous_mib()} MiB ", end="")
        took_s = time.perf_counter() - began
        _say(f"\rall in files after {took_s:.0f} s; folded meanwhile {events / took_s:,.0f} events/s,", end=" ")
        _say(f"{RECORDS_PER_STEP * RECORD_EVENTS:,} of them in {slowest_s:.2f} s at most, {anonymous_mib()} MiB")
        steps = [await self._step() for _ in range(20)]
        _say(f"after that {RECORDS_PER_STEP * RECORD_EVENTS / (sum(steps) / len(steps)):,.0f} events/s")

    async def _step(self) -> float:
        for _ in range(RECORDS_PER_STEP):
            await self._append(*self._new(RECORD_EVENTS))
        began = time.perf_counter()
        await self._owner.step(0)
        return time.perf_counter() - began

    def _new(self, count: int) -> tuple[Identities, BodyHashes]:
        first, self._sent = self._ids + self._sent, self._sent + count
        return self._hashed(f"numbers({first}, {count})")

    def _sent_before(self) -> tuple[Identities, BodyHashes]:
        """Evenly over all days."""
        stride = self._ids // RECORD_EVENTS
        return self._hashed(f"(SELECT number * {stride} AS number FROM numbers({RECORD_EVENTS}))")

    def _hashed(self, numbers: str) -> tuple[Identities, BodyHashes]:
        columns = self._store._writer.query(f"SELECT {_HASHES} FROM {numbers}").result_columns
        high, low, bodies = (np.array(column, np.uint64) for column in columns)
        return np.column_stack([high, low]), bodies

    async def _append(self, ids: Identities, bodies: BodyHashes) -> None:
        now_us, n = system_clock_us(), len(ids)
        chunk = Chunk.build(
            identities=ids,
            body_hashes=bodies,
            tenants=["bench"] * n,
            customers=["customer"] * n,
            event_types=["used"] * n,
            times_us=np.full(n, now_us, np.int64),
            transaction_ids=[str(low) for low in ids[:, 1].tolist()],
            properties=[b"{}"] * n,
        )
        await self._log.append(0, Kind.CHUNK, now_us, chunk.encode())

    def close(self) -> None:
        self._shelf.close()
        self._store.close()


async def measure(folder: Path, ids: int) -> None:
    bench = Bench(folder, ids)
    try:
        await bench.fill()
        await bench.start()
        await bench.first_records()
        await bench.catch_up()
    finally:
        bench.close()


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m loadtest.takeover_bench", description=__doc__)
    parser.add_argument("--ids", type=int, default=10_000_000)
    parser.add_argument("--folder", type=Path, help="where the files go; a temporary folder unless given")
    given = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="takeover-", dir=given.folder))
    try:
        asyncio.run(measure(folder, given.ids))
    finally:
        shutil.rmtree(folder)
    return 0


def _say(text: str, end: str = "\n") -> None:
    sys.stdout.write(text + end)
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
