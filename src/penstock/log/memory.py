"""The reference event log: lists in memory. Nothing survives the process; everything else is as the port promises."""

from __future__ import annotations

import secrets
import time
import uuid
from collections.abc import Callable

from penstock.kernel.identity import HASH_KEY_BYTES
from penstock.kernel.ports.event_log import Appended, LogTrimmed
from penstock.kernel.problems import LogUnavailable
from penstock.kernel.record import Kind, LogIdentity, LogRecord
from penstock.log.high_water import HighWater


def system_clock_us() -> int:
    """The log's own clock: what a broker would call its append time."""
    return time.time_ns() // 1_000


class MemoryLog:
    """An `EventLog` for tests and as the reference of the port's suite."""

    def __init__(self, partitions: int = 1, clock_us: Callable[[], int] = system_clock_us) -> None:
        self._identity = LogIdentity(str(uuid.uuid4()), partitions, secrets.token_bytes(HASH_KEY_BYTES))
        self._clock_us = clock_us
        self._records: list[list[LogRecord]] = [[] for _ in range(partitions)]
        self._firsts = [0] * partitions
        self._appended_at_us = [0] * partitions
        self._high_water = HighWater([0] * partitions)
        self._closed = False

    @property
    def identity(self) -> LogIdentity:
        return self._identity

    async def append(self, partition: int, kind: Kind, stamped_at_us: int, payload: bytes) -> Appended:
        self._refuse_if_closed()
        appended_at_us = max(self._clock_us(), self._appended_at_us[partition])
        offset = self._high_water.end(partition)
        self._records[partition].append(LogRecord(partition, offset, kind, stamped_at_us, appended_at_us, payload))
        self._appended_at_us[partition] = appended_at_us
        self._high_water.advance({partition: offset + 1})
        return Appended(partition, offset, appended_at_us)

    async def read(self, partition: int, start: int, bytes_max: int, wait_ms: int) -> list[LogRecord]:
        self._refuse_if_closed()
        if not await self._high_water.passed(partition, start, wait_ms):
            return []
        if start < self._firsts[partition]:
            raise LogTrimmed(f"partition {partition} starts at offset {self._firsts[partition]}, not {start}")
        out: list[LogRecord] = []
        for record in self._records[partition][start - self._firsts[partition] :]:
            bytes_max -= len(record.payload)
            if out and bytes_max < 0:
                break
            out.append(record)
        return out

    async def bounds(self, partition: int) -> tuple[int, int]:
        self._refuse_if_closed()
        return self._firsts[partition], self._high_water.end(partition)

    async def trim(self, partition: int, before: int) -> None:
        self._refuse_if_closed()
        before = min(before, self._high_water.end(partition))
        if before > self._firsts[partition]:
            del self._records[partition][: before - self._firsts[partition]]
            self._firsts[partition] = before

    async def close(self) -> None:
        self._closed = True
        self._high_water.close()

    def _refuse_if_closed(self) -> None:
        if self._closed:
            raise LogUnavailable("the log is closed")
