"""The ledger in PostgreSQL, and the row by which one process at a time is a pool's writer.

A row per transaction and per entry, appended and never touched again. A post is one transaction; a transaction's id is
unique, so that of two processes that post it at once one appends and the other finds it there.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from decimal import Decimal
from itertools import groupby
from typing import Any

from penstock.contracts.store.postgres_migrations import MIGRATIONS
from penstock.contracts.store.rules import assert_balanced, is_known
from penstock.database.postgres import Connection, PostgresDatabase
from penstock.kernel.entry import Entry, Transaction
from penstock.kernel.money import Amount, Unit
from penstock.kernel.ports.ledger import Pools
from penstock.kernel.quantity import canonical
from penstock.kernel.window import from_us, to_us

# A process that stopped while it held a pool loses it after this long; a close takes a few seconds at most.
HOLD_MS_MAX = 120_000

_READ = """
    SELECT sequence, id, tenant, pool, kind, effective_at, reference,
           account, value, unit_id, unit_name, unit_decimals
    FROM ledger_transaction LEFT JOIN ledger_entry USING (sequence)
"""


class PostgresLedger:
    """A `Ledger` in the schema of `database`, which its owner closes."""

    def __init__(self, database: PostgresDatabase) -> None:
        self._database = database
        database.migrate("ledger", MIGRATIONS)

    def post(self, transactions: Sequence[Transaction]) -> int:
        assert_balanced(transactions)
        if not transactions:
            return 0
        return self._database.write(lambda connection: sum(_append(connection, t) for t in transactions))

    def balances(self, tenant: str, pool: str) -> dict[str, Decimal]:
        with self._database.use() as connection:
            rows = connection.execute(
                "SELECT account, sum(value) FROM ledger_transaction JOIN ledger_entry USING (sequence)"
                " WHERE tenant = %s AND pool = %s GROUP BY account",
                (tenant, pool),
            ).fetchall()
        return {account: canonical(total) for account, total in rows}

    def transactions(self, tenant: str, pool: str) -> list[Transaction]:
        with self._database.use() as connection:
            return _read(connection, "tenant = %s AND pool = %s", tenant, pool)

    def close(self) -> None:
        """Nothing is held: the connections are the database's."""


class PostgresPools:
    """`Pools` over every process that works on this schema, by a lock on a pool's row.

    `here` makes the threads of this process take turns first, so that one of them at most waits at the server. A pool
    that is held keeps a connection of `database`: nothing else may use that one, or who holds a pool may wait for a
    connection of who waits for the pool.
    """

    def __init__(self, database: PostgresDatabase, here: Pools) -> None:
        self._database = database
        self._here = here
        database.migrate("ledger", MIGRATIONS)

    @contextmanager
    def of(self, tenant: str, pool: str) -> Iterator[None]:
        with self._here.of(tenant, pool), self._database.use() as connection:
            # The row itself never changes, so this transaction has nothing to bring to the disk.
            connection.execute(f"SET LOCAL idle_in_transaction_session_timeout = {HOLD_MS_MAX}".encode())
            connection.execute("SET LOCAL synchronous_commit = off")
            if not _is_locked(connection, tenant, pool):
                new = "INSERT INTO ledger_pool (tenant, pool) VALUES (%s, %s) ON CONFLICT DO NOTHING"
                connection.execute(new, (tenant, pool))
                found = _is_locked(connection, tenant, pool)
                assert found, "whoever was first has inserted it"
            yield


def _is_locked(connection: Connection, tenant: str, pool: str) -> bool:
    """Wait for the pool's row and lock it, if there is one."""
    lock = "SELECT FROM ledger_pool WHERE tenant = %s AND pool = %s FOR UPDATE"
    return connection.execute(lock, (tenant, pool)).fetchone() is not None


def _append(connection: Connection, transaction: Transaction) -> bool:
    """Append unless it is there; return whether it was new."""
    row = connection.execute(
        "INSERT INTO ledger_transaction (tenant, id, pool, kind, effective_at, reference)"
        " VALUES (%s, %s, %s, %s, %s, %s) ON CONFLICT DO NOTHING RETURNING sequence",
        (
            transaction.tenant,
            transaction.id,
            transaction.pool,
            transaction.kind,
            transaction.effective_at,
            transaction.reference,
        ),
    ).fetchone()
    if row is None:
        [known] = _read(connection, "tenant = %s AND id = %s", transaction.tenant, transaction.id)
        return not is_known(known, transaction)
    with connection.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO ledger_entry VALUES (%s, %s, %s, %s, %s, %s, %s)",
            [
                (row[0], place, entry.account, entry.amount.value, unit.id, unit.name, unit.decimals)
                for place, entry in enumerate(transaction.entries)
                for unit in (entry.amount.unit,)
            ],
        )
    return True


def _read(connection: Connection, where: str, *values: str) -> list[Transaction]:
    rows = connection.execute(f"{_READ} WHERE {where} ORDER BY sequence, place".encode(), values).fetchall()
    return [_transaction(list(group)) for _, group in groupby(rows, key=lambda row: row[0])]


def _transaction(rows: list[tuple[Any, ...]]) -> Transaction:
    _, id, tenant, pool, kind, effective_at, reference = rows[0][:7]
    entries = tuple(
        Entry(account, Amount(canonical(value), Unit(unit_id, unit_name, decimals)))
        for account, value, unit_id, unit_name, decimals in (row[7:] for row in rows)
        if account is not None
    )
    return Transaction(id, tenant, pool, kind, from_us(to_us(effective_at)), reference, entries)
