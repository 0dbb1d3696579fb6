"""How far each partition is durable, and who waits for more. Any thread advances it, tasks of any event loop wait."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Mapping, Sequence


class HighWater:
    """The offset after the last durable record of every partition; it never goes back."""

    def __init__(self, ends: Sequence[int]) -> None:
        self._ends = list(ends)
        self._waiters: list[set[asyncio.Future[None]]] = [set() for _ in ends]
        self._lock = threading.Lock()
        self._closed = False

    def end(self, partition: int) -> int:
        return self._ends[partition]

    def grow(self, partitions: int) -> None:
        """Add partitions behind the last, empty ones."""
        with self._lock:
            self._ends += [0] * partitions
            self._waiters += [set[asyncio.Future[None]]() for _ in range(partitions)]

    def advance(self, ends: Mapping[int, int]) -> None:
        """Set the new ends and wake whoever waits on one of these partitions."""
        with self._lock:
            for partition, end in ends.items():
                self._ends[partition] = end
            waiters = [waiter for partition in ends for waiter in self._waiters[partition]]
        _wake(waiters)

    def close(self) -> None:
        """Wake everyone: nothing more will come."""
        with self._lock:
            self._closed = True
            waiters = [waiter for partition in self._waiters for waiter in partition]
        _wake(waiters)

    async def passed(self, partition: int, offset: int, wait_ms: int) -> bool:
        """Whether `offset` is durable, as soon as it is, or after `wait_ms`, or when the log closes."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + wait_ms / 1000
        while self._ends[partition] <= offset:
            left = deadline - loop.time()
            waiter = self._register(partition, offset, loop) if left > 0 else None
            if waiter is None:
                break
            try:
                await asyncio.wait([waiter], timeout=left)
            finally:
                with self._lock:
                    self._waiters[partition].discard(waiter)
        return self._ends[partition] > offset

    def _register(self, partition: int, offset: int, loop: asyncio.AbstractEventLoop) -> asyncio.Future[None] | None:
        """A waiter for the next advance, or None where there is none to wait for. Locked: no wake-up is lost."""
        with self._lock:
            if self._closed or self._ends[partition] > offset:
                return None
            waiter = loop.create_future()
            self._waiters[partition].add(waiter)
            return waiter


def _wake(waiters: Sequence[asyncio.Future[None]]) -> None:
    for waiter in waiters:
        with contextlib.suppress(RuntimeError):  # its event loop has ended, and its reader with it
            waiter.get_loop().call_soon_threadsafe(_resolve, waiter)


def _resolve(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)
