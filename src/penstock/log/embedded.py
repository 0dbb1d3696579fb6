"""The embedded event log: one SQLite file, one writing thread, readers beside it. Durable before it is acknowledged."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path

from penstock.kernel.ports.event_log import Appended
from penstock.kernel.ports.succession import Seal, encode_seal
from penstock.kernel.problems import LogUnavailable
from penstock.kernel.record import Kind, LogIdentity, LogRecord
from penstock.log.group_commit import Append, GroupCommit, Trim
from penstock.log.high_water import HighWater
from penstock.log.memory import system_clock_us
from penstock.log.sealed import following, refuse_if_sealed, sealed_otherwise
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
        partitions: int | None,
        *,
        clock_us: Callable[[], int] = system_clock_us,
        bytes_max: int | None = None,
    ) -> EmbeddedLog:
        """Open the log at `path`, or create it. Raise `LogRefused` for another partition count or a second writer.

        With None there must be one, of however many. `bytes_max` bounds the file; a full one raises `LogFull` on append
        until it is trimmed.
        """
        return cls(LogFile.open(path, partitions, bytes_max), clock_us)

    @property
    def identity(self) -> LogIdentity:
        return self._file.identity

    @property
    def sealed_for(self) -> int | None:
        """How many partitions the log has that will follow, or None where this one takes appends."""
        return self._file.sealed_for

    async def append(self, partition: int, kind: Kind, stamped_at_us: int, payload: bytes) -> Appended:
        refuse_if_sealed(self._file.sealed_for)
        assert partition in self.identity.own, "a partition of this log"
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

    async def seal(self, now_us: int, partitions: int) -> None:
        """All partitions in one transaction. Nothing else may be under way."""
        self._refuse_if_closed()
        if self._file.sealed_for not in (None, partitions):
            raise sealed_otherwise(self._file.sealed_for, partitions)
        if self._file.sealed_for is None:
            payload = encode_seal(Seal(partitions))
            records = [self._record(p, self._file.bounds[p].end, Kind.SEAL, now_us, payload) for p in self.identity.own]
            await asyncio.to_thread(self._file.write, records, {})
            self._file.sealed_for = partitions
            self._high_water.advance({record.partition: record.offset + 1 for record in records})

    async def succeed(self, now_us: int, controls: Sequence[bytes]) -> None:
        """In one transaction of the same file. What stood in the sealed log can be trimmed then."""
        self._refuse_if_closed()
        assert self._file.sealed_for is not None, "only a sealed log is followed by another"
        identity = following(self.identity, str(uuid.uuid4()), self._file.sealed_for)
        begun = [(Kind.TICK, b""), *((Kind.CONTROL, control) for control in controls)]
        records = [
            self._record(partition, offset, kind, now_us, payload)
            for partition in identity.own
            for offset, (kind, payload) in enumerate(begun)
        ]
        await asyncio.to_thread(self._file.follow, identity, records)

    def _record(self, partition: int, offset: int, kind: Kind, now_us: int, payload: bytes) -> LogRecord:
        newest_us = max(bounds.appended_at_us for bounds in self._file.bounds)
        return LogRecord(partition, offset, kind, now_us, max(now_us, newest_us), payload)

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
