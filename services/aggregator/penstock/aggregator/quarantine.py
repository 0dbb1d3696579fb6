"""Records of the log that no fold can read: kept with their reason until somebody mends and replays them.

The verdict is a function of a record's bytes, so every owner comes to the same one, and goes on behind it. What is kept
is a log of one partition beside the log: `<topic>.quarantine` on Kafka, a file in the data folder otherwise.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import msgspec
import numpy as np

from penstock.kernel.chunk import Chunk
from penstock.kernel.identity import Identities, identify, partition_of
from penstock.kernel.ports.event_log import Appended, EventLog
from penstock.kernel.problems import BadRequest, NotFound
from penstock.kernel.record import Kind, LogIdentity, LogRecord

READ_BYTES_MAX = 32 * 2**20
PART_BYTES_MAX = 8 * 2**20
Place = tuple[int, int]  # partition and offset


class Kept(msgspec.Struct, frozen=True, tag="kept"):
    """A record as it was in the log, and why it could not be read.

    It is written in `parts`, each with a stretch of the payload: whole, the largest record of a log would not fit.
    """

    partition: int
    offset: int
    stamped_at_us: int
    appended_at_us: int
    reason: str
    payload: bytes
    part: int = 0
    parts: int = 1


class Replayed(msgspec.Struct, frozen=True, tag="replayed"):
    """What was kept of one place went into the log again, there, mended or as it was."""

    partition: int
    offset: int
    at_offset: int


class Entry(msgspec.Struct, frozen=True):
    """One kept record, and the offset of its replay in the same partition, or None."""

    kept: Kept
    replayed_at: int | None


class Quarantine:
    """Opened when it is first needed, which is hardly ever."""

    def __init__(self, open_log: Callable[[], Awaitable[EventLog]]) -> None:
        self._open_log = open_log
        self._log: EventLog | None = None
        self._opening = asyncio.Lock()  # two owners may need it at once, and it must not be opened twice

    async def _opened(self) -> EventLog:
        async with self._opening:
            if self._log is None:
                self._log = await self._open_log()
            return self._log

    async def keep(self, record: LogRecord, reason: str) -> None:
        """Return once it is durable. An owner that starts again keeps it again; it is listed once.

        Raise `LogUnavailable`: the marker must not pass the record then.
        """
        starts = range(0, len(record.payload), PART_BYTES_MAX) or range(1)
        for part, start in enumerate(starts):
            stretch = record.payload[start : start + PART_BYTES_MAX]
            place = (record.partition, record.offset, record.stamped_at_us, record.appended_at_us)
            await self._append(Kept(*place, reason, stretch, part, len(starts)), record.stamped_at_us)

    async def entries(self) -> list[Entry]:
        """Everything that was ever kept, by partition and offset."""
        log = await self._opened()
        kept: dict[Place, dict[int, Kept]] = {}
        replayed: dict[Place, int] = {}
        offset, end = await log.bounds(0)
        while offset < end:
            for record in await log.read(0, offset, READ_BYTES_MAX, 0):
                note = msgspec.msgpack.decode(record.payload, type=Kept | Replayed)
                if isinstance(note, Kept):
                    kept.setdefault((note.partition, note.offset), {}).setdefault(note.part, note)
                else:
                    replayed[note.partition, note.offset] = note.at_offset
                offset = record.offset + 1
        whole = {place: joined for place, parts in kept.items() if (joined := _joined(parts)) is not None}
        return [Entry(whole[place], replayed.get(place)) for place in sorted(whole)]

    async def entry(self, partition: int, offset: int) -> Entry:
        """Raise `NotFound`."""
        for entry in await self.entries():
            if (entry.kept.partition, entry.kept.offset) == (partition, offset):
                return entry
        raise NotFound(f"nothing in quarantine from partition {partition}, offset {offset}")

    async def replay(self, entry: Entry, payload: bytes, log: EventLog, now_us: int) -> Appended:
        """Append `payload`, mended or as it was, to the partition that it came from.

        Safe to repeat: events that are counted already are duplicates. Their age is judged anew. Raise `BadRequest` for
        what is no chunk of that partition, or not as a gateway would have made it.
        """
        demand_chunk(payload, entry.kept.partition, log.identity)
        receipt = await log.append(entry.kept.partition, Kind.CHUNK, now_us, payload)
        await self._append(Replayed(entry.kept.partition, entry.kept.offset, receipt.offset), now_us)
        return receipt

    async def _append(self, note: Kept | Replayed, stamped_at_us: int) -> None:
        log = await self._opened()
        await log.append(0, Kind.CONTROL, stamped_at_us, msgspec.msgpack.encode(note))

    async def close(self) -> None:
        """Idempotent."""
        if self._log is not None:
            await self._log.close()


def _joined(parts: dict[int, Kept]) -> Kept | None:
    """The record of these parts, or None while one is missing: its owner died between them and will keep it again."""
    first = parts.get(0)
    if first is None or len(parts) < first.parts:
        return None
    payload = b"".join(parts[part].payload for part in range(first.parts))
    return msgspec.structs.replace(first, payload=payload, parts=1)


def demand_chunk(payload: bytes, partition: int, log: LogIdentity) -> None:
    """Raise `BadRequest` unless it is a chunk whose events are of the partition and have the identities of their ids.

    With another's identity an event would be dropped as that one's copy, or count beside a copy of its own.
    """
    try:
        chunk = Chunk.decode(payload)
    except ValueError as exc:
        raise BadRequest(f"it cannot be replayed: {exc}") from exc
    if len(chunk) == 0 or (partition_of(chunk.identities, log.partitions) != partition).any():
        raise BadRequest(f"it cannot be replayed: its events are not all of partition {partition}")
    if not np.array_equal(chunk.identities, _identities(chunk, log.hash_key)):
        raise BadRequest("it cannot be replayed: an identity is not that of its tenant and transaction_id")


def _identities(chunk: Chunk, hash_key: bytes) -> Identities:
    tenant_of, tenants = chunk.codes("tenant")
    ids, made = chunk.ids(), np.empty_like(chunk.identities)
    for code, tenant in enumerate(tenants):
        rows = np.flatnonzero(tenant_of == code)
        made[rows] = identify(hash_key, tenant, [ids[row] for row in rows.tolist()])
    return made
