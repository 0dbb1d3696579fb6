"""The rate cards API in Metronome's shapes, and the seed document's shorter path with its rates inline, in dollars."""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import Annotated, Any

import msgspec

from penstock.kernel.money import USD
from penstock.kernel.ports.clock import Clock
from penstock.kernel.ports.siblings import UsageReader
from penstock.kernel.problems import BadRequest, Unprocessable
from penstock.rater.definitions import Alias, RateCard
from penstock.rater.http_price_reads import PriceReads
from penstock.rater.http_prices import Scale
from penstock.rater.http_rates import Instant, RateBody, rates_of
from penstock.rater.shelf import Shelf
from penstock.web.instant import as_utc
from penstock.web.page import decode_cursor, page
from penstock.web.route import Request

PAGE_MAX = 100

Name = Annotated[str, msgspec.Meta(min_length=1)]


class AliasBody(msgspec.Struct):
    name: Name
    starting_at: Instant | None = None
    ending_before: Instant | None = None


class CreateRateCard(msgspec.Struct, kw_only=True):
    """`Any` is for custom pricing units: refused by name wherever they are set."""

    name: Name
    description: str | None = None
    aliases: list[AliasBody] | None = None
    fiat_credit_type_id: str | None = None
    credit_type_conversions: Any = None
    custom_fields: dict[str, str] | None = None


class CreateRateCardWithRates(CreateRateCard, kw_only=True):
    rates: list[RateBody] = []


class ById(msgspec.Struct):
    id: str


class RateCardsApi:
    def __init__(self, shelf: Shelf, usage: UsageReader, clock: Clock) -> None:
        self._shelf, self._usage = shelf, usage
        self._clock = clock

    def create(self, request: Request) -> dict[str, Any]:
        card = self._card(request, request.json(CreateRateCard))
        self._shelf.add_rate_card(request.tenant, card)
        return {"data": {"id": card.id}}

    def create_with_rates(self, request: Request) -> dict[str, Any]:
        """The seed's path. A rate without `starting_at` is in force from the beginning of time; all or nothing."""
        body = request.json(CreateRateCardWithRates)
        card = self._card(request, body)
        reads = PriceReads(self._usage, request.tenant)
        rates = rates_of(self._shelf, request.tenant, card.id, body.rates, Scale.DOLLARS, reads)
        self._shelf.add_rate_card(request.tenant, card, rates)
        return {"id": card.id, "data": {"id": card.id}}

    def get(self, request: Request) -> dict[str, Any]:
        return {"data": _view(self._shelf.rate_card(request.tenant, request.json(ById).id, "id"))}

    def list(self, request: Request) -> dict[str, Any]:
        limit = request.limit(PAGE_MAX, PAGE_MAX)
        after = decode_cursor(request.query.get("next_page"))
        found = self._shelf.rate_cards_after(request.tenant, after, limit + 1)
        return page([_view(card) for _, card in found], limit, found[:limit][-1][0] if found else None)

    def _card(self, request: Request, body: CreateRateCard) -> RateCard:
        if body.fiat_credit_type_id not in (None, USD.id):
            raise Unprocessable("rate cards are in USD (cents) only", field="fiat_credit_type_id")
        if body.credit_type_conversions:
            raise Unprocessable("custom pricing units are not supported", field="credit_type_conversions")
        return RateCard(
            id=str(uuid.uuid4()),
            name=body.name,
            created_at=self._clock.now(),
            created_by=request.principal.key_id,
            description=body.description,
            aliases=tuple(_alias(alias, f"aliases[{i}]") for i, alias in enumerate(body.aliases or ())),
            custom_fields=body.custom_fields or {},
        )


def _alias(body: AliasBody, place: str) -> Alias:
    if body.starting_at is not None and body.ending_before is not None and body.ending_before <= body.starting_at:
        raise BadRequest("an alias ends after it starts", field=f"{place}.ending_before")
    return Alias(body.name, _utc(body.starting_at), _utc(body.ending_before))


def _utc(instant: datetime | None) -> datetime | None:
    return None if instant is None else as_utc(instant, "an instant")


def _view(card: RateCard) -> dict[str, Any]:
    return {
        "id": card.id,
        "name": card.name,
        "description": card.description,
        "created_at": card.created_at,
        "created_by": card.created_by,
        "aliases": [
            {"name": a.name, "starting_at": a.starting_at, "ending_before": a.ending_before} for a in card.aliases
        ],
        "credit_type_conversions": None,
        "custom_fields": card.custom_fields,
        "fiat_credit_type": {"id": USD.id, "name": USD.name},
    }
