"""The usage store in ClickHouse, through clickhouse-connect: chDB in process (embedded) or a server, the same SQL.

A flush is one insert per table, in the order that makes it harmless to be cut short: events and ids, cells, marker.
No JSON function of ClickHouse is used anywhere, and reads never PREWHERE a replaced column (DESIGN.md section 3).
"""

from __future__ import annotations

import contextlib
import queue
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import clickhouse_connect
import numpy as np
import pyarrow as pa
from clickhouse_connect.driver.exceptions import Error as ClickHouseError

from penstock.aggregator.store import cell_rows
from penstock.kernel.cell import Cell, CellAnswer, CellKey, CellQuestion
from penstock.kernel.event import Outcome
from penstock.kernel.identity import BodyHashes, Identities
from penstock.kernel.ports import Flush
from penstock.kernel.problems import StoreUnavailable
from penstock.kernel.record import Marker, Vector
from penstock.kernel.stored import SCHEMA as EVENT_SCHEMA
from penstock.kernel.stored import StoredEvents, StoredIds
from penstock.kernel.window import Span

INSERT = {"async_insert": 0}
# FINAL with PREWHERE returned a replaced row (measured, CORE.md hole 3): never move a condition there.
READ = {"final": 1, "optimize_move_to_prewhere": 0, "optimize_move_to_prewhere_if_final": 0}
READERS_MAX = 4
EVENTS_PER_BATCH = 100_000
_EVENT_COLUMNS = ", ".join(f"`{name}`" for name in EVENT_SCHEMA.names)

# Called with the name of the step that was just reached; the fault tests crash the process there.
Step = Callable[[str], None]


