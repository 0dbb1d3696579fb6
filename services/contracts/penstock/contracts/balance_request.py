"""Commits and credits as a caller writes them, USD in cents -> balances."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from datetime import datetime
from decimal import Decimal

import msgspec

from penstock.contracts.balance import Balance, BalanceKind, RateType, Segment
from penstock.contracts.edge import (
    NULL,
    Instant,
    amount,
    choice,
    exponent,
    is_given,
    join,
    number,
    read,
    refuse,
    unit_of_card,
    utc,
)
from penstock.kernel.card_units import CardUnits
from penstock.kernel.money import Unit
from penstock.kernel.problems import BadRequest
from penstock.kernel.window import Span

_UNSUPPORTED = (
    "rollover_fraction",
    "specifiers",
    "hierarchy_configuration",
    "spend_tracker_attributes",
    "custom_fields",
    "temporary_id",
    "netsuite_sales_order_id",
)


class AccessItem(msgspec.Struct, frozen=True):
    amount: Decimal
    starting_at: Instant
    ending_before: Instant


class AccessSchedule(msgspec.Struct, frozen=True):
    schedule_items: list[AccessItem]
    credit_type_id: str | None = None
    access_type: str | None = None


class InvoiceSchedule(msgspec.Struct, frozen=True):
    do_not_invoice: bool | None = None
    schedule_items: list[msgspec.Raw] | None = None
    recurring_schedule: msgspec.Raw = NULL


class BalanceBody(msgspec.Struct, frozen=True):
    """A commit, or a credit (which has no `type`). `amount` is the short form of the seed document."""

    product_id: str
    type: str = "CREDIT"
    access_schedule: AccessSchedule | None = None
    invoice_schedule: InvoiceSchedule | None = None
    amount: Decimal | None = None
    priority: Decimal | None = None
    name: str | None = None
    description: str | None = None
    rate_type: str | None = None
    applicable_product_ids: list[str] | None = None
    applicable_product_tags: list[str] | None = None


class Term(msgspec.Struct, frozen=True):
    """What the contract gives its balances."""

    contract_id: str
    span: Span
    units: CardUnits
    new_id: Callable[[], str]


def read_balance(raw: msgspec.Raw, at: str, kind: BalanceKind, created_at: datetime, term: Term) -> Balance:
    """Raise `BadRequest` or `Unprocessable` naming the field below `at`."""
    body = read(raw, BalanceBody, at, _UNSUPPORTED)
    if kind is BalanceKind.PREPAID and body.type.upper() != "PREPAID":
        raise refuse(join(at, "type"), "must be PREPAID: nothing else is supported yet")
    _check_invoice_schedule(body.invoice_schedule, join(at, "invoice_schedule"))
    unit = _unit(body, at, term)
    return Balance(
        id=term.new_id(),
        kind=kind,
        product_id=body.product_id,
        segments=_segments(body, at, unit, term),
        created_at=created_at,
        free=kind is BalanceKind.CREDIT or body.invoice_schedule is None,  # a commit that is not invoiced was a gift
        contract_id=term.contract_id,
        priority=None if body.priority is None else number(body.priority, join(at, "priority")),
        name=body.name,
        description=body.description,
        product_ids=tuple(dict.fromkeys(body.applicable_product_ids or ())),
        product_tags=tuple(dict.fromkeys(body.applicable_product_tags or ())),
        unit=unit,
        rate_type=choice(RateType, body.rate_type or "LIST_RATE", join(at, "rate_type")),
    )


def _check_invoice_schedule(schedule: InvoiceSchedule | None, at: str) -> None:
    if schedule is None:
        return
    if not schedule.do_not_invoice or schedule.schedule_items or is_given(schedule.recurring_schedule):
        raise refuse(at, "is not supported yet, apart from do_not_invoice: commits are not invoiced")


def _unit(body: BalanceBody, at: str, term: Term) -> Unit:
    named = None if body.access_schedule is None else body.access_schedule.credit_type_id
    return unit_of_card(named, term.units, join(at, "access_schedule.credit_type_id"))


def _segments(body: BalanceBody, at: str, unit: Unit, term: Term) -> tuple[Segment, ...]:
    place = join(at, "access_schedule")
    if body.access_schedule is None:
        if body.amount is None:
            raise BadRequest(f"{place} is missing", field=place)
        granted = amount(body.amount, exponent(unit), unit, join(at, "amount"))
        return (Segment(term.new_id(), term.span, granted),)
    if (body.access_schedule.access_type or "SPEND").upper() != "SPEND":
        raise refuse(join(place, "access_type"), "must be SPEND: nothing else is supported yet")
    items = body.access_schedule.schedule_items
    if not items:
        raise BadRequest(f"{place}.schedule_items is empty", field=join(place, "schedule_items"))
    segments = [_segment(item, f"{place}.schedule_items[{i}]", unit, term) for i, item in enumerate(items)]
    segments.sort(key=lambda segment: segment.span)
    for before, segment in itertools.pairwise(segments):
        if segment.span.start < before.span.end:
            field = join(place, "schedule_items")
            raise BadRequest(f"{field} overlap at {segment.span.start.isoformat()}", field=field)
    return tuple(segments)


def _segment(item: AccessItem, at: str, unit: Unit, term: Term) -> Segment:
    span = Span(utc(item.starting_at), utc(item.ending_before))
    if span.end <= span.start:
        raise BadRequest(f"{at}.ending_before is not after starting_at", field=join(at, "ending_before"))
    return Segment(term.new_id(), span, amount(item.amount, exponent(unit), unit, join(at, "amount")))
