"""Keeps the older ids of one partition in files, and takes them from there after a restart.

The files are a cache of the usage store's ids. Each holds a segment of the log that ends at or below a marker that was
flushed before it was written, so that what is known stays a function of the log's prefix; a file that reaches beyond
the marker that an owner starts from, or that is of another log, is put away (CORE.md, holes 3 and 12). What no file
holds is read from the store: at once where memory has room for it, else it is asked for batch by batch, while one day
after the other becomes a file. Files are written and merged by a thread beside the fold; the set takes them in between
two batches.
"""

from __future__ import annotations

import logging
import threading
from bisect import insort
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import NamedTuple

from penstock.ids import durable, filter_file, run_file
from penstock.ids.run_file import RunFile
from penstock.ids.segment import IdsDamaged, Position, Segment, first_live
from penstock.ids.unread import Unread, stretch_of
from penstock.ids.writing import live_counts, write
from penstock.kernel.idrun import Run, SortedRun, newest_to_merge, rows_of
from penstock.kernel.idset import IdSet
from penstock.kernel.ports.fold_store import IdSource
from penstock.kernel.problems import StoreUnavailable
from penstock.kernel.record import Marker

# A file's oldest days expire before its newest: for so long some of its rows, and of its filter's bytes, may be dead. A
# file written when a day is over has a little of the next one, so a week touches eight days.
MERGED_DAYS_MAX = 8
MERGED_IDS_MAX = 1 << 27  # a larger file is merged no more: memory fills while the thread is at it
RESTING_TENDS = 1_000  # after a disk that could not be written, unless memory fills before
THE_BEGINNING = Position(-1, -1)

logger = logging.getLogger(__name__)


class _Job(NamedTuple):
    """What is being written: a file of `sources`, or one of what `unread` has up to `end`, if that is anything."""

    future: Future[RunFile | None]
    sources: tuple[SortedRun, ...]
    unread: Unread | None
    end: Position