class ClickHouseUsageStore:
    """`connect` opens one client; the store keeps one for its owner's writes and a few for readers."""

    def __init__(self, connect: Callable[[], Any], step: Step | None = None) -> None:
        self._connect = connect
        self._step = step
        self._writer = connect()
        self._readers: queue.LifoQueue[Any] = queue.LifoQueue()
        self._opened = 0
        schema = re.sub(r"--[^\n]*", "", (Path(__file__).parent / "schema.sql").read_text())
        for statement in filter(str.strip, schema.split(";")):
            self._writer.command(statement)

    @classmethod
    def embedded(cls, path: Path, step: Step | None = None) -> ClickHouseUsageStore:
        """The engine in this process, on a folder of its own. A process can have one such folder open."""
        options = {
            "background_pool_size": 2,
            "max_concurrent_queries": 16,
            "mark_cache_size": 64 * 2**20,
            "uncompressed_cache_size": 0,
        }
        settings = {"max_threads": 2, "max_insert_threads": 1, "max_memory_usage": 2 * 2**30}

        def connect() -> Any:
            return clickhouse_connect.get_client(
                interface="chdb", path=str(path), settings=settings, chdb_options=options
            )

        return cls(connect, step)

    def flush(self, flush: Flush) -> None:
        partition = flush.marker.partition
        with _translated():
            self._reached("before_events")
            if flush.events:
                self._writer.insert_arrow("events", StoredEvents.concat(flush.events).table, settings=INSERT)
            if flush.ids:
                self._writer.insert_arrow("ids", _id_rows(partition, flush.ids), settings=INSERT)
            if flush.controls:
                rows = [[partition, offset, payload] for offset, payload in flush.controls]
                self._writer.insert("controls", rows, ["partition", "offset", "payload"], settings=INSERT)
            if flush.touched:
                offset = flush.marker.offset
                rows = [[tenant, customer, partition, offset] for tenant, customer in flush.touched]
                names = ["tenant", "customer", "partition", "offset"]
                self._writer.insert("touched", rows, names, settings=INSERT)
            self._reached("after_events")
            self._insert_cells(list(flush.cells.items()))
            self._reached("after_cells")
            self._insert_marker(flush.marker)
            self._reached("after_marker")

    def _insert_cells(self, cells: list[tuple[CellKey, Cell]]) -> None:
        half = len(cells) // 2 if self._step else 0  # in two parts only where a test wants to die between them
        for part in (cells[:half], cells[half:]):
            if part:
                self._writer.insert_arrow("cells", cell_rows.to_arrow(part), settings=INSERT)
                self._reached("half_cells")

    def _reached(self, step: str) -> None:
        if self._step is not None:
            self._step(step)

    def _insert_marker(self, marker: Marker) -> None:
        names = ["partition", "offset", "log_id", "partitions", "digest", "clock_us"]
        row = [marker.partition, marker.offset, marker.log_id, marker.partitions, marker.digest, marker.clock_us]
        self._writer.insert("markers", [row], names, settings=INSERT)

    def marker(self, partition: int) -> Marker | None:
        return self.markers().get(partition)

    def markers(self) -> dict[int, Marker]:
        sql = "SELECT partition, offset, log_id, partitions, hex(digest), clock_us FROM markers"
        return {
            row[0]: Marker(row[0], row[1], row[2], row[3], bytes.fromhex(row[4]), row[5]) for row in self._rows(sql)
        }

    def ids(self, partition: int, through: int, since_day: int) -> Iterator[tuple[int, Identities, BodyHashes]]:
        asked = {"partition": partition, "through": through, "since": since_day}
        where = "WHERE partition = {partition:UInt16} AND offset <= {through:Int64}"
        days = self._rows(f"SELECT DISTINCT day FROM ids {where} AND day >= {{since:UInt16}} ORDER BY day", asked)
        for (day,) in days:
            sql = f"SELECT identity, body FROM ids {where} AND day = {{day:UInt16}} ORDER BY identity"
            table = self._arrow(sql, {**asked, "day": day})
            raw = b"".join(table.column("identity").cast(pa.binary()).to_pylist())
            yield day, np.frombuffer(raw, "<u8").reshape(-1, 2), np.asarray(table.column("body"))

    def controls(self, partition: int, through: int) -> list[bytes]:
        sql = (
            "SELECT hex(payload) FROM controls WHERE partition = {partition:UInt16} AND offset <= {through:Int64} "
            "ORDER BY offset"
        )
        return [bytes.fromhex(row[0]) for row in self._rows(sql, {"partition": partition, "through": through})]

    def load_cells(self, keys: Sequence[CellKey]) -> dict[CellKey, Cell]:
        wanted = set(keys)
        found: dict[CellKey, Cell] = {}
        for question in cell_rows.load_questions(keys):
            sql, asked = cell_rows.load_sql(question)
            found.update((key, cell) for key, cell in cell_rows.loaded(self._rows(sql, asked)) if key in wanted)
        return found

    def windows(self, partition: int) -> set[int]:
        sql = "SELECT DISTINCT toInt64(toUnixTimestamp(window)) FROM cells WHERE partition = {partition:UInt16}"
        return {row[0] * 1_000_000 for row in self._rows(sql, {"partition": partition})}

    def read_cells(self, question: CellQuestion) -> CellAnswer:
        sql, asked = cell_rows.question_sql(question)
        return cell_rows.answer(question, self._rows(sql, asked))

    def read_events(
        self, tenant: str, customers: tuple[str, ...] | None, span: Span | None, as_of: Vector, partition: int | None
    ) -> Iterator[StoredEvents]:
        asked: dict[str, Any] = {"tenant": tenant, "limits": [offset + 1 for offset in as_of]}
        where = [
            "tenant = {tenant:String}",
            f"outcome != {int(Outcome.QUARANTINED)}",
            "offset < arrayElement({limits:Array(UInt64)}, partition + 1)",
        ]
        if partition is not None:
            where.append("partition = {partition:UInt16}")
            asked["partition"] = partition
        if customers is not None:
            where.append("customer IN {customers:Array(String)}")
            asked["customers"] = list(customers)
        if span is not None:
            where.append("time >= {start:DateTime64(6, 'UTC')} AND time < {end:DateTime64(6, 'UTC')}")
            asked |= {"start": span.start, "end": span.end}
        condition = " AND ".join(where)
        for start, end in self._stretches(condition, asked):
            stretch = f"toUnixTimestamp(time) >= {start} AND toUnixTimestamp(time) < {end}"
            table = self._arrow(f"SELECT {_EVENT_COLUMNS} FROM events WHERE {condition} AND {stretch}", asked)
            yield StoredEvents(_as_event_table(table))

    def _stretches(self, condition: str, asked: dict[str, Any]) -> list[tuple[int, int]]:
        """Whole minutes, in seconds since the epoch, that hold some `EVENTS_PER_BATCH` rows each."""
        minute_of = "intDiv(toUnixTimestamp(time), 60) AS minute"
        sql = f"SELECT {minute_of}, count() FROM events WHERE {condition} GROUP BY minute ORDER BY minute"
        out: list[tuple[int, int]] = []
        rows = 0
        for minute, count in self._rows(sql, asked):
            if out and rows + count <= EVENTS_PER_BATCH:
                out[-1] = (out[-1][0], (minute + 1) * 60)
                rows += count
            else:
                out.append((minute * 60, (minute + 1) * 60))
                rows = count
        return out

    def customer_keys(self, tenant: str, after: str, limit: int) -> list[str]:
        sql = (
            "SELECT DISTINCT customer FROM touched WHERE tenant = {tenant:String} AND customer > {after:String} "
            "ORDER BY customer LIMIT {limit:UInt32}"
        )
        return [row[0] for row in self._rows(sql, {"tenant": tenant, "after": after, "limit": limit})]

    def close(self) -> None:
        self._writer.close()
        while not self._readers.empty():
            self._readers.get_nowait().close()

    def _rows(self, sql: str, asked: dict[str, Any] | None = None) -> list[Any]:
        with _translated(), self._reader() as client:
            return list(client.query(sql, parameters=asked, settings=READ).result_rows)

    def _arrow(self, sql: str, asked: dict[str, Any]) -> pa.Table:
        settings = {**READ, "output_format_arrow_string_as_string": 0}
        with _translated(), self._reader() as client:
            return client.query_arrow(sql, parameters=asked, settings=settings)

    @contextlib.contextmanager
    def _reader(self) -> Iterator[Any]:
        """Borrow a reader's client. A client that was interrupted goes back all the same: it holds no session."""
        if self._readers.empty() and self._opened < READERS_MAX:
            self._opened += 1
            self._readers.put(self._connect())
        client = self._readers.get()
        try:
            yield client
        finally:
            self._readers.put(client)


