"""The double-entry ledger's nouns: a transaction is a set of entries that sum to zero per unit, for ever.

A transaction's id is derived from what it books, so that a redelivery is a no-op. Corrections are new transactions.
"""

from __future__ import annotations

from datetime import datetime

import msgspec

from penstock.kernel.money import Amount


class Entry(msgspec.Struct, frozen=True):
    """One side of a booking: `amount` is added to `account`'s balance (negative takes away).

    Accounts of a customer are paths: `commit/{balance}/{segment}`, `revenue`, `receivable`, `breakage`, `granted`.
    """

    account: str
    amount: Amount


class Transaction(msgspec.Struct, frozen=True):
    """What is booked together. `pool` is the balance pool (the root customer) whose one writer posts it.

    `effective_at` is the instant in the customer's world (segment start, invoice period end); `reference` names the
    invoice, commit or manual entry that it books.
    """

    id: str
    tenant: str
    pool: str
    kind: str
    effective_at: datetime
    reference: str
    entries: tuple[Entry, ...]
