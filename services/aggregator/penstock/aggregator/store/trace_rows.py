"""Ids as rows of SQL, and back: what the store writes and is asked of its table `ids`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from penstock.kernel.event import Outcome
from penstock.kernel.identity import Identities
from penstock.kernel.stored import Dropped, DroppedIds, LogPlace, StoredIds, Trace

# Copies of a row, which a repeated flush leaves until a merge, are equal in every column: no FINAL is needed, and
# without it ClickHouse may look at the time and the offset of an event before it reads the rest.
LOOK_UP = {"final": 0}
# The outcome of an id's first event, whatever became of it: that is told where the event is stored.
KEPT = 255


def id_table(partition: int, kept: Sequence[StoredIds], dropped: Sequence[DroppedIds]) -> pa.Table:
    """Rows of the table `ids`."""
    parts: list[StoredIds | DroppedIds] = [*kept, *dropped]
    bodies = [p.bodies for p in kept] + [np.zeros(len(p), np.uint64) for p in dropped]
    outcomes = [np.full(len(p), KEPT, np.uint8) for p in kept] + [p.outcomes for p in dropped]
    identities = np.ascontiguousarray(np.concatenate([p.identities for p in parts]))
    n = len(identities)
    return pa.table(
        {
            "day": pa.array(np.repeat(np.array([p.day for p in parts], np.uint16), [len(p) for p in parts])),
            "partition": pa.array(np.full(n, partition, np.uint16)),
            "identity": pa.FixedSizeBinaryArray.from_buffers(pa.binary(16), n, [None, pa.py_buffer(identities)]),
            "offset": pa.array(np.concatenate([p.offsets for p in parts]).astype(np.uint64)),
            "place": pa.array(np.concatenate([p.indices for p in parts]).astype(np.uint32)),
            "time_us": pa.array(np.concatenate([p.times_us for p in parts])),
            "body": pa.array(np.concatenate(bodies)),
            "outcome": pa.array(np.concatenate(outcomes)),
        }
    )


def _where(identities: Identities) -> str:
    hexes = (row.tobytes().hex() for row in np.ascontiguousarray(identities))
    wanted = ", ".join(f"toFixedString(unhex('{digits}'), 16)" for digits in hexes)
    return f"partition = {{partition:UInt16}} AND offset <= {{through:Int64}} AND identity IN ({wanted})"


def kept_sql(identities: Identities) -> str:
    return f"""SELECT DISTINCT hex(identity), partition, offset, place, time_us, day
               FROM ids WHERE {_where(identities)} AND outcome = {KEPT} ORDER BY day, offset, place"""


def dropped_sql(identities: Identities) -> str:
    return f"""SELECT hex(identity), outcome, uniqExact(offset, place),
                      max((partition, offset, place, time_us, day))
               FROM ids WHERE {_where(identities)} AND outcome != {KEPT} GROUP BY identity, outcome ORDER BY outcome"""


def traces(kept: Sequence[Any], dropped: Sequence[Any]) -> list[Trace]:
    places: dict[str, list[LogPlace]] = {}
    drops: dict[str, list[Dropped]] = {}
    for digits, *place in kept:
        places.setdefault(digits, []).append(LogPlace(*place))
    for digits, outcome, events, newest in dropped:
        drops.setdefault(digits, []).append(Dropped(Outcome(outcome), events, LogPlace(*newest)))
    return [
        Trace(bytes.fromhex(digits), tuple(places.get(digits, ())), tuple(drops.get(digits, ())))
        for digits in places | drops
    ]


def events_condition(places: Sequence[LogPlace]) -> str:
    """Where the stored events at these places are: their time and offset lead there by the table's order."""
    return " OR ".join(map(_at, places))


def _at(place: LogPlace) -> str:
    at = f"partition = {place.partition} AND offset = {place.offset} AND place = {place.index}"
    known = f"time = fromUnixTimestamp64Micro({place.time_us}, 'UTC') AND " if place.time_us else ""
    return f"({known}{at})"
