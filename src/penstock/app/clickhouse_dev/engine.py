"""chDB as a server sees it: one folder, one process, and a handle of its own for every statement.

A handle costs half a millisecond; settings, USE and whatever a failed insert leaves behind go with it.
"""

from __future__ import annotations

import fcntl
import re
from pathlib import Path
from typing import IO, Any

import chdb
import msgspec
from chdb import ChdbError

from penstock.app.clickhouse_dev.statement import EngineError, Statement
from penstock.kernel.problems import Refused

# Small, as in process (ClickHouseUsageStore.embedded): this is one developer's machine.
OPTIONS = "background_pool_size=2&max_concurrent_queries=16&mark_cache_size=67108864&uncompressed_cache_size=0"
UNKNOWN_SETTING, STD_EXCEPTION = 115, 1001
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_CODE = re.compile(r"Code: (\d+)\.")


class Result(msgspec.Struct, frozen=True):
    """The bytes of an answer and what is told of the work: counts as ClickHouse's summary names them."""

    body: bytes
    summary: dict[str, str]


class Engine:
    """The engine on a folder. Raise `Refused` where another process has the folder."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._lock = _lock(folder)
        self._path = str(folder)
        self._open = _opened(f"{self._path}?{OPTIONS}")  # the engine ends with its last handle
        told = self._open.query("SELECT version(), timezone()", "TabSeparated").bytes().decode()
        self.version, self.timezone = told.split()

    def run(self, statement: Statement) -> Result:
        """Run one statement, in the caller's thread; any number of threads may. Raise `EngineError`."""
        handle = _opened(self._path)
        try:
            if statement.database:
                handle.query(f"USE {_quoted(statement.database, '`')}")
            if statement.settings:
                handle.query(_set(statement.settings))
            if statement.rows is not None:
                return _insert(handle, statement.sql.decode(), statement.format, statement.rows)
            return _query(handle, statement)
        except (ChdbError, RuntimeError) as exc:
            raise self._told(str(exc)) from None
        finally:
            handle.close()

    def _told(self, text: str) -> EngineError:
        found = _CODE.search(text)
        if found is None:
            return EngineError(STD_EXCEPTION, f"Code: {STD_EXCEPTION}. DB::Exception: {text} (STD_EXCEPTION)")
        return EngineError(int(found[1]), f"{text[found.start() :].strip()} (version {self.version} (chDB))")

    def close(self) -> None:
        """Let go of the folder. No statement may be running."""
        self._open.close()
        self._lock.close()


def _opened(path: str) -> Any:
    return chdb.connect(path)  # type: ignore[no-untyped-call]  # chdb says that it has types; this one has none


def _query(handle: Any, statement: Statement) -> Result:
    done = handle.query(statement.sql, statement.format, params=statement.parameters)
    counts = {
        "read_rows": done.storage_rows_read(),
        "read_bytes": done.storage_bytes_read(),
        "written_rows": done.rows_written(),
        "written_bytes": done.bytes_written(),
        "result_rows": done.rows_read(),
        "result_bytes": done.bytes_read(),
    }
    return Result(done.bytes(), _summary(counts, done.elapsed()))


def _insert(handle: Any, sql: str, format_: str, rows: bytes) -> Result:
    """Measured against INSERT FROM INFILE: the same CPU, less wall time, and no file to remove."""
    with handle.send_insert(sql, format_) as insert:
        if rows:
            insert.append(rows)
        done = insert.finish()
    written = {"written_rows": done.rows_written, "written_bytes": done.bytes_written}
    return Result(b"", _summary({"read_rows": 0, "read_bytes": 0, **written}, done.elapsed))


def _summary(counts: dict[str, int], elapsed_s: float) -> dict[str, str]:
    return {name: str(count) for name, count in counts.items()} | {"elapsed_ns": str(int(elapsed_s * 1e9))}


def _set(settings: dict[str, str]) -> str:
    for name in settings:
        if not _NAME.fullmatch(name):
            raise EngineError(UNKNOWN_SETTING, f"Code: {UNKNOWN_SETTING}. DB::Exception: Unknown setting {name!r}")
    return "SET " + ", ".join(f"{name} = {_quoted(value, chr(39))}" for name, value in settings.items())


def _quoted(text: str, quote: str) -> str:
    return quote + text.replace("\\", "\\\\").replace(quote, "\\" + quote) + quote


def _lock(folder: Path) -> IO[bytes]:
    lock = (folder / "clickhouse-dev.lock").open("ab")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as exc:
        lock.close()
        raise Refused(f"{folder} is in use by another process") from exc
    return lock