class Shelf:
    """The files of one partition, in a folder that nobody else uses; some `memory_ids_max` ids stay in memory."""

    def __init__(
        self, folder: Path, partition: int, log_id: str, memory_ids_max: int, executor: Executor | None = None
    ) -> None:
        self.partition = partition
        self._folder, self._log_id = folder, log_id
        self._memory_ids_max = memory_ids_max
        self._executor = executor or ThreadPoolExecutor(1, thread_name_prefix=f"ids-{partition}")
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._forget_all()

    def _forget_all(self) -> None:
        self._ids: IdSet | None = None
        self._files: list[RunFile] = []  # oldest first; what lies between two of them is unread, or there is nothing
        self._unread: list[Unread] = []  # oldest first
        self._end = THE_BEGINNING
        self._unwritten: tuple[Run, ...] = ()  # handed over, and in no file yet
        self._job: _Job | None = None
        self._rest = 0  # so many times nothing is begun

    @property
    def is_writing(self) -> bool:
        """Whether the thread has work that is not taken in yet."""
        return self._job is not None

    @property
    def files(self) -> Sequence[RunFile]:
        """What there is, oldest first; for those who measure."""
        return tuple(self._files)

    @property
    def unread(self) -> int:
        """How many ids the store is still asked for; for those who measure."""
        return sum(map(len, self._unread))

    def restore(self, marker: Marker | None, store: IdSource) -> IdSet:
        """The set as of `marker`, from files and, where there is none, from the store."""
        with self._lock:
            # A day that is being read stays true: who starts again and again must come to an end of its days.
            self._abandon(keeps_day=True)
            self._forget_all()
            self._folder.mkdir(parents=True, exist_ok=True)
            usable = self._usable(marker)
            self._ids = IdSet() if marker is None else self._restored(marker, usable, store)
            if self._unread and marker is not None:
                self._start_reading(self._unread[0], first_live(marker))
            return self._ids

    def _restored(self, marker: Marker, usable: Sequence[RunFile], store: IdSource) -> IdSet:
        self._end = first_live(marker)
        for file in usable:
            start = file.segment.start
            if self._end < start:
                # A start at offset -1 is the end of the day before, whatever its last offset.
                gap_end = start if start.offset >= 0 else Position(start.day - 1, marker.offset)
                self._put_off(store, gap_end, self._counts(store, gap_end))
            self._files.append(file)
            self._end = file.segment.end
        newest = self._newest(store, Position(marker.clock_day, marker.offset))
        ids = IdSet([*self._files, *self._unread], newest)
        ids.drop_before(first_live(marker).day)
        return ids

    def _newest(self, store: IdSource, end: Position) -> list[Run]:
        """What no file has of the newest ids, where memory has room for it."""
        counts = self._counts(store, end)
        if sum(counts.values()) > self._memory_ids_max:
            self._put_off(store, end, counts)
            self._end = end
            return []
        return list(_runs(store, self.partition, self._end, end)) if counts else []

    def _counts(self, store: IdSource, end: Position) -> dict[int, int]:
        return store.count_ids(self.partition, stretch_of(self._end, end))

    def _put_off(self, store: IdSource, end: Position, counts: Mapping[int, int]) -> None:
        if counts:
            logger.info("partition %d asks the store for %d ids", self.partition, sum(counts.values()))
            self._unread.append(Unread(store, self.partition, self._end, end, counts))

    def tend(self, ids: IdSet, marker: Marker) -> None:
        """Take in what was written, begin what is due. `ids` is exactly as of `marker`.

        A file that is ahead of the marker which a crash leaves is not believed: its ids are read from the store.

        Raise `IdsDamaged` where a file turned out to be: the caller starts again from the marker.
        """
        with self._lock:
            if ids is not self._ids:
                return  # a fold that was given up while it ran
            self._take_in(ids)
            while self._files and self._files[0].segment.end < first_live(marker):
                self._files.pop(0).remove()
            self._unread = [unread for unread in self._unread if len(unread)]
            if self._job is None:
                self._begin(ids, marker)

    def close(self) -> None:
        """Give up what is being written, and let go."""
        with self._lock:
            self._abandon()
            self._forget_all()
        self._executor.shutdown()

    def _begin(self, ids: IdSet, marker: Marker) -> None:
        oldest = ids.unsettled_day
        is_day_over = oldest is not None and oldest < marker.clock_day
        live = first_live(marker)
        if is_day_over or ids.unsettled > self._memory_ids_max:
            self._rest = 0
            self._unwritten = tuple(run for run in (*self._unwritten, *ids.hand_over()) if len(run))
            self._start(self._unwritten, self._end, Position(marker.clock_day, marker.offset), live)
        elif self._rest:
            self._rest -= 1
        elif self._unread:
            self._start_reading(self._unread[0], live)
        else:
            files = self._mergeable()
            if files:
                self._start(files, files[0].segment.start, files[-1].segment.end, live)

    def _mergeable(self) -> tuple[RunFile, ...]:
        """The newest neighbours that are worth a file of their own, or none."""
        end = len(self._files)
        while end:
            near = self._near(self._files[:end])
            count = newest_to_merge([len(file) for file in near])
            if count:
                return tuple(near[-count:])
            end -= max(1, len(near))
        return ()

    def _near(self, files: Sequence[RunFile]) -> list[RunFile]:
        """The last of `files` with those before it that are so few ids, or so few days, as one file may have."""
        newest_day = max(files[-1].counts)
        near: list[RunFile] = []
        for file in reversed(files):
            is_small = sum(map(len, near)) + len(file) <= self._memory_ids_max
            is_near = newest_day - min(file.counts) < MERGED_DAYS_MAX
            if not (is_small or is_near) or len(file) > MERGED_IDS_MAX:
                break
            near.insert(0, file)
        return near

    def _start(self, sources: tuple[SortedRun, ...], start: Position, end: Position, live: Position) -> None:
        segment = self._segment(sources, start, end, live)
        if segment.rows:
            future = self._executor.submit(self._write, segment, sources)
            self._job = _Job(future, sources, None, end)

    def _start_reading(self, unread: Unread, live: Position) -> None:
        start, end = unread.oldest()
        future = self._executor.submit(self._read_day, unread.source, start, end, live)
        self._job = _Job(future, (), unread, end)

    def _read_day(self, store: IdSource, start: Position, end: Position, live: Position) -> RunFile | None:
        """In the thread: a file of the ids of one day."""
        runs = list(_runs(store, self.partition, start, end))
        return self._write(self._segment(runs, start, end, live), runs)

    def _write(self, segment: Segment, sources: Sequence[SortedRun]) -> RunFile | None:
        return write(self._folder, segment, sources, self._stop) if segment.rows else None

    def _segment(self, sources: Sequence[SortedRun], start: Position, end: Position, live: Position) -> Segment:
        # Rows that have expired are left out, and the segment says so: it begins no earlier than what is live.
        return Segment(self._log_id, self.partition, max(start, live), end, live_counts(sources, live.day))

    def _take_in(self, ids: IdSet) -> None:
        if self._job is None or not self._job.future.done():
            return
        job, self._job = self._job, None
        try:
            made = job.future.result()
        except IdsDamaged:
            raise
        except StoreUnavailable as exc:
            logger.warning("ids of partition %d stay unread for now: %s", self.partition, exc)
            return
        except OSError as exc:
            # Nothing is lost: the set goes on with what it has, and what is due is tried again later.
            logger.warning("ids of partition %d stay where they are: %s", self.partition, exc)
            self._rest = RESTING_TENDS
            return
        old = [file for file in self._files if file in job.sources]
        self._files = [file for file in self._files if file not in old]
        if made is not None:
            ids.replace(job.sources, made)
            insort(self._files, made, key=lambda file: file.segment.end)
        self._unwritten = tuple(run for run in self._unwritten if run not in job.sources)
        if job.unread is not None:
            job.unread.read_through(job.end)
        else:
            self._end = max(self._end, job.end)  # a merge may be of older ones
        for file in old:
            file.remove()

    def _abandon(self, *, keeps_day: bool = False) -> None:
        if self._job is not None:
            if self._job.unread is None or not keeps_day:
                self._stop.set()
            wait([self._job.future])
            self._stop.clear()
            self._job = None

    def _usable(self, marker: Marker | None) -> list[RunFile]:
        """The files that may be believed as of `marker`, oldest first, none overlapping; the rest is removed."""
        found = self._found()
        chain: list[RunFile] = []
        if marker is not None:
            chain = _chain([file for file in found if self._is_true(file.segment, marker)], first_live(marker))
        for file in found:
            if file not in chain:
                file.remove()
        return chain

    def _is_true(self, segment: Segment, marker: Marker) -> bool:
        named = (segment.log_id, segment.partition) == (self._log_id, self.partition)
        return named and segment.end.offset <= marker.offset

    def _found(self) -> list[RunFile]:
        """Every whole file in the folder; what a crash left of others is removed."""
        found = []
        for path in sorted(self._folder.iterdir()):
            try:
                if path.suffix == run_file.SUFFIX:
                    found.append(RunFile(path))
                elif path.suffix == durable.TEMPORARY or filter_file.is_orphan(path):
                    path.unlink(missing_ok=True)
            except IdsDamaged as exc:
                logger.warning("%s", exc)
        return found


def _runs(store: IdSource, partition: int, start: Position, end: Position) -> Iterator[Run]:
    for day, ids, bodies in store.ids(partition, stretch_of(start, end)):
        if len(ids):
            yield Run.sort(day, rows_of(ids, bodies))


def _chain(files: Sequence[RunFile], live: Position) -> list[RunFile]:
    """Files that do not overlap. Of those that begin together the longest, for the others were merged into it."""

    def order(file: RunFile) -> tuple[Position, int, int]:
        end = file.segment.end
        return max(file.segment.start, live), -end.day, -end.offset

    chain: list[RunFile] = []
    at = live
    for file in sorted(files, key=order):
        if at < file.segment.end and (not chain or at <= file.segment.start):
            chain.append(file)
            at = file.segment.end
    return chain
