"""The ledger's tables, as scripts that each lead from one version to the next. A released script is never edited."""

from __future__ import annotations

# Script n leads from version n to n + 1. Amounts are exact text: SQLite's numbers are 64-bit or floats.
MIGRATIONS = (
    """
    CREATE TABLE ledger_transaction (
        sequence INTEGER PRIMARY KEY,  -- the order of posting
        tenant TEXT NOT NULL,
        id TEXT NOT NULL,
        pool TEXT NOT NULL,
        kind TEXT NOT NULL,
        effective_at_us INTEGER NOT NULL,
        reference TEXT NOT NULL,
        UNIQUE (tenant, id)
    ) STRICT;
    CREATE INDEX ledger_transaction_by_pool ON ledger_transaction (tenant, pool, sequence);
    CREATE TABLE ledger_entry (
        sequence INTEGER NOT NULL REFERENCES ledger_transaction,
        place INTEGER NOT NULL,  -- within its transaction
        account TEXT NOT NULL,
        value TEXT NOT NULL,     -- major units of the unit
        unit_id TEXT NOT NULL,
        unit_name TEXT NOT NULL,
        unit_decimals INTEGER NOT NULL,
        PRIMARY KEY (sequence, place)
    ) STRICT, WITHOUT ROWID;
    CREATE TRIGGER ledger_transaction_is_final BEFORE UPDATE ON ledger_transaction
        BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END;
    CREATE TRIGGER ledger_transaction_stays BEFORE DELETE ON ledger_transaction
        BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END;
    CREATE TRIGGER ledger_entry_is_final BEFORE UPDATE ON ledger_entry
        BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END;
    CREATE TRIGGER ledger_entry_stays BEFORE DELETE ON ledger_entry
        BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END;
    """,
)
