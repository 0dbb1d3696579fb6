"""The catalog in one SQLite file: every revision stays, and a table of its own says who holds a unique key now.

One connection behind a lock serves all worker threads; a put is one transaction, on the disk before it returns.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec

from penstock.database.sqlite import SqliteFile
from penstock.kernel.ports.catalog import Item
from penstock.kernel.problems import Conflict
from penstock.kernel.window import from_us, to_us

# Script n leads from version n to n + 1. A script that was ever released is never edited: append another.
MIGRATIONS = (
    """
    CREATE TABLE item (
        sequence INTEGER PRIMARY KEY,
        tenant TEXT NOT NULL,
        kind TEXT NOT NULL,
        id TEXT NOT NULL,
        parent TEXT,                -- of the latest revision
        revision INTEGER NOT NULL,  -- the latest
        UNIQUE (tenant, kind, id)
    ) STRICT;
    CREATE INDEX item_by_kind ON item (kind, tenant, sequence);
    CREATE INDEX item_by_parent ON item (kind, tenant, parent, sequence);
    CREATE TABLE revision (
        sequence INTEGER NOT NULL REFERENCES item,
        revision INTEGER NOT NULL,
        recorded_at_us INTEGER NOT NULL,
        parent TEXT,
        unique_keys TEXT NOT NULL,  -- a JSON array
        body BLOB NOT NULL,
        PRIMARY KEY (sequence, revision)
    ) STRICT;
    CREATE TABLE unique_key (
        tenant TEXT NOT NULL,
        kind TEXT NOT NULL,
        key TEXT NOT NULL,
        sequence INTEGER NOT NULL REFERENCES item,
        PRIMARY KEY (tenant, kind, key)
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX unique_key_by_item ON unique_key (sequence);
    """,
)

_READ = """
    SELECT tenant, kind, id, body, revision.parent, unique_keys, revision.revision, sequence, recorded_at_us
    FROM item JOIN revision USING (sequence)
"""
_LATEST = "revision.revision = item.revision"


class SqliteCatalog:
    """A `Catalog` in the file `path`, whose folder must exist."""

    def __init__(self, path: Path) -> None:
        self._file = SqliteFile(path, "catalog", MIGRATIONS)

    def put(self, items: Sequence[Item], recorded_at: datetime) -> list[Item]:
        with self._file.use() as connection:
            connection.execute("BEGIN IMMEDIATE")
            return [_put(connection, item, to_us(recorded_at)) for item in items]

    def get(self, tenant: str, kind: str, id: str, as_of: datetime | None = None) -> Item | None:
        where, values = f"{_READ} WHERE tenant = ? AND kind = ? AND id = ?", (tenant, kind, id)
        if as_of is None:
            return self._one(f"{where} AND {_LATEST}", *values)
        return self._one(f"{where} AND recorded_at_us <= ? ORDER BY revision.revision DESC", *values, to_us(as_of))

    def find(self, tenant: str, kind: str, unique: str) -> Item | None:
        holder = "SELECT sequence FROM unique_key WHERE tenant = ? AND kind = ? AND key = ?"
        return self._one(f"{_READ} WHERE sequence = ({holder}) AND {_LATEST}", tenant, kind, unique)

    def list(
        self, tenant: str | None, kind: str, parent: str | None = None, after: int = 0, limit: int | None = None
    ) -> list[Item]:
        where: dict[str, Any] = {"kind = ?": kind, "sequence > ?": after}
        if tenant is not None:
            where["tenant = ?"] = tenant
        if parent is not None:
            where["item.parent = ?"] = parent
        query = f"{_READ} WHERE {_LATEST} AND {' AND '.join(where)} ORDER BY sequence LIMIT ?"
        with self._file.use() as connection:
            rows = connection.execute(query, (*where.values(), -1 if limit is None else limit)).fetchall()
        return [_item(row) for row in rows]

    def close(self) -> None:
        """Let go of the file. Idempotent."""
        self._file.close()

    def _one(self, query: str, *values: str | int) -> Item | None:
        with self._file.use() as connection:
            row = connection.execute(f"{query} LIMIT 1", values).fetchone()
        return None if row is None else _item(row)


def _put(connection: sqlite3.Connection, item: Item, recorded_at_us: int) -> Item:
    place = (item.tenant, item.kind, item.id)
    known = "SELECT sequence, revision FROM item WHERE tenant = ? AND kind = ? AND id = ?"
    sequence, latest = connection.execute(known, place).fetchone() or (None, 0)
    if item.revision != latest:
        raise Conflict(f"{item.kind} {item.id} " + ("has changed" if item.revision else "exists already"))
    if sequence is None:
        first = "INSERT INTO item (tenant, kind, id, parent, revision) VALUES (?, ?, ?, ?, 1)"
        sequence = connection.execute(first, (*place, item.parent)).lastrowid
    else:
        later = "UPDATE item SET parent = ?, revision = revision + 1 WHERE sequence = ?"
        connection.execute(later, (item.parent, sequence))
    assert sequence is not None, "an insert sets it"
    connection.execute(
        "INSERT INTO revision (sequence, revision, recorded_at_us, parent, unique_keys, body)"
        " VALUES (?, ?, ?, ?, ?, ?)",
        (sequence, latest + 1, recorded_at_us, item.parent, msgspec.json.encode(item.unique).decode(), item.body),
    )
    _hold(connection, item, sequence)
    return msgspec.structs.replace(item, revision=latest + 1, sequence=sequence, recorded_at=from_us(recorded_at_us))


def _hold(connection: sqlite3.Connection, item: Item, sequence: int) -> None:
    """Give up the unique keys that the item held, then take those it holds now."""
    connection.execute("DELETE FROM unique_key WHERE sequence = ?", (sequence,))
    for key in dict.fromkeys(item.unique):
        taken = connection.execute(
            "INSERT INTO unique_key (tenant, kind, key, sequence) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING",
            (item.tenant, item.kind, key, sequence),
        ).rowcount
        if not taken:
            raise Conflict(f"another {item.kind} holds {key!r}")


def _item(row: tuple[Any, ...]) -> Item:
    tenant, kind, id, body, parent, unique_keys, revision, sequence, recorded_at_us = row
    unique = msgspec.json.decode(unique_keys, type=tuple[str, ...])
    return Item(tenant, kind, id, body, parent, unique, revision, sequence, from_us(recorded_at_us))
