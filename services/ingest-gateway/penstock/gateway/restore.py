"""Fills the gateway's window from the newest records of the log, so that a restart does not forget fresh ids."""

from __future__ import annotations

import itertools
from operator import itemgetter

import numpy as np

from penstock.gateway.dedupe import Window
from penstock.kernel.chunk import Chunk
from penstock.kernel.event import Verdict
from penstock.kernel.identity import BodyHashes, Identities
from penstock.kernel.ports.event_log import EventLog
from penstock.kernel.record import US_PER_DAY, Kind, LogRecord

STEP_RECORDS = 256
READ_BYTES_MAX = 16 * 1024 * 1024

DayOfIds = tuple[int, Identities, BodyHashes]


async def restore(log: EventLog, window: Window, ids_max: int, since_day: int) -> None:
    """Remember about `ids_max` ids at most, reaching back no further than `since_day`, oldest day first."""
    partitions = log.identity.partitions
    found: list[DayOfIds] = []
    for partition in range(partitions):
        found += await _newest(log, partition, ids_max // partitions, since_day)
    for day, parts in itertools.groupby(sorted(found, key=itemgetter(0)), key=itemgetter(0)):
        blocks = list(parts)
        ids, bodies = np.concatenate([b[1] for b in blocks]), np.concatenate([b[2] for b in blocks])
        new = window.probe(ids, bodies) == Verdict.ACCEPTED  # a retry after a lost answer is in the log twice
        window.remember(day, ids[new], bodies[new])


async def _newest(log: EventLog, partition: int, ids_max: int, since_day: int) -> list[DayOfIds]:
    """The ids of the partition's newest records, walking back in steps, in log order."""
    first, end = await log.bounds(partition)
    steps: list[list[DayOfIds]] = []
    count = 0
    while end > first and count < ids_max:
        start = max(first, end - STEP_RECORDS)
        records = await _between(log, partition, start, end)
        found = [_ids_of(r) for r in records if r.kind is Kind.CHUNK]
        steps.append([ids for ids in found if ids is not None])
        count += sum(len(ids) for _, ids, _ in steps[-1])
        end = start if _day(records[0]) >= since_day else first
    return list(itertools.chain(*reversed(steps)))


async def _between(log: EventLog, partition: int, start: int, end: int) -> list[LogRecord]:
    records: list[LogRecord] = []
    while start + len(records) < end:
        records += await log.read(partition, start + len(records), READ_BYTES_MAX, 0)
    return records[: end - start]


def _day(record: LogRecord) -> int:
    return record.stamped_at_us // US_PER_DAY


def _ids_of(record: LogRecord) -> DayOfIds | None:
    try:
        chunk = Chunk.decode(record.payload)
    except ValueError:
        return None  # the fold puts it into quarantine
    # Copies: a view would keep the whole record in memory.
    return _day(record), chunk.identities.copy(), chunk.body_hashes.copy()
