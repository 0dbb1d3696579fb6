"""What a customer can draw on now, and how it came to that: balances and their ledgers, as of now."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any

import msgspec

from penstock.contracts.agreement import Contract
from penstock.contracts.balance import Balance, BalanceKind
from penstock.contracts.booking import DRAW, EXPIRATION, GRANT, MANUAL, bookings, expiration, segment_account
from penstock.contracts.close import Standing
from penstock.contracts.edge import to_api
from penstock.kernel.entry import Transaction
from penstock.kernel.quantity import ZERO, exact

_ENTRY_KIND = {GRANT: "SEGMENT_START", DRAW: "AUTOMATED_INVOICE_DEDUCTION", EXPIRATION: "EXPIRATION", MANUAL: "MANUAL"}
_ENTRY_PREFIX = {BalanceKind.PREPAID: "PREPAID_COMMIT", BalanceKind.CREDIT: "CREDIT"}


@exact
def spendable(balance: Balance, left: Mapping[str, Decimal], now: datetime) -> Decimal:
    """What can be drawn at this moment, in major units.

    A segment that is over or to come contributes nothing, nor does one that manual entries pushed below zero.
    """
    return sum((max(left[segment.id], ZERO) for segment in balance.segments if now in segment.span), ZERO)


@exact
def consumed(balance: Balance, standing: Standing, transactions: Iterable[Transaction], now: datetime) -> Decimal:
    """What final invoices and drafts drew of the segments that can be drawn at this moment."""
    current = {segment_account(balance.id, s.id): s.id for s in balance.segments if now in s.span}
    drawn = sum((standing.booked[id] - standing.live[id] for id in current.values()), ZERO)
    entries = [entry for transaction in transactions if transaction.kind == DRAW for entry in transaction.entries]
    return drawn - sum((entry.amount.value for entry in entries if entry.account in current), ZERO)


def ledger_view(
    balance: Balance,
    contract: Contract,
    standing: Standing,
    transactions: Iterable[Transaction],
    now: datetime,
) -> list[dict[str, Any]]:
    """The balance's ledger up to now: what is booked, then what drafts and ends of segments will book.

    The entries sum to what is spendable, unless manual entries pushed a segment below zero.
    """
    pending = [t for draft in standing.drafts for t in bookings("", draft)]
    ended = [segment for segment in balance.segments if segment.span.end <= now and standing.live[segment.id] > 0]
    pending += [expiration("", "", balance, segment, standing.live[segment.id]) for segment in ended]
    entries = [
        _entry(transaction, entry.account, entry.amount.value, balance, contract)
        for transaction in (*transactions, *pending)
        for entry in transaction.entries
        if entry.account.startswith(segment_account(balance.id, ""))
        and (transaction.kind != GRANT or transaction.effective_at <= now)
    ]
    return sorted(entries, key=lambda entry: entry["timestamp"])


def _entry(
    transaction: Transaction, account: str, value: Decimal, balance: Balance, contract: Contract
) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "type": f"{_ENTRY_PREFIX[balance.kind]}_{_ENTRY_KIND[transaction.kind]}",
        "timestamp": transaction.effective_at,
        "segment_id": account.rpartition("/")[2],
        "amount": to_api(value, balance.unit),
    }
    if transaction.kind == DRAW:
        entry |= {"invoice_id": transaction.reference, "contract_id": contract.id}
    if transaction.kind == MANUAL:
        entry |= {"reason": transaction.reference}
    return entry


class Filter(msgspec.Struct, frozen=True):
    """Which balances count: every part that is given must match. No balance has custom fields yet."""

    balance_types: list[str] | None = None
    ids: list[str] | None = None
    custom_fields: dict[str, str] | None = None

    def takes(self, balance: Balance) -> bool:
        if self.custom_fields or (self.ids is not None and balance.id not in self.ids):
            return False
        return self.balance_types is None or _balance_type(balance) in {t.upper() for t in self.balance_types}


def _balance_type(balance: Balance) -> str:
    return "PREPAID_COMMIT" if balance.kind is BalanceKind.PREPAID else "CREDIT"


def takes_any(filters: Sequence[Filter] | None, balance: Balance) -> bool:
    """Filters are alternatives; without any, every balance counts."""
    return not filters or any(each.takes(balance) for each in filters)
