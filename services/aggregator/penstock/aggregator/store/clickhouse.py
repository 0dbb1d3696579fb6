"""The usage store in ClickHouse, through clickhouse-connect: chDB in process (embedded) or a server, the same SQL.

A flush is one insert per table, in the order that makes it harmless to be cut short: events and ids, cells, marker.
No JSON function of ClickHouse is used anywhere, and reads never PREWHERE a replaced column (DESIGN.md section 3).
"""

from __future__ import annotations

import contextlib
import queue
import re
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import clickhouse_connect
import pyarrow as pa
from clickhouse_connect.driver.exceptions import Error as ClickHouseError

from penstock.aggregator.store import (
    audit_rows,
    cell_rows,
    chunk_rows,
    correction_rows,
    event_rows,
    fill_rows,
    id_rows,
    trace_rows,
)
from penstock.aggregator.store.connect import SETTINGS
from penstock.kernel.cell import Cell, CellAnswer, CellKey, CellQuestion
from penstock.kernel.correction import Corrected, Move, as_corrected
from penstock.kernel.event import Outcome
from penstock.kernel.identity import BodyHashes, Identities
from penstock.kernel.ports.fold_store import Flush, Stretch
from penstock.kernel.problems import StoreUnavailable
from penstock.kernel.record import Marker, Vector
from penstock.kernel.stored import SCHEMA as EVENT_SCHEMA
from penstock.kernel.stored import LogPlace, StoredEvents, Trace
from penstock.kernel.stored_chunk import StoredChunk
from penstock.kernel.window import Span

INSERT = {"async_insert": 0}
# FINAL with PREWHERE returned a replaced row (measured, CORE.md hole 3): never move a condition there.
READ = {"final": 1, "optimize_move_to_prewhere": 0, "optimize_move_to_prewhere_if_final": 0}
READERS_MAX = 4
EVENTS_PER_BATCH = 100_000
TOUCHED_MAX = 1_000_000
# Of "Code: 241. DB::Exception: ... (MEMORY_LIMIT_EXCEEDED)".
_CODES = re.compile(r"Code: \d+|\([A-Z_]{6,}\)")
_EVENT_COLUMNS = ", ".join(f"`{name}`" for name in EVENT_SCHEMA.names)

# Called with the name of the step that was just reached; the fault tests crash the process there.
Step = Callable[[str], None]


