"""The reference ledger: transactions in a list. What it answers is what every other ledger must answer."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from decimal import Decimal
from threading import Lock

from penstock.contracts.store.rules import assert_balanced, is_known
from penstock.kernel.entry import Transaction
from penstock.kernel.quantity import ZERO, exact


class MemoryLedger:
    """A `Ledger` that forgets when the process ends."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._by_id: dict[tuple[str, str], Transaction] = {}  # in the order of posting

    def post(self, transactions: Sequence[Transaction]) -> int:
        assert_balanced(transactions)
        with self._lock:
            new: dict[tuple[str, str], Transaction] = {}
            for transaction in transactions:
                key = (transaction.tenant, transaction.id)
                if not is_known(self._by_id.get(key) or new.get(key), transaction):
                    new[key] = transaction
            self._by_id.update(new)
            return len(new)

    @exact
    def balances(self, tenant: str, pool: str) -> dict[str, Decimal]:
        sums: defaultdict[str, Decimal] = defaultdict(lambda: ZERO)
        for transaction in self.transactions(tenant, pool):
            for entry in transaction.entries:
                sums[entry.account] += entry.amount.value
        return dict(sums)

    def transactions(self, tenant: str, pool: str) -> list[Transaction]:
        with self._lock:
            posted = list(self._by_id.values())
        return [t for t in posted if t.tenant == tenant and t.pool == pool]

    def close(self) -> None:
        """Nothing is held."""