@contextlib.contextmanager
def _translated() -> Iterator[None]:
    """The one place where the driver's errors become ours."""
    try:
        yield
    except ClickHouseError as exc:
        raise StoreUnavailable(f"the usage store did not answer: {exc}") from exc


def _id_rows(partition: int, parts: Sequence[StoredIds]) -> pa.Table:
    identities = np.ascontiguousarray(np.concatenate([p.identities for p in parts]))
    n = len(identities)
    return pa.table(
        {
            "day": pa.array(np.repeat(np.array([p.day for p in parts], np.uint16), [len(p) for p in parts])),
            "partition": pa.array(np.full(n, partition, np.uint16)),
            "identity": pa.FixedSizeBinaryArray.from_buffers(pa.binary(16), n, [None, pa.py_buffer(identities)]),
            "body": pa.array(np.concatenate([p.bodies for p in parts])),
            "offset": pa.array(np.concatenate([p.offsets for p in parts]).astype(np.uint64)),
            "place": pa.array(np.concatenate([p.indices for p in parts]).astype(np.uint32)),
        }
    )


def _as_event_table(table: pa.Table) -> pa.Table:
    """What ClickHouse sends, as the shape of `kernel.stored`: texts dictionary-encoded, properties bytes."""
    columns = []
    for field in EVENT_SCHEMA:
        column = table.column(field.name)
        if pa.types.is_dictionary(field.type):
            column = (column.cast(pa.string()) if not pa.types.is_dictionary(column.type) else column).cast(pa.string())
            column = column.dictionary_encode()
        columns.append(column.cast(field.type))
    return pa.table(columns, schema=EVENT_SCHEMA)
