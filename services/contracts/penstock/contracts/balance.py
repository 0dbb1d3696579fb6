"""A balance: what a customer may draw on, bought (a prepaid commit) or given (a credit); one noun for both."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from enum import Enum

import msgspec

from penstock.kernel.charge import Charge
from penstock.kernel.money import USD, Unit
from penstock.kernel.window import Span


class BalanceKind(Enum):
    """How the balance came to be."""

    PREPAID = "PREPAID"
    CREDIT = "CREDIT"


class RateType(Enum):
    """Which price of a charge is paid: the list price, or the one for commits where the charge has one."""

    LIST_RATE = "LIST_RATE"
    COMMIT_RATE = "COMMIT_RATE"


class Segment(msgspec.Struct, frozen=True):
    """One item of an access schedule: `amount`, in major units, may be drawn by usage inside `span` and never else."""

    id: str
    span: Span
    amount: Decimal


class Balance(msgspec.Struct, frozen=True):
    """A commit or a credit. Without product ids and tags it pays for every product; `priority` None comes last.

    `free` is what cost nothing. `contract_id` is the contract it belongs to; None is a balance of the customer.
    `segments` do not overlap and are in order of time. `product_id` is the product under which it was sold.
    """

    id: str
    kind: BalanceKind
    product_id: str
    segments: tuple[Segment, ...]
    created_at: datetime
    free: bool
    contract_id: str | None
    priority: Decimal | None = None
    name: str | None = None
    description: str | None = None
    product_ids: tuple[str, ...] = ()
    product_tags: tuple[str, ...] = ()
    product_name: str = ""
    unit: Unit = USD
    rate_type: RateType = RateType.LIST_RATE

    @property
    def label(self) -> str:
        """What an invoice line calls it."""
        return self.name or ("Prepaid commit" if self.kind is BalanceKind.PREPAID else "Credit")

    def pays_for(self, charge: Charge) -> bool:
        """Whether it applies to the charge's product and is counted in the charge's unit."""
        if charge.unit != self.unit:
            return False
        if not self.product_ids and not self.product_tags:
            return True
        return charge.product_id in self.product_ids or not set(self.product_tags).isdisjoint(charge.product_tags)

    @property
    def boundaries(self) -> set[datetime]:
        """Every instant at which a segment begins or ends: charges are sliced there."""
        return {edge for segment in self.segments for edge in (segment.span.start, segment.span.end)}
