"""A service's own tables in one schema of a PostgreSQL database: pooled connections, versioned migrations, one error.

What `SqliteFile` is for a file. Which tables there are is their owner's business; this knows only how a server is
reached, how a schema is brought up to date, and what a caller hears when the server is away.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import psycopg
from psycopg import errors, sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.types.string import StrDumperUnknown, TextLoader
from psycopg_pool import ConnectionPool

from penstock.database.sqlite import TooNew
from penstock.kernel.problems import Refused, StoreUnavailable, Unprocessable

T = TypeVar("T")
Connection = psycopg.Connection[Any]

# How long a caller waits for a connection, and a connection for a server, before the server counts as away.
CONNECT_TIMEOUT_S = 5
STATEMENT_TIMEOUT_MS = 30_000
RETRY_AFTER_S = 2
# How often a transaction is run that lost a race for locks; each time somebody else got on.
ATTEMPTS_MAX = 5
# Where the DSN does not say otherwise. A server that vanishes without a word is noticed by its missing packets.
_CONNECTING: dict[str, str | int] = {
    "connect_timeout": CONNECT_TIMEOUT_S,
    "tcp_user_timeout": 10_000,  # ms
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "fallback_application_name": "penstock",
    "client_encoding": "utf8",
}
# A commit that was answered is on the disk, whatever the server's or the role's default says.
_SETTINGS = """
    SELECT set_config('search_path', %s, false),
           set_config('statement_timeout', %s, false),
           set_config('TimeZone', 'UTC', false),
           set_config('default_transaction_isolation', 'read committed', false),
           CASE current_setting('synchronous_commit') WHEN 'off' THEN set_config('synchronous_commit', 'on', false) END
