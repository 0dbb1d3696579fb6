"""What the suite of the usage store writes, told in a word."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np

from penstock.kernel.cell import Cell, CellKey, CellQuestion
from penstock.kernel.chunk import Chunk
from penstock.kernel.event import Outcome
from penstock.kernel.identity import hash_bodies, identify
from penstock.kernel.meter import Aggregation
from penstock.kernel.ports.fold_store import Flush
from penstock.kernel.record import Marker
from penstock.kernel.stored import StoredEvents, StoredIds
from penstock.kernel.window import BASE_WINDOW_US, to_us

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
NOON_US = to_us(NOON)
KEY = b"k" * 32


def a_marker(offset: int, partition: int = 0, clock_us: int = NOON_US) -> Marker:
    return Marker(partition, offset, "log-1", 2, bytes([offset % 256] * 16), clock_us)


def a_key(window: int = 0, groups: tuple[str | None, ...] = ("eu",), **changes: object) -> CellKey:
    base = CellKey("acme", "m1", "cust", NOON_US + window * BASE_WINDOW_US, groups, None, 0)
    return base._replace(**changes)  # type: ignore[arg-type]


def a_flush(marker: Marker, cells: dict[CellKey, Cell] | None = None, **changes: object) -> Flush:
    parts = {"events": (), "ids": (), "controls": (), "touched": frozenset(), **changes}
    return Flush(cells=cells or {}, marker=marker, **parts)  # type: ignore[arg-type]


def a_question(aggregation: Aggregation = Aggregation.SUM, **changes: object) -> CellQuestion:
    whole = {"start_us": NOON_US, "end_us": NOON_US + 96 * BASE_WINDOW_US, "starts": (NOON_US,)}
    parts = {"tenant": "acme", "metric": "m1", "customers": ("cust",), **whole, **changes}
    return CellQuestion(aggregation=aggregation, **parts)  # type: ignore[arg-type]


def some_events(offset: int, count: int, outcome: Outcome = Outcome.COUNTED) -> tuple[StoredEvents, StoredIds]:
    ids = [f"tx-{offset}-{i}" for i in range(count)]
    times = NOON_US + np.arange(count, dtype=np.int64) * 60_000_000
    identities = identify(KEY, "acme", ids)
    properties = [b'{"n":%d}' % i for i in range(count)]
    names = (["cust"] * count, ["call"] * count)
    bodies = hash_bodies(*names, times, properties)
    chunk = Chunk.build(
        identities=identities,
        body_hashes=bodies,
        tenants=["acme"] * count,
        customers=names[0],
        event_types=names[1],
        times_us=times,
        transaction_ids=ids,
        properties=properties,
    )
    offsets, indices = np.full(count, offset, np.int64), np.arange(count, dtype=np.int64)
    events = StoredEvents.of_chunk(chunk, 0, offsets, indices, np.full(count, outcome, np.uint8))
    return events, StoredIds(20_000, identities, bodies, offsets, indices, times)
