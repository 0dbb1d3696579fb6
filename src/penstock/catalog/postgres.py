"""The catalog in PostgreSQL: the tables of `catalog/sqlite.py`, and any number of processes that write.

Writers of one kind take turns: a put holds a lock on each of its kinds until its commit is visible. So a revision or a
unique key is looked at and written by one at a time, and sequences become visible in the order in which they are
counted: a reader whose cursor has passed one has seen every item of that kind below it. Readers never wait.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec

from penstock.database.postgres import Connection, PostgresDatabase
from penstock.kernel.ports.catalog import Item
from penstock.kernel.problems import Conflict
from penstock.kernel.window import from_us, to_us

# Script n leads from version n to n + 1. A script that was ever released is never edited: append another.
# COLLATE "C" compares bytes: an index must not depend on the collations of the machine's C library.
MIGRATIONS = (
    """
    CREATE TABLE item (
        sequence BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        tenant TEXT COLLATE "C" NOT NULL,
        kind TEXT COLLATE "C" NOT NULL,
        id TEXT COLLATE "C" NOT NULL,
        parent TEXT COLLATE "C",    -- of the latest revision
        revision INTEGER NOT NULL,  -- the latest
        UNIQUE (tenant, kind, id)
    );
    CREATE INDEX item_by_kind ON item (kind, tenant, sequence);
    CREATE INDEX item_by_parent ON item (kind, tenant, parent, sequence);
    CREATE TABLE revision (
        sequence BIGINT NOT NULL REFERENCES item,
        revision INTEGER NOT NULL,
        recorded_at TIMESTAMPTZ NOT NULL,
        parent TEXT,
        unique_keys TEXT[] NOT NULL,
        body BYTEA NOT NULL,
        PRIMARY KEY (sequence, revision)
    );
    CREATE TABLE unique_key (
        tenant TEXT COLLATE "C" NOT NULL,
        kind TEXT COLLATE "C" NOT NULL,
        key TEXT COLLATE "C" NOT NULL,
        sequence BIGINT NOT NULL REFERENCES item,
        PRIMARY KEY (tenant, kind, key)
    );
    CREATE INDEX unique_key_by_item ON unique_key (sequence);
    """,
)

_READ = """
    SELECT tenant, kind, id, body, revision.parent, unique_keys, revision.revision, sequence, recorded_at
    FROM item JOIN revision USING (sequence)
"""
_LATEST = "revision.revision = item.revision"


class PostgresCatalog:
    """A `Catalog` in the schema of `database`, which its owner closes."""

    def __init__(self, database: PostgresDatabase) -> None:
        self._database = database
        database.migrate("catalog", MIGRATIONS)

    def put(self, items: Sequence[Item], recorded_at: datetime) -> list[Item]:
        recorded_at = from_us(to_us(recorded_at))

        def put_all(connection: Connection) -> list[Item]:
            self._database.lock(connection, *(f"catalog/{item.kind}" for item in items))
            return [_put(connection, item, recorded_at) for item in items]

        return self._database.write(put_all)

    def get(self, tenant: str, kind: str, id: str, as_of: datetime | None = None) -> Item | None:
        where, values = f"{_READ} WHERE tenant = %s AND kind = %s AND id = %s", (tenant, kind, id)
        if as_of is None:
            return self._one(f"{where} AND {_LATEST}", *values)
        return self._one(f"{where} AND recorded_at <= %s ORDER BY revision.revision DESC", *values, as_of)

    def find(self, tenant: str, kind: str, unique: str) -> Item | None:
        holder = "SELECT sequence FROM unique_key WHERE tenant = %s AND kind = %s AND key = %s"
        return self._one(f"{_READ} WHERE sequence = ({holder}) AND {_LATEST}", tenant, kind, unique)

    def list(
        self, tenant: str | None, kind: str, parent: str | None = None, after: int = 0, limit: int | None = None
    ) -> list[Item]:
        where: dict[str, Any] = {"kind = %s": kind, "sequence > %s": after}
        if tenant is not None:
            where["tenant = %s"] = tenant
        if parent is not None:
            where["item.parent = %s"] = parent
        query = f"{_READ} WHERE {_LATEST} AND {' AND '.join(where)} ORDER BY sequence LIMIT %s"
        with self._database.use() as connection:
            rows = connection.execute(query.encode(), (*where.values(), limit)).fetchall()
        return [_item(row) for row in rows]

    def close(self) -> None:
        """Nothing is held: the connections are the database's."""

    def _one(self, query: str, *values: str | datetime) -> Item | None:
        with self._database.use() as connection:
            row = connection.execute(f"{query} LIMIT 1".encode(), values).fetchone()
        return None if row is None else _item(row)


def _put(connection: Connection, item: Item, recorded_at: datetime) -> Item:
    place = (item.tenant, item.kind, item.id)
    known = "SELECT sequence, revision FROM item WHERE tenant = %s AND kind = %s AND id = %s"
    sequence, latest = connection.execute(known, place).fetchone() or (None, 0)
    if item.revision != latest:
        raise Conflict(f"{item.kind} {item.id} " + ("has changed" if item.revision else "exists already"))
    if sequence is None:
        first = "INSERT INTO item (tenant, kind, id, parent, revision) VALUES (%s, %s, %s, %s, 1) RETURNING sequence"
        [sequence] = connection.execute(first, (*place, item.parent)).fetchall()[0]
    else:
        later = "UPDATE item SET parent = %s, revision = revision + 1 WHERE sequence = %s"
        connection.execute(later, (item.parent, sequence))
    connection.execute(
        "INSERT INTO revision (sequence, revision, recorded_at, parent, unique_keys, body)"
        " VALUES (%s, %s, %s, %s, %s, %s)",
        (sequence, latest + 1, recorded_at, item.parent, list(item.unique), item.body),
    )
    _hold(connection, item, sequence)
    return msgspec.structs.replace(item, revision=latest + 1, sequence=sequence, recorded_at=recorded_at)


def _hold(connection: Connection, item: Item, sequence: int) -> None:
    """Give up the unique keys that the item held, then take those it holds now."""
    connection.execute("DELETE FROM unique_key WHERE sequence = %s", (sequence,))
    for key in dict.fromkeys(item.unique):
        taken = connection.execute(
            "INSERT INTO unique_key (tenant, kind, key, sequence) VALUES (%s, %s, %s, %s) ON CONFLICT DO NOTHING",
            (item.tenant, item.kind, key, sequence),
        ).rowcount
        if not taken:
            raise Conflict(f"another {item.kind} holds {key!r}")


def _item(row: tuple[Any, ...]) -> Item:
    tenant, kind, id, body, parent, unique_keys, revision, sequence, recorded_at = row
    instant = from_us(to_us(recorded_at))
    return Item(tenant, kind, id, body, parent, tuple(unique_keys), revision, sequence, instant)
