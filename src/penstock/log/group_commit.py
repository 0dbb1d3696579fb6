"""Group commit: one thread writes all that is pending in one transaction, so that many appends share one fsync.

No linger: whatever came while the last fsync ran is the next group. A request is an append or a trim; its future is
resolved in its own event loop, only after the commit.
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
from collections.abc import Callable

import msgspec

from penstock.kernel.ports.event_log import Appended
from penstock.kernel.problems import LogUnavailable
from penstock.kernel.record import Kind, LogRecord
from penstock.log.high_water import HighWater
from penstock.log.sqlite_file import LogFile


class Append(msgspec.Struct, frozen=True):
    """A record to be; its offset and time are given by the writing thread."""

    partition: int
    kind: Kind
    stamped_at_us: int
    payload: bytes


class Trim(msgspec.Struct, frozen=True):
    """Forget the records of `partition` below `before`."""

    partition: int
    before: int


class _Pending(msgspec.Struct):
    request: Append | Trim
    future: asyncio.Future[Appended | None]
    answer: Appended | None = None


class GroupCommit:
    """The writing thread. `submit` may be called from any event loop."""

    def __init__(self, file: LogFile, high_water: HighWater, clock_us: Callable[[], int]) -> None:
        self._file, self._high_water, self._clock_us = file, high_water, clock_us
        self._queue: queue.SimpleQueue[_Pending | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="penstock-log-writer", daemon=True)
        self._thread.start()

    async def submit(self, request: Append | Trim) -> Appended | None:
        """Return the receipt of an append once it is durable. Raise `LogUnavailable`."""
        future: asyncio.Future[Appended | None] = asyncio.get_running_loop().create_future()
        with self._lock:
            if self._closed:
                raise LogUnavailable("the log is closed")
            self._queue.put(_Pending(request, future))
        return await future

    def close(self) -> None:
        """Write what is pending, then end the thread. Blocks; idempotent."""
        with self._lock:
            if not self._closed:
                self._closed = True
                self._queue.put(None)
        self._thread.join()

    def _run(self) -> None:
        group: list[_Pending | None] = []
        try:
            while None not in group:
                group = [self._queue.get()]
                with contextlib.suppress(queue.Empty):
                    while True:
                        group.append(self._queue.get_nowait())
                self._commit([pending for pending in group if pending is not None])
        finally:  # after a bug too: no caller may wait for a thread that has ended
            with self._lock:
                self._closed = True
            _fail([p for p in (*group, *self._leftovers()) if p is not None], "the log's writer has ended")

    def _leftovers(self) -> list[_Pending | None]:
        return [self._queue.get() for _ in range(self._queue.qsize())]

    def _commit(self, group: list[_Pending]) -> None:
        records, trims = self._plan(group)
        try:
            self._file.write(records, trims)
        except LogUnavailable as exc:
            _fail(group, exc.detail)
            return
        self._high_water.advance({record.partition: record.offset + 1 for record in records})
        for loop in {pending.future.get_loop() for pending in group}:
            _in_loop(loop, _answer, [pending for pending in group if pending.future.get_loop() is loop])
        self._file.tidy(trimmed=bool(trims))

    def _plan(self, group: list[_Pending]) -> tuple[list[LogRecord], dict[int, int]]:
        """Give each append its offset and time, each trim its bound."""
        now_us = self._clock_us()
        bounds = self._file.bounds
        ends = [b.end for b in bounds]
        records: list[LogRecord] = []
        trims: dict[int, int] = {}
        for pending in group:
            request = pending.request
            partition = request.partition
            if isinstance(request, Trim):
                before = min(request.before, ends[partition])
                trims[partition] = max(trims.get(partition, bounds[partition].first), before)
                continue
            at_us = max(now_us, bounds[partition].appended_at_us)
            offset, ends[partition] = ends[partition], ends[partition] + 1
            records.append(LogRecord(partition, offset, request.kind, request.stamped_at_us, at_us, request.payload))
            pending.answer = Appended(partition, offset, at_us)
        return records, trims


def _answer(group: list[_Pending]) -> None:
    for pending in group:
        if not pending.future.done():
            pending.future.set_result(pending.answer)


def _fail(group: list[_Pending], detail: str) -> None:
    for pending in group:
        _in_loop(pending.future.get_loop(), _refuse, [pending], detail)


def _refuse(group: list[_Pending], detail: str) -> None:
    for pending in group:
        if not pending.future.done():
            pending.future.set_exception(LogUnavailable(detail))


def _in_loop(loop: asyncio.AbstractEventLoop, call: Callable[..., None], *args: object) -> None:
    with contextlib.suppress(RuntimeError):  # the loop has ended, and whoever waited with it
        loop.call_soon_threadsafe(call, *args)