class ClickHouseUsageStore:
    """`connect` opens one client; the store keeps one for its owner's writes and a few for readers."""

    def __init__(self, connect: Callable[[], Any], step: Step | None = None) -> None:
        self._connect = connect
        self._step = step
        self._readers: queue.LifoQueue[Any] = queue.LifoQueue()
        self._opened = 0
        self._touched: frozenset[tuple[str, str]] = frozenset()  # whose rows are written
        self._opening = threading.Lock()
        schema = re.sub(r"--[^\n]*", "", (Path(__file__).parent / "schema.sql").read_text())
        with _translated():
            self._writer = connect()
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

        def connect() -> Any:
            return clickhouse_connect.get_client(
                interface="chdb", path=str(path), settings=SETTINGS, chdb_options=options
            )

        return cls(connect, step)

    def flush(self, flush: Flush) -> None:
        partition = flush.marker.partition
        with _translated():
            self._reached("before_events")
            if flush.events:
                self._writer.insert_arrow("events", StoredEvents.concat(flush.events).table, settings=INSERT)
            if flush.chunks:
                self._writer.insert_arrow("chunks", chunk_rows.chunk_table(partition, flush.chunks), settings=INSERT)
            if flush.ids or flush.dropped:
                rows = trace_rows.id_table(partition, flush.ids, flush.dropped)
                self._writer.insert_arrow("ids", rows, settings=INSERT)
            if flush.controls:
                rows = [[partition, offset, payload] for offset, payload in flush.controls]
                self._writer.insert("controls", rows, ["partition", "offset", "payload"], settings=INSERT)
            if flush.corrections:
                rows = correction_rows.correction_table(flush.corrections)
                self._writer.insert_arrow("corrections", rows, settings=INSERT)
            self._insert_touched(flush)
            self._reached("after_events")
            self._insert_cells(list(flush.cells.items()))
            self._reached("after_cells")
            self._insert_marker(flush.marker)
            self._reached("after_marker")

    def _insert_touched(self, flush: Flush) -> None:
        """A customer is told once in the life of this store: an insert of a few rows costs as much as one of many."""
        new = flush.touched - self._touched
        if new:
            rows = [[tenant, customer, flush.marker.partition] for tenant, customer in new]
            self._writer.insert("touched", rows, ["tenant", "customer", "partition"], settings=INSERT)
            self._touched = new if len(self._touched) > TOUCHED_MAX else self._touched | new

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

    def ids(self, partition: int, stretch: Stretch) -> Iterator[tuple[int, Identities, BodyHashes]]:
        for day in self.count_ids(partition, stretch):
            sql, asked = id_rows.day_sql(partition, stretch, day)
            yield day, *id_rows.read_day(self._arrow(sql, asked))

    def count_ids(self, partition: int, stretch: Stretch) -> dict[int, int]:
        return dict(self._rows(*id_rows.count_sql(partition, stretch), id_rows.COUNT))

    def known(self, partition: int, stretch: Stretch, asked: Identities) -> tuple[Identities, BodyHashes]:
        rows: list[Any] = []
        for sql, named in id_rows.known_sql(partition, stretch, asked):
            rows += self._rows(sql, named, id_rows.KNOWN)
        return id_rows.known(rows)

    def controls(self, partition: int, through: int) -> list[tuple[int, bytes]]:
        return [(offset, payload) for offset, payload in self.control_records(partition) if offset <= through]

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
        sql, asked = correction_rows.in_force_sql(tenant, customers, span, as_of, partition)
        found = correction_rows.corrections(self._rows(sql, asked, correction_rows.LOOK_UP))
        revisions = [each.revision for each in found if each.revision is not None]
        return as_corrected(self._as_they_came(tenant, customers, span, as_of, partition), revisions)

    def corrections(self, tenant: str, transaction_ids: Sequence[str], partition: int, through: int) -> list[Corrected]:
        sql, asked = correction_rows.of_transactions_sql(tenant, transaction_ids, partition, through)
        return correction_rows.corrections(self._rows(sql, asked, correction_rows.LOOK_UP))

    def moves(self, partition: int, edges: Sequence[int], through: int) -> dict[Move, int]:
        sql, asked = correction_rows.moves_sql(partition, edges, through)
        return correction_rows.moves(self._rows(sql, asked, correction_rows.LOOK_UP))

    def _as_they_came(
        self, tenant: str, customers: tuple[str, ...] | None, span: Span | None, as_of: Vector, partition: int | None
    ) -> Iterator[StoredEvents]:
        condition, asked = event_rows.condition(tenant, customers, span, as_of, partition, Outcome.QUARANTINED)
        yield from self._whole(tenant, customers, span, as_of, partition)
        for start, end in self._stretches(condition, asked):
            stretch = f"toUnixTimestamp(time) >= {start} AND toUnixTimestamp(time) < {end}"
            table = self._arrow(f"SELECT {_EVENT_COLUMNS} FROM events WHERE {condition} AND {stretch}", asked)
            yield StoredEvents(_as_event_table(table))

    def _whole(
        self, tenant: str, customers: tuple[str, ...] | None, span: Span | None, as_of: Vector, partition: int | None
    ) -> Iterator[StoredEvents]:
        """What is asked for of the records that are stored whole."""
        where, asked = chunk_rows.condition(tenant, customers, span, as_of, partition)
        listed = self._rows(chunk_rows.list_sql(where), asked, chunk_rows.READ_CHUNKS)
        for places in chunk_rows.batches(listed, EVENTS_PER_BATCH):
            found = [chunk.events_of(p, tenant, customers, span) for p, chunk in self._fetched(places)]
            if any(map(len, found)):
                yield StoredEvents.concat([events for events in found if len(events)])

    def _fetched(self, places: Sequence[chunk_rows.Place]) -> Iterator[tuple[int, StoredChunk]]:
        """Whole records, each with its partition."""
        return chunk_rows.fetched(self._arrow(chunk_rows.fetch_sql(places), {}, chunk_rows.READ_CHUNKS))

    def _stretches(self, condition: str, asked: dict[str, Any]) -> list[tuple[int, int]]:
        """Stretches, in seconds since the epoch, of some `EVENTS_PER_BATCH` rows: minutes, or seconds of a full one."""
        out: list[tuple[int, int]] = []
        for start, end, rows in self._counted(condition, asked, 60):
            if rows <= EVENTS_PER_BATCH:
                out.append((start, end))
                continue
            within = f"{condition} AND toUnixTimestamp(time) >= {start} AND toUnixTimestamp(time) < {end}"
            out += [(first, last) for first, last, _ in self._counted(within, asked, 1)]
        return out

    def _counted(self, condition: str, asked: dict[str, Any], width_s: int) -> list[tuple[int, int, int]]:
        """Start, end and rows of stretches of whole steps, joined while they hold at most `EVENTS_PER_BATCH` rows."""
        step_of = f"intDiv(toUnixTimestamp(time), {width_s}) AS step"
        sql = f"SELECT {step_of}, count() FROM events WHERE {condition} GROUP BY step ORDER BY step"
        out: list[tuple[int, int, int]] = []
        for step, count in self._rows(sql, asked):
            start, end = step * width_s, (step + 1) * width_s
            if out and out[-1][2] + count <= EVENTS_PER_BATCH:
                out[-1] = (out[-1][0], end, out[-1][2] + count)
            else:
                out.append((start, end, count))
        return out

    def traces(self, partition: int, identities: Identities, through: int) -> list[Trace]:
        if not len(identities):
            return []
        asked, look_up = {"partition": partition, "through": through}, trace_rows.LOOK_UP
        return trace_rows.traces(
            self._rows(trace_rows.kept_sql(identities), asked, look_up),
            self._rows(trace_rows.dropped_sql(identities), asked, look_up),
        )

    def events_at(self, tenant: str, places: Sequence[LogPlace]) -> StoredEvents:
        if not places:
            return StoredEvents.concat(())
        sql = f"""SELECT {_EVENT_COLUMNS} FROM events
                  WHERE tenant = {{tenant:String}} AND ({trace_rows.events_condition(places)})
                  LIMIT 1 BY partition, offset, place"""
        rows = StoredEvents(_as_event_table(self._arrow(sql, {"tenant": tenant}, trace_rows.LOOK_UP)))
        whole = (chunk.events(partition) for partition, chunk in self._fetched(chunk_rows.places_of(places)))
        return StoredEvents.concat([rows, *(events.at(tenant, places) for events in whole)])

    def event_hours(self, tenant: str, partition: int, through: int) -> list[tuple[int, int]]:
        asked = (tenant, partition, through)
        rows = self._rows(*fill_rows.row_hours_sql(*asked))
        return fill_rows.hours(rows + self._rows(*fill_rows.chunk_hours_sql(*asked), chunk_rows.READ_CHUNKS))

    def fills(self, partition: int | None) -> dict[tuple[int, str], int]:
        return {(of, metric): through for of, metric, through in self._rows(*fill_rows.fills_sql(partition))}

    def write_fill(self, partition: int, metric: str, cells: Mapping[CellKey, Cell], through_us: int) -> None:
        with _translated(), self._reader() as client:  # not the owner's own: a flush may be under way
            if cells:
                client.insert_arrow("cells", cell_rows.to_arrow(list(cells.items())), settings=INSERT)
            client.insert("fills", [[partition, metric, through_us]], fill_rows.FILL_COLUMNS, settings=INSERT)

    def customer_keys(self, tenant: str, after: str, limit: int) -> list[str]:
        sql = (
            "SELECT DISTINCT customer FROM touched WHERE tenant = {tenant:String} AND customer > {after:String} "
            "ORDER BY customer LIMIT {limit:UInt32}"
        )
        return [row[0] for row in self._rows(sql, {"tenant": tenant, "after": after, "limit": limit})]

    def stored_cells(
        self,
        tenant: str | None,
        metric: str | None,
        customers: tuple[str, ...] | None,
        span_us: tuple[int, int] | None,
        partition: int | None,
    ) -> dict[CellKey, Cell]:
        sql, asked = audit_rows.cells_sql(tenant, metric, customers, span_us, partition)
        return dict(cell_rows.loaded(self._rows(sql, asked)))

    def control_records(self, partition: int) -> list[tuple[int, bytes]]:
        sql = "SELECT offset, hex(payload) FROM controls WHERE partition = {partition:UInt16} ORDER BY offset"
        return [(row[0], bytes.fromhex(row[1])) for row in self._rows(sql, {"partition": partition})]

    def hours(self, partition: int) -> list[tuple[int, int]]:
        return [(hour, offset) for hour, offset in self._rows(*audit_rows.hours_sql(partition), audit_rows.HOURS)]

    def outcomes(self, partition: int, edges: Sequence[int]) -> dict[tuple[int, str | None, Outcome], int]:
        rows = self._rows(*audit_rows.kept_sql(partition, edges))
        rows += self._rows(*audit_rows.dropped_sql(partition, edges))
        rows += self._rows(*audit_rows.whole_sql(partition, edges), chunk_rows.READ_CHUNKS)
        mixed = self._rows(*audit_rows.mixed_sql(partition, edges), chunk_rows.READ_CHUNKS)
        for places in chunk_rows.batches(mixed, EVENTS_PER_BATCH):
            for events in (chunk.events(of) for of, chunk in self._fetched(places)):
                rows += audit_rows.outcomes_of(events, edges)
        return audit_rows.summed(rows)

    def close(self) -> None:
        self._writer.close()
        while not self._readers.empty():
            self._readers.get_nowait().close()

    def _rows(
        self, sql: str, asked: dict[str, Any] | None = None, settings: Mapping[str, int] = READ
    ) -> list[Any]:
        with _translated(), self._reader() as client:
            return list(client.query(sql, parameters=asked, settings=settings).result_rows)

    def _arrow(self, sql: str, asked: dict[str, Any], settings: Mapping[str, int] = READ) -> pa.Table:
        # In the text: the driver would set, read back and reset each of them around an Arrow query, for 8 ms.
        settings = {**settings, "output_format_arrow_string_as_string": 0}
        clause = ", ".join(f"{name} = {value}" for name, value in settings.items())
        with _translated(), self._reader() as client:
            try:
                return client.query_arrow(f"{sql} SETTINGS {clause}", parameters=asked)
            except pa.ArrowException as exc:  # an answer that broke off after its head
                raise StoreUnavailable("the usage store's answer is not whole") from exc

    @contextlib.contextmanager
    def _reader(self) -> Iterator[Any]:
        """Borrow a reader's client. A client that was interrupted goes back all the same: it holds no session."""
        with self._opening:
            if self._readers.empty() and self._opened < READERS_MAX:
                self._readers.put(self._connect())  # where that fails, the next reader tries again
                self._opened += 1
        client = self._readers.get()
        try:
            yield client
        finally:
            self._readers.put(client)


@contextlib.contextmanager
def _translated() -> Iterator[None]:
    """The one place where the driver's errors become ours. Their text quotes queries and values: only codes go on."""
    try:
        yield
    except ClickHouseError as exc:
        codes = ", ".join(_CODES.findall(str(exc))) or type(exc).__name__
        raise StoreUnavailable(f"the usage store did not answer: {codes}") from exc


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
