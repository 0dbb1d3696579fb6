"""What is booked for a grant, an invoice, an expiry and a manual entry, and the proof that it adds up.

The accounts of a pool (a customer). An account is above zero for what is held or earned, below for where it is from:

    commit/{balance}/{segment}   what is left of a segment: + grant, - draw, - expiry
    granted/{balance}            - what was granted
    revenue/{balance}            + what invoices drew from it
    breakage/{balance}           + what expired unused
    manual/{balance}             - what was added by hand, + what was taken away
    revenue, receivable          + and - what an invoice asks the customer to pay: overage at list price, in USD
    revenue/{unit}, ...          the same in another currency: an account has one unit

A transaction's id is derived from what it books, so that posting it again is a no-op.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal

import msgspec

from penstock.contracts.agreement import Contract
from penstock.contracts.balance import Balance, Segment
from penstock.contracts.invoicing import Invoice
from penstock.kernel.entry import Entry, Transaction
from penstock.kernel.money import USD, Amount, Unit
from penstock.kernel.quantity import ZERO, exact

GRANT, DRAW, OVERAGE, EXPIRATION, MANUAL = "GRANT", "DRAW", "OVERAGE", "EXPIRATION", "MANUAL"
_TRANSACTION_IDS = uuid.UUID("5d0c3f4e-3a77-5c53-8a4f-0f6d1c6e9a21")


def segment_account(balance_id: str, segment_id: str) -> str:
    return f"commit/{balance_id}/{segment_id}"


def grants(tenant: str, contract: Contract) -> list[Transaction]:
    """One transaction per access segment, effective when the segment begins."""
    return [
        _Occasion(tenant, contract.customer_id, GRANT, (segment.id,), segment.span.start, contract.id).move(
            f"granted/{balance.id}", segment_account(balance.id, segment.id), segment.amount, balance.unit
        )
        for balance in contract.balances
        for segment in balance.segments
    ]


@exact
def bookings(tenant: str, invoice: Invoice) -> list[Transaction]:
    """One transaction per segment that was drawn, and one for what the customer is to pay. Zero is not booked."""
    drawn: dict[tuple[str, str, Unit], Decimal] = {}
    for draw in invoice.draws:
        key = (draw.balance_id, draw.segment_id, invoice.charges[draw.line].unit)
        drawn[key] = drawn.get(key, ZERO) + draw.amount
    end, pool = invoice.period.end, invoice.customer_id
    booked = [
        _Occasion(tenant, pool, DRAW, (invoice.id, segment_id), end, invoice.id).move(
            segment_account(balance_id, segment_id), f"revenue/{balance_id}", amount, unit
        )
        for (balance_id, segment_id, unit), amount in drawn.items()
        if amount
    ]
    if invoice.total:
        asked = _Occasion(tenant, pool, OVERAGE, (invoice.id,), end, invoice.id)
        source, target = _in_unit("receivable", invoice.unit), _in_unit("revenue", invoice.unit)
        booked.append(asked.move(source, target, invoice.total, invoice.unit))
    return booked


def _in_unit(account: str, unit: Unit) -> str:
    return account if unit == USD else f"{account}/{unit.id}"


def expiration(tenant: str, pool: str, balance: Balance, segment: Segment, left: Decimal) -> Transaction:
    """What was not used of a segment expires at its end."""
    expired = _Occasion(tenant, pool, EXPIRATION, (segment.id,), segment.span.end, segment.id)
    return expired.move(segment_account(balance.id, segment.id), f"breakage/{balance.id}", left, balance.unit)


def manual(
    tenant: str, pool: str, balance: Balance, segment: Segment, value: Decimal, at: datetime, reason: str, key: str
) -> Transaction:
    """Add `value` to a segment by hand (below zero: take it away). `key` tells this entry from every other."""
    by_hand = _Occasion(tenant, pool, MANUAL, (pool, key), at, reason)
    return by_hand.move(f"manual/{balance.id}", segment_account(balance.id, segment.id), value, balance.unit)


class _Occasion(msgspec.Struct, frozen=True):
    """Everything of a transaction but its entries. `about` is what its id is derived from, with the kind."""

    tenant: str
    pool: str
    kind: str
    about: tuple[str, ...]
    effective_at: datetime
    reference: str

    def move(self, source: str, target: str, value: Decimal, unit: Unit) -> Transaction:
        """Take `value` from one account to another."""
        return Transaction(
            id=str(uuid.uuid5(_TRANSACTION_IDS, "/".join((self.kind, *self.about)))),
            tenant=self.tenant,
            pool=self.pool,
            kind=self.kind,
            effective_at=self.effective_at,
            reference=self.reference,
            entries=(Entry(source, Amount(value.copy_negate(), unit)), Entry(target, Amount(value, unit))),
        )


class Proof(msgspec.Struct, frozen=True):
    """What became of a balance, in major units."""

    balance_id: str
    granted: Decimal
    added: Decimal
    drawn: Decimal
    expired: Decimal
    remaining: Decimal

    @property
    def holds(self) -> bool:
        return self.granted + self.added == self.drawn + self.expired + self.remaining


@exact
def proof(accounts: Mapping[str, Decimal], balance: Balance) -> Proof:
    """Read from the pool's accounts: granted + added by hand = drawn + expired + remaining, always."""
    return Proof(
        balance_id=balance.id,
        granted=-accounts.get(f"granted/{balance.id}", ZERO),
        added=-accounts.get(f"manual/{balance.id}", ZERO),
        drawn=accounts.get(f"revenue/{balance.id}", ZERO),
        expired=accounts.get(f"breakage/{balance.id}", ZERO),
        remaining=sum((accounts.get(segment_account(balance.id, s.id), ZERO) for s in balance.segments), ZERO),
    )
