"""Where the contracts service books, and who may: one writer to a balance pool. Synchronous."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from decimal import Decimal
from typing import Protocol

from penstock.kernel.entry import Transaction


class Ledger(Protocol):
    """The double-entry ledger. Append-only; balances are projections of it."""

    def post(self, transactions: Sequence[Transaction]) -> int:
        """Append all or none; return how many were new. A known id with the same content is a no-op.

        Raise `Conflict` for a known id with other content; assert that each sums to zero per unit. The writer of a pool
        holds `pool` while it decides and posts.
        """
        ...

    def balances(self, tenant: str, pool: str) -> dict[str, Decimal]:
        """The balance of every account of the pool, in major units of the account's one unit."""
        ...

    def transactions(self, tenant: str, pool: str) -> list[Transaction]:
        """All of the pool's transactions in the order they were posted."""
        ...

    def close(self) -> None: ...


class Pools(Protocol):
    """Who writes to a balance pool: one at a time, over all processes that work on one ledger."""

    def of(self, tenant: str, pool: str) -> AbstractContextManager[object]:
        """Inside, the caller is the pool's one writer. Not reentrant.

        Raise `StoreUnavailable` on entering where the pool cannot be had in time, and on leaving where it was lost
        meanwhile: what was written inside may stand, so look again before it is written once more.
        """
        ...
