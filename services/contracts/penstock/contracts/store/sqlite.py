"""The ledger in one SQLite file: a row per transaction and per entry, appended and never touched again.

One connection behind a lock serves all worker threads; a post is one transaction, on the disk before it returns.
"""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from collections.abc import Sequence
from decimal import Decimal
from itertools import groupby
from pathlib import Path
from typing import Any

from penstock.contracts.store.migrations import MIGRATIONS
from penstock.contracts.store.rules import assert_balanced, is_known
from penstock.database.sqlite import SqliteFile
from penstock.kernel.entry import Entry, Transaction
from penstock.kernel.money import Amount, Unit
from penstock.kernel.quantity import ZERO, exact, to_text
from penstock.kernel.window import from_us, to_us

_READ = """
    SELECT sequence, id, tenant, pool, kind, effective_at_us, reference,
           account, value, unit_id, unit_name, unit_decimals
    FROM ledger_transaction LEFT JOIN ledger_entry USING (sequence)
"""


class SqliteLedger:
    """A `Ledger` in the file `path`, whose folder must exist."""

    def __init__(self, path: Path) -> None:
        self._file = SqliteFile(path, "ledger", MIGRATIONS)

    def post(self, transactions: Sequence[Transaction]) -> int:
        assert_balanced(transactions)
        if not transactions:
            return 0
        with self._file.use() as connection:
            connection.execute("BEGIN IMMEDIATE")
            return sum(_append(connection, transaction) for transaction in transactions)

    @exact
    def balances(self, tenant: str, pool: str) -> dict[str, Decimal]:
        query = (
            "SELECT account, value FROM ledger_transaction JOIN ledger_entry USING (sequence)"
            " WHERE tenant = ? AND pool = ?"
        )
        with self._file.use() as connection:
            rows = connection.execute(query, (tenant, pool)).fetchall()
        sums: defaultdict[str, Decimal] = defaultdict(lambda: ZERO)
        for account, value in rows:
            sums[account] += Decimal(value)
        return dict(sums)

    def transactions(self, tenant: str, pool: str) -> list[Transaction]:
        with self._file.use() as connection:
            return _read(connection, "tenant = ? AND pool = ?", tenant, pool)

    def close(self) -> None:
        """Let go of the file. Idempotent."""
        self._file.close()


def _append(connection: sqlite3.Connection, transaction: Transaction) -> bool:
    """Append unless it is there; return whether it was new."""
    known = _read(connection, "tenant = ? AND id = ?", transaction.tenant, transaction.id)
    if is_known(known[0] if known else None, transaction):
        return False
    sequence = connection.execute(
        "INSERT INTO ledger_transaction (tenant, id, pool, kind, effective_at_us, reference) VALUES (?, ?, ?, ?, ?, ?)",
        (
            transaction.tenant,
            transaction.id,
            transaction.pool,
            transaction.kind,
            to_us(transaction.effective_at),
            transaction.reference,
        ),
    ).lastrowid
    connection.executemany(
        "INSERT INTO ledger_entry VALUES (?, ?, ?, ?, ?, ?, ?)",
        [
            (sequence, place, entry.account, to_text(entry.amount.value), unit.id, unit.name, unit.decimals)
            for place, entry in enumerate(transaction.entries)
            for unit in (entry.amount.unit,)
        ],
    )
    return True


def _read(connection: sqlite3.Connection, where: str, *values: str) -> list[Transaction]:
    rows = connection.execute(f"{_READ} WHERE {where} ORDER BY sequence, place", values).fetchall()
    return [_transaction(list(group)) for _, group in groupby(rows, key=lambda row: row[0])]


def _transaction(rows: list[tuple[Any, ...]]) -> Transaction:
    _, id, tenant, pool, kind, effective_at_us, reference = rows[0][:7]
    entries = tuple(
        Entry(account, Amount(Decimal(value), Unit(unit_id, unit_name, decimals)))
        for account, value, unit_id, unit_name, decimals in (row[7:] for row in rows)
        if account is not None
    )
    return Transaction(id, tenant, pool, kind, from_us(effective_at_us), reference, entries)
