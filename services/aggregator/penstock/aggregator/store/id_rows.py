"""What an owner asks of the table `ids`: a day's ids, how many there are, and which of a batch are among them.

Copies of a row, which a repeated flush leaves until a merge, are equal in every column: to count about, or to look up,
takes no FINAL.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from penstock.aggregator.store.trace_rows import KEPT
from penstock.kernel.identity import BodyHashes, Identities
from penstock.kernel.ports.fold_store import Stretch

COUNT = {"final": 0}
ID_BYTES = 16
ASKED_MAX = 1 << 16
# A batch is asked for as one literal; its bytes in hex are what makes the query long.
KNOWN = {"final": 0, "max_query_size": 4 * ID_BYTES * ASKED_MAX}

_STRETCH = f"""partition = {{partition:UInt16}} AND offset <= {{through:Int64}} AND outcome = {KEPT}
    AND day BETWEEN {{since:UInt16}} AND {{until:UInt16}} AND (day > {{since:UInt16}} OR offset > {{above:Int64}})"""

Query = tuple[str, dict[str, Any]]


def _asked(partition: int, stretch: Stretch) -> dict[str, Any]:
    since, through, above, until = stretch
    return {"partition": partition, "since": since, "through": through, "above": above, "until": until}


def count_sql(partition: int, stretch: Stretch) -> Query:
    sql = f"SELECT day, count() FROM ids WHERE {_STRETCH} GROUP BY day ORDER BY day"
    return sql, _asked(partition, stretch)


def day_sql(partition: int, stretch: Stretch, day: int) -> Query:
    sql = f"SELECT identity, body FROM ids WHERE {_STRETCH} AND day = {{day:UInt16}}"
    return sql, {**_asked(partition, stretch), "day": day}


def read_day(table: pa.Table) -> tuple[Identities, BodyHashes]:
    """The columns' bytes as they are: there may be a hundred million of them."""
    parts = [part.cast(pa.binary(ID_BYTES)) for part in table.column("identity").chunks if len(part)]
    flat = [np.frombuffer(part.buffers()[1], "<u8", 2 * len(part), ID_BYTES * part.offset) for part in parts]
    joined: Identities = np.concatenate([np.empty(0, np.uint64), *flat]).reshape(-1, 2)
    return joined, np.asarray(table.column("body"))


def known_sql(partition: int, stretch: Stretch, asked: Identities) -> Iterator[Query]:
    """Which of the ids are there, some at a time. Reads the stretch's column of ids, however few are asked for."""
    each = f"toFixedString(substring(packed, 1 + {ID_BYTES} * number, {ID_BYTES}), {ID_BYTES})"
    for start in range(0, len(asked), ASKED_MAX):
        part = np.ascontiguousarray(asked[start : start + ASKED_MAX])
        packed = f"SELECT unhex('{part.tobytes().hex()}') AS packed, number FROM numbers({len(part)})"
        sql = f"SELECT hex(identity), body FROM ids WHERE {_STRETCH} AND identity IN (SELECT {each} FROM ({packed}))"
        yield sql, _asked(partition, stretch)


def known(rows: Sequence[Any]) -> tuple[Identities, BodyHashes]:
    packed = b"".join(bytes.fromhex(digits) for digits, _ in rows)
    return np.frombuffer(packed, "<u8").reshape(-1, 2), np.array([body for _, body in rows], np.uint64)
