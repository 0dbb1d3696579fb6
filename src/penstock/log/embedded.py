"""The embedded event log: one SQLite file, one writing thread, readers beside it. Durable before it is acknowledged."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

from penstock.kernel.ports.event_log import Appended
from penstock.kernel.problems import LogUnavailable
from penstock.kernel.record import Kind, LogIdentity, LogRecord
from penstock.log.group_commit import Append, GroupCommit, Trim
from penstock.log.high_water import HighWater
from penstock.log.memory import system_clock_us
from penstock.log.sqlite_file import LogFile, LogRefused

TRIM_STEP_RECORDS = 64

__all__ = ["EmbeddedLog", "LogRefused"]


class EmbeddedLog:
    """An `EventLog` on this machine's disk. Open with `open`; one process at a time."""

    def __init__(self, file: LogFile, clock_us: Callable[[], int]) -> None:
        self._file = file
        self._high_water = HighWater([bounds.end for bounds in file.bounds])
        self._writer = GroupCommit(file, self._high_water, clock_us)
        self._closed = False

    @classmethod
    def open(
        cls,
        path: Path,
        partitions: int,
        *,
        clock_us: Callable[[], int] = system_clock_us,
        bytes_max: int | None = None,
    ) -> EmbeddedLog:
        """Open the log at `path`, or create it. Raise `LogRefused` for another partition count or a second writer.

        `bytes_max` bounds the file; a full one raises `LogUnavailable` on append until it is trimmed.
        """
        return cls(LogFile.open(path, partitions, bytes_max), clock_us)

    @property
    def identity(self) -> LogIdentity:
        return self._file.identity

    async def append(self, partition: int, kind: Kind, stamped_at_us: int, payload: bytes) -> Appended:
        assert 0 <= partition < self.identity.partitions, "a partition of this log"
        appended = await self._writer.submit(Append(partition, kind, stamped_at_us, payload))
        assert appended is not None, "an append has a receipt"
        return appended

    async def read(self, partition: int, start: int, bytes_max: int, wait_ms: int) -> list[LogRecord]:
        self._refuse_if_closed()
        if not await self._high_water.passed(partition, start, wait_ms):
            return []
        self._refuse_if_closed()
        return await asyncio.to_thread(self._file.read, partition, start, bytes_max)

    async def bounds(self, partition: int) -> tuple[int, int]:
        self._refuse_if_closed()
        return self._file.bounds[partition].first, self._high_water.end(partition)

    async def trim(self, partition: int, before: int) -> None:
        """In small steps, each in a group with the appends of its moment: appends never wait for a long delete."""
        self._refuse_if_closed()
        before = min(before, self._high_water.end(partition))
        while (first := self._file.bounds[partition].first) < before:
            await self._writer.submit(Trim(partition, min(before, first + TRIM_STEP_RECORDS)))

    async def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        await asyncio.to_thread(self._writer.close)
        self._high_water.close()
        await asyncio.to_thread(self._file.close)

    def _refuse_if_closed(self) -> None:
        if self._closed:
            raise LogUnavailable("the log is closed")
