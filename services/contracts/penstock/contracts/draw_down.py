"""The verb: which balance pays how much of which charge. What nobody pays is overage, at list price.

Pure. The order of balances is data: a tuple of sort keys. Balances are walked in that order, segment by segment (two
segments of one balance never hold the same instant); inside one, charges by time, then line order. Source: DESIGN.md
section 8.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any

import msgspec

from penstock.contracts.balance import Balance, Segment
from penstock.kernel.charge import Charge
from penstock.kernel.quantity import ZERO, exact
from penstock.kernel.window import Span

SortKey = Callable[[Balance, Segment], Any]


class Draw(msgspec.Struct, frozen=True):
    """`amount` of the charge at place `line`, used in `span`, is paid by a segment of a balance."""

    balance_id: str
    segment_id: str
    line: int
    span: Span
    amount: Decimal


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


class _Piece(msgspec.Struct):
    """A slice of a charge and what is still to be paid of it."""

    line: int
    span: Span
    unpaid: Decimal


@exact
def draw_down(
    charges: Sequence[Charge],
    balances: Iterable[Balance],
    remaining: Mapping[str, Decimal],
    order: Sequence[SortKey] = METRONOME,
) -> list[Draw]:
    """Return the draws in the order they are made. `remaining` is what is left of each segment, by its id.

    Charges are sliced at every segment boundary (a slice across one is a bug). A charge below zero draws nothing, and
    no charge is paid beyond its list amount, even where one of its slices is below zero.
    """
    pieces = [
        _Piece(line, part.span, part.amount) for line, c in enumerate(charges) for part in c.alternatives[0].slices
    ]
    pieces.sort(key=lambda piece: (piece.span.start, piece.line))
    unpaid = [charge.list_amount for charge in charges]
    draws: list[Draw] = []
    for balance, segment in _in_order(balances, order):
        left = remaining[segment.id]
        for piece in pieces:
            amount = min(left, piece.unpaid, unpaid[piece.line])
            if amount > 0 and _may_pay(balance, segment, charges[piece.line], piece.span):
                draws.append(Draw(balance.id, segment.id, piece.line, piece.span, amount))
                left -= amount
                piece.unpaid -= amount
                unpaid[piece.line] -= amount
    return draws


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
def overage(charges: Iterable[Charge], draws: Iterable[Draw]) -> Decimal:
    """What no balance paid, in major units."""
    return sum((c.list_amount for c in charges), ZERO) - sum((d.amount for d in draws), ZERO)


@exact
def after(remaining: Mapping[str, Decimal], draws: Iterable[Draw]) -> dict[str, Decimal]:
    """What is left of each segment once `draws` are taken."""
    left = dict(remaining)
    for draw in draws:
        left[draw.segment_id] -= draw.amount
    return left
