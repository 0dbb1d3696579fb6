"""What is tried on usage that has happened, and what comes of it beside what the real terms make."""

from __future__ import annotations

from decimal import Decimal

import msgspec

from penstock.kernel.card_units import CardUnits
from penstock.kernel.charge import ChargeSet
from penstock.kernel.contract import ContractTerms, Override
from penstock.kernel.money import Unit
from penstock.kernel.window import Span


class Draft(msgspec.Struct, frozen=True):
    """Terms that nobody has agreed to: a card, overrides, or both, in place of a contract's own.

    Without `rate_card_id` and `rates` the contract's card stays. `rates` is `{"rates": [...]}` as addRates takes them:
    added to the card that is named, or a whole card where none is. `overrides` act beside the contract's own, unless
    those are left out.
    """

    rate_card_id: str | None = None
    rates: bytes | None = None
    overrides: tuple[Override, ...] = ()
    keeps_overrides: bool = True
    units: CardUnits = CardUnits()  # of a card that is written out in `rates`


class Tried(msgspec.Struct, frozen=True):
    """A contract, and the billing periods in which the draft is tried on it: in order, within its dates, at least one.
    """

    terms: ContractTerms
    periods: tuple[Span, ...]


class Compared(msgspec.Struct, frozen=True):
    """What a contract's charges come to in each period, in major units of `unit`: by its terms, and by the draft.

    Charges are those of the list price after overrides, each rounded, before any commit is drawn.
    """

    contract_id: str
    unit: Unit
    old: tuple[Decimal, ...]
    new: tuple[Decimal, ...]


class Preview(msgspec.Struct, frozen=True):
    """The charges of one period by the contract's terms and by the draft, of the same usage."""

    old: ChargeSet
    new: ChargeSet
