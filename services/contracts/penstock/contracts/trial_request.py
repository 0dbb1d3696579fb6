"""What is to be tried, as a caller writes it: a card, rates and overrides that nobody agreed to, over some time."""

from __future__ import annotations

from datetime import datetime

import msgspec

from penstock.contracts.agreement import Contract
from penstock.contracts.edge import NULL, Instant, is_given, read, utc
from penstock.contracts.override_request import read_override
from penstock.kernel.backtest import Draft
from penstock.kernel.card_units import CardUnits
from penstock.kernel.problems import BadRequest
from penstock.kernel.window import Span

OVERRIDES_MAX = 1_000


class DraftBody(msgspec.Struct, frozen=True, kw_only=True):
    """`rates` are those of addRates: a whole card, or beside `rate_card_id` added to that one."""

    starting_on: Instant
    ending_before: Instant
    rate_card_id: str | None = None
    rates: msgspec.Raw = NULL
    add_overrides: list[msgspec.Raw] = []
    ignore_overrides: bool = False


class PreviewBody(DraftBody, frozen=True, kw_only=True, forbid_unknown_fields=True):
    customer_id: str
    contract_id: str


class BacktestBody(DraftBody, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`only_rate_card_id` leaves out contracts on any other card."""

    only_rate_card_id: str | None = None


def read_preview(body: bytes) -> PreviewBody:
    return read(body, PreviewBody)


def read_backtest(body: bytes) -> BacktestBody:
    return read(body, BacktestBody)


def draft_of(body: DraftBody, units: CardUnits) -> Draft:
    """`units` are those of the card. Raise `BadRequest` or `Unprocessable` naming the field.

    The rates are read by who owns them.
    """
    if len(body.add_overrides) > OVERRIDES_MAX:
        raise BadRequest(f"more than {OVERRIDES_MAX} overrides", field="add_overrides")
    overrides = tuple(
        read_override(raw, f"add_overrides[{i}]", f"draft-{i}", units) for i, raw in enumerate(body.add_overrides)
    )
    draft = Draft(
        rate_card_id=body.rate_card_id,
        rates=b'{"rates":' + bytes(body.rates) + b"}" if is_given(body.rates) else None,
        overrides=overrides,
        keeps_overrides=not body.ignore_overrides,
    )
    if draft == Draft():  # before its units, which try nothing
        raise BadRequest("nothing is tried: name a rate_card_id, rates or add_overrides", field="rate_card_id")
    return msgspec.structs.replace(draft, units=units)


def span_of(body: DraftBody) -> Span:
    """Raise `BadRequest` for a time that runs backwards."""
    start, end = utc(body.starting_on), utc(body.ending_before)
    if start >= end:
        raise BadRequest("ending_before must be after starting_on", field="ending_before")
    return Span(start, end)


def periods_in(contract: Contract, span: Span, now: datetime) -> tuple[Span, ...]:
    """The contract's billing periods that begin in `span` and have begun by now: whole ones, so that tiers are."""
    begun = contract.periods_until(min(span.end, now))
    return tuple(period for period in begun if period.start in span)
