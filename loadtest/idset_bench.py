"""How much memory and disk a window of ids takes, and how fast it is asked: the exact set at scale, without the rest.

    python -m loadtest.idset_bench --ids 100000000

Fills a window of `--days` days as an owner would, in one process; starts again in another, which opens the files and
asks. New ids are in no run; repeated ones are spread evenly over the whole window, which is the worst case for caches.
Anonymous memory is what the process holds; the files it has mapped are page cache, which the machine may take back.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt

from penstock.ids.shelf import Shelf
from penstock.kernel.event import Verdict
from penstock.kernel.identity import BodyHashes, Identities
from penstock.kernel.idset import IdSet
from penstock.kernel.ports.fold_store import Stretch
from penstock.kernel.record import US_PER_DAY, Marker

FIRST_DAY = 20_000
RECORD_IDS = 20_000
LOG_ID = "bench"
MIB = 2**20

Numbers = npt.NDArray[np.uint64]


class Window(msgspec.Struct, frozen=True):
    """Ids numbered from 0, `RECORD_IDS` to a record, spread evenly over the days."""

    ids: int
    days: int
    memory_ids_max: int

    @property
    def records(self) -> int:
        return -(-self.ids // RECORD_IDS)

    def day_of(self, record: int) -> int:
        return FIRST_DAY + record * self.days // self.records

    def record(self, record: int) -> tuple[Identities, BodyHashes]:
        return hashed(np.arange(record * RECORD_IDS, min(self.ids, (record + 1) * RECORD_IDS), dtype=np.uint64))

    def marker(self, record: int) -> Marker:
        return Marker(0, record, LOG_ID, 1, b"", self.day_of(record) * US_PER_DAY)

    def shelf(self, folder: Path) -> Shelf:
        return Shelf(folder, 0, LOG_ID, self.memory_ids_max)


class NumberedStore:
    """Stands for the usage store after a restart: it makes the ids again that no file holds."""

    def __init__(self, window: Window) -> None:
        self._window = window
        self.ids_read = 0

    def ids(self, partition: int, stretch: Stretch) -> Iterator[tuple[int, Identities, BodyHashes]]:
        for day, records in self._records(stretch).items():
            parts = [self._window.record(record) for record in records]
            self.ids_read += sum(len(part[1]) for part in parts)
            yield day, np.concatenate([part[0] for part in parts]), np.concatenate([part[1] for part in parts])

    def count_ids(self, partition: int, stretch: Stretch) -> dict[int, int]:
        return {day: RECORD_IDS * len(records) for day, records in self._records(stretch).items()}

    def known(self, partition: int, stretch: Stretch, asked: Identities) -> tuple[Identities, BodyHashes]:
        raise AssertionError("all but the newest ids are in files here")

    def _records(self, stretch: Stretch) -> dict[int, list[int]]:
        """The records of the stretch, by day."""
        days: dict[int, list[int]] = {}
        for record in range(stretch.through + 1):
            day = self._window.day_of(record)
            if (day, record) > (stretch.since_day, stretch.above) and day <= stretch.until_day:
                days.setdefault(day, []).append(record)
        return days


def hashed(numbers: Numbers) -> tuple[Identities, BodyHashes]:
    """The identity and the body hash that stand for each number; as even as a cryptographic hash, and faster."""
    return np.stack([_mixed(numbers, 1), _mixed(numbers, 2)], axis=1), _mixed(numbers, 3)


def _mixed(numbers: Numbers, stream: int) -> Numbers:
    mixed = numbers * np.uint64(0x9E3779B97F4A7C15) + np.uint64(stream * 0xD1342543DE82EF95 % 2**64)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        mixed = (mixed ^ (mixed >> np.uint64(shift))) * np.uint64(factor)
    return mixed ^ (mixed >> np.uint64(31))


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m loadtest.idset_bench", description=__doc__)
    parser.add_argument("--ids", type=int, default=10_000_000)
    parser.add_argument("--days", type=int, default=36)
    parser.add_argument("--memory-ids", type=int, default=4_000_000, help="ids beyond which memory goes to a file")
    parser.add_argument("--seconds", type=float, default=3.0, help="for which each look-up is measured")
    parser.add_argument("--batches", default="10000,100000", help="batch sizes, comma-separated")
    parser.add_argument("--cold", action="store_true", help="also ask with the files out of the page cache")
    parser.add_argument("--folder", type=Path, help="where the files go; a temporary folder unless given")
    given = parser.parse_args()
    window = Window(given.ids, given.days, given.memory_ids)
    folder = Path(tempfile.mkdtemp(prefix="idset-", dir=given.folder))
    try:
        filling = multiprocessing.get_context("spawn").Process(target=fill, args=(window, folder))
        filling.start()
        filling.join()
        if filling.exitcode:
            return 1
        sizes = [int(size) for size in given.batches.split(",")]
        ask(window, folder, sizes, given.seconds)
        if given.cold:
            ask_cold(window, folder, sizes, given.seconds)
    finally:
        shutil.rmtree(folder)
    return 0


def fill(window: Window, folder: Path) -> None:
    """Fill the window as an owner does: probe, add, flush, tend."""
    shelf = window.shelf(folder)
    store = NumberedStore(window)
    ids = shelf.restore(None, store)
    began, told, most_mib = time.perf_counter(), 0.0, 0
    for number in range(window.records):
        identities, bodies = window.record(number)
        fresh = ids.probe(identities, bodies) == Verdict.ACCEPTED
        assert fresh.all()
        ids.add(window.day_of(number), identities, bodies)
        shelf.tend(ids, window.marker(number))
        if time.perf_counter() - told > 5:
            told = time.perf_counter()
            most_mib = max(most_mib, anonymous_mib())
            rate = len(ids) / (told - began)
            _say(f"\r  {len(ids):,} ids, {rate:,.0f}/s, {len(shelf.files)} files, {anonymous_mib()} MiB ", end="")
    last = window.marker(window.records - 1)
    while True:
        shelf.tend(ids, last)
        if not shelf.is_writing:
            break
        time.sleep(0.01)
    rate = len(ids) / (time.perf_counter() - began)
    _say(f"\rfilled {len(ids):,} ids over {window.days} days: {rate:,.0f} ids/s, at most {most_mib} MiB anonymous")
    shelf.close()


def ask(window: Window, folder: Path, sizes: list[int], seconds: float) -> None:
    """Start again, and measure."""
    before_mib = anonymous_mib()
    store = NumberedStore(window)
    shelf = window.shelf(folder)
    began = time.perf_counter()
    ids = shelf.restore(window.marker(window.records - 1), store)
    opened_s = time.perf_counter() - began
    rng = np.random.default_rng(7)
    one = hashed(rng.integers(0, window.ids, 100, np.uint64))
    began = time.perf_counter()
    ids.probe(*one)
    first_s = time.perf_counter() - began
    in_files = sum(len(file) for file in shelf.files)
    disk = sum(path.stat().st_size for path in folder.glob("*.ids"))
    _say(f"opened {len(ids):,} ids in {opened_s:.2f} s, {store.ids_read:,} of them from the store")
    _say(f"the first batch, which reads the filters, took {first_s:.2f} s")
    _say(f"files: {len(shelf.files)} with {in_files:,} ids, {disk / in_files:.2f} bytes/id on disk")
    _say(f"filters: {sum(f.filter_bytes for f in shelf.files) / in_files:.2f} bytes/id in memory")
    for file in shelf.files:
        days = file.segment.counts
        _say(f"  days {min(days) - FIRST_DAY}-{max(days) - FIRST_DAY}: {len(file):,} ids")
    _say(f"{'batch':>8} {'new/s':>12} {'per CPU s':>12} {'repeated/s':>12} {'per CPU s':>12}")
    for size in sizes:
        rates = [value for is_new in (True, False) for value in rate(ids, size, seconds, window, is_new)]
        _say(f"{size:>8,} " + " ".join(f"{value:>12,.0f}" for value in rates))
    _say(f"anonymous memory: {anonymous_mib()} MiB, of which {before_mib} MiB before the set was opened")
    shelf.close()


def ask_cold(window: Window, folder: Path, sizes: list[int], seconds: float) -> None:
    """The same with every page still on the disk; each figure after a start of its own."""
    for size in sizes:
        rates: list[float] = []
        for is_new in (True, False):
            forget_pages(folder)
            shelf = window.shelf(folder)
            ids = shelf.restore(window.marker(window.records - 1), NumberedStore(window))
            rates += rate(ids, size, seconds, window, is_new, warm_s=0)
            shelf.close()
            del ids
        _say(f"{size:>8,} " + " ".join(f"{value:>12,.0f}" for value in rates) + "  from the disk")


def rate(
    ids: IdSet, size: int, seconds: float, window: Window, is_new: bool, warm_s: float = 1.0
) -> tuple[float, float]:
    """Look-ups a second, and a CPU second, over some `seconds`, after a while that does not count."""
    rng = np.random.default_rng(size + is_new)
    expected = Verdict.ACCEPTED if is_new else Verdict.DUPLICATE
    wall_s, cpu_s, asked, warm_left_s = 0.0, 0.0, 0, warm_s
    while wall_s < seconds:
        low, high = (window.ids, 2**62) if is_new else (0, window.ids)
        batch = hashed(rng.integers(low, high, size, np.uint64))
        began, cpu_began = time.perf_counter(), time.process_time()
        verdicts = ids.probe(*batch)
        took_s, cpu_took_s = time.perf_counter() - began, time.process_time() - cpu_began
        assert (verdicts == expected).all()
        warm_left_s -= took_s
        if warm_left_s < 0:
            wall_s, cpu_s, asked = wall_s + took_s, cpu_s + cpu_took_s, asked + size
    return asked / wall_s, asked / cpu_s


def forget_pages(folder: Path) -> None:
    for path in folder.iterdir():
        descriptor = os.open(path, os.O_RDONLY)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(descriptor)


def anonymous_mib() -> int:
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    [kib] = [int(line.split()[1]) for line in lines if line.startswith("Anonymous:")]
    return kib * 1024 // MIB


def _say(text: str, end: str = "\n") -> None:
    sys.stdout.write(text + end)
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