"""
_AWAY = (psycopg.OperationalError, psycopg.InterfaceError, psycopg.InternalError)
_LOST_A_RACE = (errors.SerializationFailure, errors.DeadlockDetected)
# PostgreSQL's text holds every character but NUL. An id may have one, so it is written in two that are as rare.
_ESCAPES = (("\x1a", "\x1a1"), ("\0", "\x1a0"))


class PostgresDatabase:
    """Connections to the schema `schema`, made where it is missing, of the database that the libpq DSN names.

    Opened on first use: a server that is away is met by the first call. Several processes, services and kinds of
    tables may share a database; none but this service's share the schema.
    """

    def __init__(self, dsn: str, schema: str, connections_max: int = 8) -> None:
        self.schema = schema
        self._pool = ConnectionPool(
            make_conninfo(**dict[str, Any](_CONNECTING | conninfo_to_dict(dsn))),
            min_size=0,
            max_size=connections_max,
            timeout=CONNECT_TIMEOUT_S,
            reconnect_timeout=CONNECT_TIMEOUT_S,
            name=f"postgres-{schema}",
            configure=self._configure,
            check=self._check,
            open=True,
        )

    def migrate(self, what: str, migrations: Sequence[str]) -> None:
        """Bring the tables of `what` (a word for messages) to the newest version, all or none.

        Script n of `migrations` leads from version n to n + 1. A script that was ever released is never edited.
        Processes that start at once take turns. Raise `Refused` for a newer schema or a server that forgets.
        """
        with self.use() as connection:
            connection.execute("SET LOCAL statement_timeout = 0")  # another process may have much to do first
            self.lock(connection, "migrations")
            _refuse_what_forgets(connection)
            # Asked first, since IF NOT EXISTS needs the right to create even where nothing is to be created.
            if not _answers(connection, "SELECT FROM pg_namespace WHERE nspname = %s", self.schema):
                connection.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(self.schema)))
            if not _answers(connection, "SELECT WHERE to_regclass('migrated') IS NOT NULL"):
                connection.execute("CREATE TABLE migrated (what TEXT PRIMARY KEY, version INTEGER NOT NULL)")
            self._migrate(connection, what, migrations)

    def _migrate(self, connection: Connection, what: str, migrations: Sequence[str]) -> None:
        found = connection.execute("SELECT version FROM migrated WHERE what = %s", (what,)).fetchone()
        version: int = found[0] if found else 0
        if version > (known := len(migrations)):
            where = f"schema {self.schema}"
            raise TooNew(f"{where} has {what} version {version}; this Penstock knows {known} and below")
        for script in migrations[version:]:
            connection.execute(script.encode())
        if version < known:
            connection.execute(
                "INSERT INTO migrated VALUES (%s, %s) ON CONFLICT (what) DO UPDATE SET version = excluded.version",
                (what, known),
            )

    @contextmanager
    def use(self) -> Iterator[Connection]:
        """A connection for one transaction, committed at the end, or undone by an error.

        Raise `StoreUnavailable` where the server is away or too slow: the outcome of what was begun is unknown then.
        """
        try:
            with self._pool.connection() as connection:
                yield connection
        except errors.ProgramLimitExceeded as exc:  # an index entry has at most some 2,700 bytes
            raise Unprocessable("an id or a key is too long to be stored") from exc
        except _AWAY as exc:
            # The error's text may name hosts and roles, which are not for a caller; it stays in the chain.
            detail = f"the {self.schema} database did not answer: {type(exc).__name__}"
            raise StoreUnavailable(detail, retry_after_s=RETRY_AFTER_S) from exc

    def write(self, verb: Callable[[Connection], T]) -> T:
        """Run `verb` in one transaction, from the beginning again where it lost a race to another one."""
        for _ in range(ATTEMPTS_MAX - 1):
            try:
                return self._once(verb)
            except StoreUnavailable as exc:
                if not isinstance(exc.__cause__, _LOST_A_RACE):
                    raise
        return self._once(verb)

    def _once(self, verb: Callable[[Connection], T]) -> T:
        with self.use() as connection:
            return verb(connection)

    def lock(self, connection: Connection, *names: str) -> None:
        """Hold these names, of this schema, until the transaction has ended and others can see what it wrote."""
        keys = [f"penstock/{self.schema}/{name}" for name in sorted(set(names))]  # one order for all: no deadlock
        connection.execute(
            "SELECT pg_advisory_xact_lock(hashtextextended(key, 0)) FROM unnest(%s::text[]) AS key", (keys,)
        )

    def close(self) -> None:
        """Let go of every connection. Idempotent."""
        self._pool.close()

    def _configure(self, connection: Connection) -> None:
        connection.adapters.register_dumper(str, _Escaped)
        connection.adapters.register_loader("text", _Unescaped)
        connection.execute(_SETTINGS, (sql.Identifier(self.schema).as_string(), str(STATEMENT_TIMEOUT_MS)))
        connection.commit()

    def _check(self, connection: Connection) -> None:
        """Before a connection is handed out: after a restart of the server not one of the idle ones is good."""
        try:
            ConnectionPool.check_connection(connection)
        except _AWAY:
            self._pool.drain()
            raise


class _Escaped(StrDumperUnknown):
    def dump(self, obj: str) -> Any:
        for character, escape in _ESCAPES:
            obj = obj.replace(character, escape)
        return super().dump(obj)


class _Unescaped(TextLoader):
    def load(self, data: Any) -> Any:
        text = str(data, "utf-8")
        for character, escape in reversed(_ESCAPES):
            text = text.replace(escape, character)
        return text


def _answers(connection: Connection, query: str, *values: str) -> bool:
    return connection.execute(query.encode(), values).fetchone() is not None


def _refuse_what_forgets(connection: Connection) -> None:
    row = connection.execute("SELECT current_setting('fsync'), current_setting('server_encoding')").fetchone()
    if row != ("on", "UTF8"):
        raise Refused(f"PostgreSQL must run with fsync on and encoding UTF8, not {row}: it would lose what it was told")
