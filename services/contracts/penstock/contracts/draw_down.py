"""The verb: which balance pays how much of which charge. What nobody pays is overage, at list price.

Pure. The order of balances is data: a tuple of sort keys. Balances are walked in that order, segment by segment (two
segments of one balance never hold the same instant); inside one, charges by time, then line order. Source: DESIGN.md
section 8.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any

import msgspec

from penstock.contracts.balance import Balance, RateType, Segment
from penstock.contracts.units import Paid, Split, Units, can_be_split, slices_as_units
from penstock.kernel.charge import COMMIT, LIST, Charge
from penstock.kernel.quantity import ZERO, exact
from penstock.kernel.window import Span

SortKey = Callable[[Balance, Segment], Any]


class Draw(msgspec.Struct, frozen=True):
    """`amount` of the charge at place `line`, used in `span`, is paid by a segment of a balance.

    Where a charge is paid by the unit, `kind` names the price and `units` says which of its units are paid.
    """

    balance_id: str
    segment_id: str
    line: int
    span: Span
    amount: Decimal
    kind: str = LIST
    units: Units | None = None


def by_priority(balance: Balance, segment: Segment) -> Any:
    """The lower number first; none at all comes last."""
    return balance.priority is None, balance.priority or ZERO


def free_first(balance: Balance, segment: Segment) -> Any:
    return not balance.free


def fewest_products(balance: Balance, segment: Segment) -> Any:
    """How many products and tags it names; naming none means all, which is the most."""
    named = len(balance.product_ids) + len(balance.product_tags)
    return named == 0, named


def earliest_end(balance: Balance, segment: Segment) -> Any:
    return segment.span.end


def earliest_start(balance: Balance, segment: Segment) -> Any:
    return segment.span.start


def fewest_contracts(balance: Balance, segment: Segment) -> Any:
    """A contract's own balance before one that serves every contract of the customer."""
    return balance.contract_id is None


def oldest(balance: Balance, segment: Segment) -> Any:
    return balance.created_at


def by_id(balance: Balance, segment: Segment) -> Any:
    return balance.id, segment.id


METRONOME: tuple[SortKey, ...] = (
    by_priority,
    free_first,
    fewest_products,
    earliest_end,
    earliest_start,
    fewest_contracts,
    oldest,
    by_id,
)


class _Amount(msgspec.Struct):
    """A slice of a charge and what is still to be paid of it, no more than of the whole charge: `charge[0]`."""

    line: int
    span: Span
    unpaid: Decimal
    charge: list[Decimal]

    def pay(self, rate_type: RateType, left: Decimal) -> Paid | None:
        amount = min(left, self.unpaid, self.charge[0])
        if amount <= 0:
            return None
        self.unpaid -= amount
        self.charge[0] -= amount
        return Paid(LIST, None, amount)


class _Stretch(msgspec.Struct):
    """A slice of a charge by the unit, and which of its units are still to be paid."""

    line: int
    span: Span
    unpaid: Units
    charge: Split

    def pay(self, rate_type: RateType, left: Decimal) -> Paid | None:
        kind = COMMIT if rate_type is RateType.COMMIT_RATE else LIST
        paid = self.charge.pay(kind, self.unpaid, left)
        assert paid.units is not None, "a split charge is paid by the unit"
        self.unpaid = Units(paid.units.end, self.unpaid.end)
        return paid if paid.units.end > paid.units.start else None


@exact
def draw_down(
    charges: Sequence[Charge],
    balances: Iterable[Balance],
    remaining: Mapping[str, Decimal],
    order: Sequence[SortKey] = METRONOME,
) -> list[Draw]:
    """Return the draws in the order they are made. `remaining` is what is left of each segment, by its id.

    Charges are sliced at every segment boundary (a slice across one is a bug). A charge below zero draws nothing, and
    no charge is paid beyond its list amount, even where one of its slices is below zero. Such a one, and one that no
    balance of rate type COMMIT_RATE may pay, is paid at list price; any other by the unit (`units.py`).
    """
    listed = _in_order(balances, order)
    pieces = [piece for line, charge in enumerate(charges) for piece in _pieces(line, charge, listed)]
    pieces.sort(key=lambda piece: (piece.span.start, piece.line))
    draws: list[Draw] = []
    for balance, segment in listed:
        left = remaining[segment.id]
        for piece in pieces:
            if left <= 0:
                break
            if not _may_pay(balance, segment, charges[piece.line], piece.span):
                continue
            paid = piece.pay(balance.rate_type, left)
            if paid is not None:
                left -= paid.amount
                draws.append(Draw(balance.id, segment.id, piece.line, piece.span, paid.amount, paid.kind, paid.units))
    return draws


def _pieces(line: int, charge: Charge, listed: Sequence[tuple[Balance, Segment]]) -> Iterator[_Amount | _Stretch]:
    """The slices of a charge: by the unit only where some balance may pay at the commit rate."""
    slices = charge.alternatives[0].slices
    if can_be_split(charge) and any(b.rate_type is RateType.COMMIT_RATE and b.pays_for(charge) for b, _ in listed):
        split = Split(charge)
        for part, units in zip(slices, slices_as_units(charge), strict=True):
            yield _Stretch(line, part.span, units, split)
        return
    whole = [charge.list_amount]
    for part in slices:
        yield _Amount(line, part.span, part.amount, whole)


def _in_order(balances: Iterable[Balance], order: Sequence[SortKey]) -> list[tuple[Balance, Segment]]:
    pairs = [(balance, segment) for balance in balances for segment in balance.segments]
    return sorted(pairs, key=lambda pair: tuple(key(*pair) for key in order))


def _may_pay(balance: Balance, segment: Segment, charge: Charge, span: Span) -> bool:
    inside = span.clip(segment.span)
    if inside is None or not balance.pays_for(charge):
        return False
    assert inside == span, f"a slice from {span.start} crosses a boundary of segment {segment.id}"
    return True


@exact
def after(remaining: Mapping[str, Decimal], draws: Iterable[Draw]) -> dict[str, Decimal]:
    """What is left of each segment once `draws` are taken."""
    left = dict(remaining)
    for draw in draws:
        left[draw.segment_id] -= draw.amount
    return left
