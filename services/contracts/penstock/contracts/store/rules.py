"""What every ledger asks of a transaction before it is appended."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from decimal import Decimal

from penstock.kernel.entry import Transaction
from penstock.kernel.money import Unit
from penstock.kernel.problems import Conflict
from penstock.kernel.quantity import ZERO, exact


@exact
def assert_balanced(transactions: Sequence[Transaction]) -> None:
    """A transaction that does not sum to zero per unit is a bug of who wrote it."""
    for transaction in transactions:
        sums: defaultdict[Unit, Decimal] = defaultdict(lambda: ZERO)
        for entry in transaction.entries:
            sums[entry.amount.unit] += entry.amount.value
        assert not any(sums.values()), f"transaction {transaction.id} does not sum to zero"


def is_known(known: Transaction | None, transaction: Transaction) -> bool:
    """Whether it is booked already. Raise `Conflict` where the id stands for other content."""
    if known is not None and known != transaction:
        raise Conflict(f"transaction {transaction.id} is booked with other content")
    return known is not None
