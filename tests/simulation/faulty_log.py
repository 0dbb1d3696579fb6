"""The event log as a bad day makes it: appends that are lost, unheard, late or torn, and a broker with a wild clock."""

from __future__ import annotations

import random

from penstock.kernel.ports.event_log import Appended, LogTrimmed
from penstock.kernel.problems import LogUnavailable
from penstock.kernel.record import Kind, LogIdentity, LogRecord
from simulation.event_loop import Wait
from simulation.world import DAY_US, HOUR_US, World

LATE_US_MAX = 10 * HOUR_US  # DESIGN.md section 4: time-outs and clock errors together stay under 12 h


class FaultyLog:
    """An `EventLog` in memory. `history` keeps every record for the oracle, whatever is trimmed."""

    def __init__(self, world: World) -> None:
        plan = world.plan
        key = random.Random(f"key {plan.seed}").randbytes(32)
        self._world = world
        self.identity = LogIdentity(f"log-{plan.seed}", plan.partitions, key)
        self.history: list[list[LogRecord]] = [[] for _ in range(plan.partitions)]
        self._firsts = [0] * plan.partitions

    async def append(self, partition: int, kind: Kind, stamped_at_us: int, payload: bytes) -> Appended:
        world = self._world
        if not world.fault(world.plan.log_fault_share):
            return self._put(partition, kind, stamped_at_us, payload)
        fate = world.chance.choice(["lost", "unheard", "late"])
        world.tell(f"append to {partition}: {fate}")
        if fate == "unheard":
            self._put(partition, kind, stamped_at_us, payload)
        elif fate == "late":
            due_us = min(world.now_us + world.chance.randrange(LATE_US_MAX), stamped_at_us + LATE_US_MAX)
            world.at(due_us, lambda: self._put(partition, kind, stamped_at_us, payload))
        raise LogUnavailable("no acknowledgement")

    def _put(self, partition: int, kind: Kind, stamped_at_us: int, payload: bytes) -> Appended:
        records, world = self.history[partition], self._world
        appended_at_us = world.now_us
        if world.fault(world.plan.clock_fault_share):
            # A tick came a moment ago: no clock is so slow that the partition does not know what day it is.
            records.append(LogRecord(partition, len(records), Kind.TICK, world.now_us, world.now_us, b""))
            appended_at_us += world.chance.choice([-3 * DAY_US, -HOUR_US, HOUR_US, 365 * DAY_US])
        record = LogRecord(partition, len(records), kind, stamped_at_us, appended_at_us, payload)
        records.append(record)
        world.tell(f"log {partition}:{record.offset} {kind.name} {record.digest().hex()[:8]}")
        return Appended(partition, record.offset, appended_at_us)

    async def read(self, partition: int, start: int, bytes_max: int, wait_ms: int) -> list[LogRecord]:
        if wait_ms:
            await Wait()
        if start < self._firsts[partition]:
            raise LogTrimmed(f"partition {partition} starts at {self._firsts[partition]}, not {start}")
        out: list[LogRecord] = []
        for record in self.history[partition][start:]:
            bytes_max -= len(record.payload)
            if out and bytes_max < 0:
                break
            out.append(record)
        return out

    async def bounds(self, partition: int) -> tuple[int, int]:
        return self._firsts[partition], len(self.history[partition])

    async def trim(self, partition: int, before: int) -> None:
        self._firsts[partition] = max(self._firsts[partition], before)

    async def close(self) -> None:
        """Nothing to let go of."""

    def vector(self) -> tuple[int, ...]:
        """The last offset of every partition."""
        return tuple(len(records) - 1 for records in self.history)
