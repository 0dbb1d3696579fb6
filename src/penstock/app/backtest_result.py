"""A finished backtest: every row, what they add up to by currency and month, and the few lines that a person reads."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any, NamedTuple

import msgspec

from penstock.kernel.quantity import ZERO, exact

LISTED = 5


class Period(msgspec.Struct, frozen=True):
    """A billing period of a contract; amounts in major units."""

    starting_at: datetime
    ending_before: datetime
    old: Decimal
    new: Decimal
    difference: Decimal


class Row(msgspec.Struct, frozen=True):
    """What a contract's charges in one currency came to, and would have come to."""

    customer_id: str
    customer_name: str
    contract_id: str
    rate_card_id: str
    currency: str
    old: Decimal
    new: Decimal
    difference: Decimal
    periods: tuple[Period, ...]


class Page(msgspec.Struct, frozen=True):
    """What the server answers. `contracts` is how many the tenant has, told on the first page."""

    data: tuple[Row, ...]
    next_page: str | None
    contracts: int | None
    contracts_on_page: int


class Total(msgspec.Struct, frozen=True):
    """`dearer` and `cheaper` count contracts."""

    currency: str
    contracts: int
    dearer: int
    cheaper: int
    old: Decimal
    new: Decimal
    difference: Decimal


class Result(NamedTuple):
    """What was asked, and the rows in the order of the contracts' creation."""

    asked: Mapping[str, Any]
    rows: Sequence[Row]


@exact
def totals(rows: Iterable[Row]) -> list[Total]:
    """By currency, by name."""
    by_currency: dict[str, list[Row]] = {}
    for row in rows:
        by_currency.setdefault(row.currency, []).append(row)
    return [
        Total(
            currency=currency,
            contracts=len(held),
            dearer=sum(row.difference > 0 for row in held),
            cheaper=sum(row.difference < 0 for row in held),
            old=sum((row.old for row in held), ZERO),
            new=sum((row.new for row in held), ZERO),
            difference=sum((row.difference for row in held), ZERO),
        )
        for currency, held in sorted(by_currency.items())
    ]


@exact
def months(rows: Iterable[Row]) -> dict[str, tuple[Decimal, Decimal]]:
    """Old and new by the month, such as 2026-06, in which a period begins; months in order."""
    found: dict[str, tuple[Decimal, Decimal]] = {}
    for row in rows:
        for period in row.periods:
            month = period.starting_at.strftime("%Y-%m")
            old, new = found.get(month, (ZERO, ZERO))
            found[month] = old + period.old, new + period.new
    return dict(sorted(found.items()))


def by_difference(rows: Iterable[Row]) -> list[Row]:
    """From what falls most to what rises most."""
    return sorted(rows, key=lambda row: (row.difference, row.contract_id))


def shown(result: Result) -> Iterator[str]:
    """The result for a terminal."""
    found = totals(result.rows)
    if not found:
        yield "no contract has a billing period that begins in this time"
    for total in found:
        yield f"{total.contracts:,} contracts: {total.dearer:,} dearer, {total.cheaper:,} cheaper"
        yield f"old         {total.old:>20,} {total.currency}"
        yield f"new         {total.new:>20,} {total.currency}"
        yield f"difference  {total.difference:>20,} {total.currency}{_share(total)}"
        ordered = by_difference(row for row in result.rows if row.currency == total.currency)
        yield from _listed("falls most", [row for row in ordered if row.difference < 0][:LISTED])
        yield from _listed("rises most", [row for row in reversed(ordered) if row.difference > 0][:LISTED])


def _listed(what: str, rows: Sequence[Row]) -> Iterator[str]:
    for row in rows:
        yield f"{what}  {row.difference:>20,} {row.currency}  {row.customer_name} ({row.contract_id})"


def _share(total: Total) -> str:
    """The difference in per cent of the old amount."""
    if total.old <= 0:
        return ""
    tenths = int(total.difference * 1_000 / total.old)
    return f" ({'-' if tenths < 0 else '+'}{abs(tenths) // 10}.{abs(tenths) % 10} %)"
