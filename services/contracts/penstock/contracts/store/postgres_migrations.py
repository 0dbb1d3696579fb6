"""The ledger's tables in PostgreSQL, as scripts that each lead from one version to the next. None is ever edited."""

from __future__ import annotations

# Script n leads from version n to n + 1. NUMERIC is exact decimal of any size.
MIGRATIONS = (
    """
    CREATE TABLE ledger_transaction (
        sequence BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,  -- the order of posting
        tenant TEXT COLLATE "C" NOT NULL,
        id TEXT COLLATE "C" NOT NULL,
        pool TEXT COLLATE "C" NOT NULL,
        kind TEXT NOT NULL,
        effective_at TIMESTAMPTZ NOT NULL,
        reference TEXT NOT NULL,
        UNIQUE (tenant, id)
    );
    CREATE INDEX ledger_transaction_by_pool ON ledger_transaction (tenant, pool, sequence);
    CREATE TABLE ledger_entry (
        sequence BIGINT NOT NULL REFERENCES ledger_transaction,
        place INTEGER NOT NULL,  -- within its transaction
        account TEXT COLLATE "C" NOT NULL,
        value NUMERIC NOT NULL,  -- major units of the unit
        unit_id TEXT NOT NULL,
        unit_name TEXT NOT NULL,
        unit_decimals INTEGER NOT NULL,
        PRIMARY KEY (sequence, place)
    );
    CREATE TABLE ledger_pool (  -- its row is locked by who writes to the pool
        tenant TEXT COLLATE "C" NOT NULL,
        pool TEXT COLLATE "C" NOT NULL,
        PRIMARY KEY (tenant, pool)
    );
    CREATE FUNCTION ledger_is_append_only() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN RAISE EXCEPTION 'the ledger is append-only'; END $$;
    CREATE TRIGGER ledger_transaction_stays BEFORE UPDATE OR DELETE OR TRUNCATE ON ledger_transaction
        EXECUTE FUNCTION ledger_is_append_only();
    CREATE TRIGGER ledger_entry_stays BEFORE UPDATE OR DELETE OR TRUNCATE ON ledger_entry
        EXECUTE FUNCTION ledger_is_append_only();
    """,
)
