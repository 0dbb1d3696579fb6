"""The one SQLite file under the embedded log: its schema, its identity, and what is written and read in it.

Synchronous; one thread writes, any thread reads. A record is a row; its checksum binds it to its place, so that a row
found in another's place is damage too. The WAL has checksums of its own: what a crash tore is cut when the file opens.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import sqlite3
import uuid
from collections.abc import Iterator, Mapping, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import IO

import msgspec

from penstock.kernel.identity import HASH_KEY_BYTES
from penstock.kernel.ports.event_log import LogDamaged, LogTrimmed
from penstock.kernel.problems import LogUnavailable, Refused
from penstock.kernel.record import Kind, LogIdentity, LogRecord

FORMAT = 1
PAGE_BYTES = 16_384
# A checkpoint copies the WAL into the file and syncs it; appends wait meanwhile, so it is kept short.
WAL_BYTES = 16 * 1024 * 1024
VACUUM_PAGES_MAX = 1_024  # 16 MiB a step: an append never waits long for the file to shrink

_SCHEMA = """
CREATE TABLE IF NOT EXISTS meta (
    format INTEGER NOT NULL, log_id TEXT NOT NULL, partitions INTEGER NOT NULL, hash_key BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS bounds (
    partition INTEGER PRIMARY KEY, first INTEGER NOT NULL, end INTEGER NOT NULL, appended_at_us INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS record (
    partition INTEGER NOT NULL, offset INTEGER NOT NULL, kind INTEGER NOT NULL,
    stamped_at_us INTEGER NOT NULL, appended_at_us INTEGER NOT NULL,
    checksum BLOB NOT NULL, payload BLOB NOT NULL, PRIMARY KEY (partition, offset));
"""
_INSERT = "INSERT INTO record VALUES (?, ?, ?, ?, ?, ?, ?)"
_SELECT = (
    "SELECT offset, kind, stamped_at_us, appended_at_us, checksum, payload FROM record"
    " WHERE partition = ? AND offset >= ? ORDER BY offset"
)


class LogRefused(Refused):
    """This file must not be opened so: another process writes it, or it is another log than the caller thinks."""


class Bounds(msgspec.Struct, frozen=True):
    """A partition's first offset, the offset after its last, and when that last one was appended."""

    first: int
    end: int
    appended_at_us: int


class LogFile:
    """Open with `open`. `bounds` is as of the last commit; the writing thread alone replaces its entries."""

    def __init__(self, lock: IO[bytes], writer: sqlite3.Connection, path: Path, identity: LogIdentity) -> None:
        self._lock, self._writer, self._path = lock, writer, path
        self.identity = identity
        rows = writer.execute("SELECT first, end, appended_at_us FROM bounds ORDER BY partition")
        self.bounds = [Bounds(*row) for row in rows]
        self._readers: list[sqlite3.Connection] = []
        self._wal_bytes = 0
        self._closed = False

    @classmethod
    def open(cls, path: Path, partitions: int, bytes_max: int | None = None) -> LogFile:
        """Open or create. `bytes_max` bounds the file's size. Raise `LogRefused`."""
        with contextlib.ExitStack() as undo:
            lock = undo.enter_context(_lock(path))
            writer = undo.enter_context(contextlib.closing(_connect(path)))
            try:
                _prepare(writer, partitions, bytes_max)
                identity = _identity(writer)
            except sqlite3.DatabaseError as exc:
                raise LogRefused(f"{path} cannot be opened as an event log: {exc}") from exc
            if identity.partitions != partitions:
                raise LogRefused(f"{path} has {identity.partitions} partitions, not {partitions}: fixed for its life")
            _sync_folder(path.parent)
            undo.pop_all()
        return cls(lock, writer, path, identity)

    def write(self, records: Sequence[LogRecord], trims: Mapping[int, int]) -> None:
        """Append `records` and trim below the offsets of `trims`, all or none, durable on return.

        Raise `LogUnavailable`: nothing of it is visible, and the next write starts afresh.
        """
        after = self._after(records, trims)
        try:
            with self._transaction():
                self._writer.executemany(_INSERT, map(_row, records))
                self._writer.executemany("DELETE FROM record WHERE partition = ? AND offset < ?", trims.items())
                self._writer.executemany(
                    "UPDATE bounds SET first = ?, end = ?, appended_at_us = ? WHERE partition = ?",
                    [(b.first, b.end, b.appended_at_us, partition) for partition, b in after.items()],
                )
        except sqlite3.Error as exc:
            raise LogUnavailable(f"the log cannot be written: {exc}") from exc
        for partition, changed in after.items():
            self.bounds[partition] = changed
        self._wal_bytes += sum(len(record.payload) for record in records) + (len(records) + 8) * PAGE_BYTES

    def _after(self, records: Sequence[LogRecord], trims: Mapping[int, int]) -> dict[int, Bounds]:
        after: dict[int, Bounds] = {}
        for record in records:
            before = after.get(record.partition, self.bounds[record.partition])
            assert record.offset == before.end, "offsets are contiguous"
            after[record.partition] = Bounds(before.first, before.end + 1, record.appended_at_us)
        for partition, first in trims.items():
            before = after.get(partition, self.bounds[partition])
            after[partition] = Bounds(first, before.end, before.appended_at_us)
        return after

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        self._writer.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._writer.execute("COMMIT")
        finally:
            if self._writer.in_transaction:
                self._writer.execute("ROLLBACK")

    def tidy(self, trimmed: bool) -> None:
        """What may follow a commit that is acknowledged: checkpoint a long WAL, give back some of many free pages.

        A full disk does not matter here: everything is durable as it is, and the next commit tries again.
        """
        with contextlib.suppress(sqlite3.OperationalError):
            if trimmed and 2 * self._pragma("freelist_count") > self._pragma("page_count"):
                # As a script: `execute` would stop after the first of its steps, one page.
                self._writer.executescript(f"PRAGMA incremental_vacuum({VACUUM_PAGES_MAX})")
            if self._wal_bytes > WAL_BYTES:
                # Not SQLite's own checkpoint: that one never waits for readers, and a WAL that is always read grows.
                self._pragma("wal_checkpoint(RESTART)")
                self._wal_bytes = 0

    def _pragma(self, text: str) -> int:
        rows = self._writer.execute(f"PRAGMA {text}").fetchall()
        return int(rows[0][0]) if rows else 0

    def read(self, partition: int, start: int, bytes_max: int) -> list[LogRecord]:
        """Records from `start`, which must be there, up to `bytes_max` of payload but at least one. Any thread."""
        connection = self._reader()
        try:
            with contextlib.closing(connection.execute(_SELECT, (partition, start))) as rows:
                records = _collect(rows, partition, start, bytes_max)
            if not records:
                raise _missing(connection, partition, start)
            return records
        except sqlite3.OperationalError as exc:
            raise LogUnavailable(f"the log cannot be read: {exc}") from exc
        except sqlite3.DatabaseError as exc:
            raise LogDamaged(f"partition {partition}, at or after offset {start}: {exc}") from exc
        finally:
            self._give_back(connection)

    def _reader(self) -> sqlite3.Connection:
        try:
            return self._readers.pop()
        except IndexError:
            return _connect(self._path)

    def _give_back(self, connection: sqlite3.Connection) -> None:
        if self._closed:
            connection.close()
        else:
            self._readers.append(connection)

    def close(self) -> None:
        """Copy the WAL into the file and let go. Call from one thread, when nobody writes."""
        self._closed = True
        while self._readers:
            self._readers.pop().close()
        with contextlib.suppress(sqlite3.OperationalError):  # a full disk: the WAL stays and is as durable
            self._pragma("wal_checkpoint(TRUNCATE)")
        self._writer.close()
        self._lock.close()


def _lock(path: Path) -> IO[bytes]:
    """The lock that only one process holds. It is beside the file: SQLite's own locks come and go."""
    lock = path.with_name(path.name + ".lock").open("ab")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as exc:
        lock.close()
        raise LogRefused(f"{path} is in use by another process") from exc
    return lock


def _connect(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=10)


def _prepare(writer: sqlite3.Connection, partitions: int, bytes_max: int | None) -> None:
    for pragma in (
        f"page_size = {PAGE_BYTES}",
        "auto_vacuum = INCREMENTAL",
        "journal_mode = WAL",
        "synchronous = FULL",
        "wal_autocheckpoint = 0",
        f"journal_size_limit = {WAL_BYTES}",
        f"max_page_count = {(bytes_max or 2**44) // PAGE_BYTES}",
    ):
        writer.execute(f"PRAGMA {pragma}").fetchall()
    writer.executescript(f"BEGIN IMMEDIATE; {_SCHEMA} COMMIT")
    if writer.execute("SELECT count(*) FROM meta").fetchone()[0]:
        return
    writer.execute("BEGIN IMMEDIATE")
    row = (FORMAT, str(uuid.uuid4()), partitions, secrets.token_bytes(HASH_KEY_BYTES))
    writer.execute("INSERT INTO meta VALUES (?, ?, ?, ?)", row)
    writer.executemany("INSERT INTO bounds VALUES (?, 0, 0, 0)", [(p,) for p in range(partitions)])
    writer.execute("COMMIT")


def _identity(writer: sqlite3.Connection) -> LogIdentity:
    version, log_id, partitions, hash_key = writer.execute("SELECT * FROM meta").fetchone()
    if version != FORMAT:
        raise LogRefused(f"the log is of format {version}, this program reads {FORMAT}")
    return LogIdentity(log_id, partitions, hash_key)


def _sync_folder(folder: Path) -> None:
    """A new file is durable only when its name is."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _checksum(record: LogRecord) -> bytes:
    place = record.partition.to_bytes(4, "big") + record.offset.to_bytes(8, "big")
    return blake2b(place + record.digest(), digest_size=16).digest()


def _row(record: LogRecord) -> tuple[int, int, int, int, int, bytes, bytes]:
    stamps = record.stamped_at_us, record.appended_at_us
    return record.partition, record.offset, int(record.kind), *stamps, _checksum(record), record.payload


def _collect(rows: sqlite3.Cursor, partition: int, start: int, bytes_max: int) -> list[LogRecord]:
    records: list[LogRecord] = []
    for offset, kind, stamped_at_us, appended_at_us, checksum, payload in rows:
        bytes_max -= len(payload)
        if records and bytes_max < 0:
            break
        if offset != start + len(records):
            if not records:
                break  # `_missing` tells trimmed from lost
            raise LogDamaged(f"partition {partition}: offset {start + len(records)} is missing")
        if kind not in Kind._value2member_map_:
            raise LogDamaged(f"partition {partition}, offset {offset}: unknown kind")
        record = LogRecord(partition, offset, Kind(kind), stamped_at_us, appended_at_us, payload)
        if _checksum(record) != checksum:
            raise LogDamaged(f"partition {partition}, offset {offset}: the checksum does not match")
        records.append(record)
    return records


def _missing(connection: sqlite3.Connection, partition: int, start: int) -> LogDamaged | LogTrimmed:
    """Why the record at `start` is not there: it was trimmed a moment ago, or it is lost."""
    (first,) = connection.execute("SELECT first FROM bounds WHERE partition = ?", (partition,)).fetchone()
    if start < first:
        return LogTrimmed(f"partition {partition} starts at offset {first}, not {start}")
    return LogDamaged(f"partition {partition}: offset {start} is missing")
