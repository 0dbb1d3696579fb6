"""An event log that tells how long each append took and how far each partition has come; otherwise the log it wraps."""

from __future__ import annotations

import time

from penstock.app.telemetry import Telemetry
from penstock.kernel.ports.event_log import Appended, EventLog
from penstock.kernel.problems import LogUnavailable
from penstock.kernel.record import Kind, LogIdentity, LogRecord


class MeasuredLog:
    """Implements `EventLog`. `newest` is the greatest offset that is known to be in the log, by partition."""

    def __init__(self, log: EventLog, telemetry: Telemetry) -> None:
        self._log, self._telemetry = log, telemetry
        self.newest: dict[int, int] = {}

    @property
    def identity(self) -> LogIdentity:
        return self._log.identity

    async def append(self, partition: int, kind: Kind, stamped_at_us: int, payload: bytes) -> Appended:
        started_s = time.perf_counter()
        try:
            appended = await self._log.append(partition, kind, stamped_at_us, payload)
        except LogUnavailable:
            self._telemetry.append_failures.labels(kind.name.lower()).inc()
            raise
        self._telemetry.append_s.labels(kind.name.lower()).observe(time.perf_counter() - started_s)
        self.newest[partition] = max(appended.offset, self.newest.get(partition, -1))
        return appended

    async def read(self, partition: int, start: int, bytes_max: int, wait_ms: int) -> list[LogRecord]:
        return await self._log.read(partition, start, bytes_max, wait_ms)

    async def bounds(self, partition: int) -> tuple[int, int]:
        return await self._log.bounds(partition)

    async def trim(self, partition: int, before: int) -> None:
        await self._log.trim(partition, before)

    async def close(self) -> None:
        await self._log.close()
