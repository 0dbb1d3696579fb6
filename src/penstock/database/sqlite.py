"""A service's own tables in one SQLite file: durable commits, versioned migrations, one connection for all threads.

Which tables there are is their owner's business; this knows only how a file is opened, brought up to date and shared.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Lock

from penstock.kernel.problems import Refused, StoreUnavailable

BUSY_TIMEOUT_MS = 5_000
# FULL: a commit has reached the disk before it returns.
_PRAGMAS = (
    f"busy_timeout = {BUSY_TIMEOUT_MS}",
    "journal_mode = WAL",
    "synchronous = FULL",
    "foreign_keys = ON",
)


class TooNew(Refused):
    """The file was written by a later Penstock, whose tables this one does not know."""


class SqliteFile:
    """The file `path`, whose folder must exist, holding `what` (a word for messages).

    Script n of `migrations` leads from version n to n + 1. A script that was ever released is never edited.
    """

    def __init__(self, path: Path, what: str, migrations: Sequence[str]) -> None:
        self._what = what
        self._lock = Lock()
        self._connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        try:
            for pragma in _PRAGMAS:
                self._connection.execute(f"PRAGMA {pragma}")
            self._migrate(path, migrations)
        except BaseException:
            self._connection.close()
            raise

    def _migrate(self, path: Path, migrations: Sequence[str]) -> None:
        """Bring the file to the newest version, each step all or none."""
        version: int = self._connection.execute("PRAGMA user_version").fetchone()[0]
        if version > len(migrations):
            known = len(migrations)
            raise TooNew(f"{path} has {self._what} version {version}; this Penstock knows {known} and below")
        for number, script in enumerate(migrations[version:], version + 1):
            self._connection.executescript(f"BEGIN IMMEDIATE; {script}; PRAGMA user_version = {number}; COMMIT")

    @contextmanager
    def use(self) -> Iterator[sqlite3.Connection]:
        """The connection, for this thread alone; what was begun is committed at the end, or undone by an error."""
        with self._lock:
            try:
                with self._connection:
                    yield self._connection
            except sqlite3.OperationalError as exc:
                raise StoreUnavailable(f"the {self._what} did not answer: {exc}") from exc

    def close(self) -> None:
        """Let go of the file. Idempotent."""
        with self._lock:
            self._connection.close()
