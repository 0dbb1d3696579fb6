"""The rate cards API in Metronome's shapes, and the seed document's shorter path with its rates inline, in dollars."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any

import msgspec

from penstock.kernel.card_units import CardUnits, UnitConversion
from penstock.kernel.money import CURRENCIES, USD, Unit
from penstock.kernel.ports.clock import Clock
from penstock.kernel.ports.siblings import UsageReader
from penstock.kernel.problems import BadRequest, Unprocessable
from penstock.kernel.quantity import to_text
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


class ConversionBody(msgspec.Struct):
    """What one of a custom unit is worth in the card's currency: USD in cents, as every price is written there."""

    custom_credit_type_id: str
    fiat_per_custom_credit: Decimal


class CreateRateCard(msgspec.Struct, kw_only=True):
    name: Name
    description: str | None = None
    aliases: list[AliasBody] | None = None
    fiat_credit_type_id: str | None = None
    credit_type_conversions: list[ConversionBody] | None = None
    custom_fields: dict[str, str] | None = None


class CreateRateCardWithRates(CreateRateCard, kw_only=True):
    rates: list[RateBody] = []


class UpdateRateCard(msgspec.Struct, kw_only=True):
    """What is absent stays as it was; `aliases` are all that the card is to have."""

    rate_card_id: str
    name: Name | None = None
    description: str | None = None
    aliases: list[AliasBody] | None = None
    add_credit_type_conversions: list[ConversionBody] | None = None


class ById(msgspec.Struct):
    id: str


class RateCardsApi:
    def __init__(self, shelf: Shelf, usage: UsageReader, clock: Clock) -> None:
        self._shelf, self._usage = shelf, usage
        self._clock = clock

    def create(self, request: Request) -> dict[str, Any]:
        card = self._card(request, request.json(CreateRateCard), Scale.CENTS)
        self._shelf.add_rate_card(request.tenant, card)
        return {"data": {"id": card.id}}

    def create_with_rates(self, request: Request) -> dict[str, Any]:
        """The seed's path. A rate without `starting_at` is in force from the beginning of time; all or nothing."""
        body = request.json(CreateRateCardWithRates)
        card = self._card(request, body, Scale.DOLLARS)
        reads = PriceReads(self._usage, request.tenant)
        rates = rates_of(self._shelf, request.tenant, card, body.rates, Scale.DOLLARS, reads)
        self._shelf.add_rate_card(request.tenant, card, rates)
        return {"id": card.id, "data": {"id": card.id}}

    def get(self, request: Request) -> dict[str, Any]:
        return {"data": _view(self._shelf.rate_card(request.tenant, request.json(ById).id, "id"))}

    def list(self, request: Request) -> dict[str, Any]:
        limit = request.limit(PAGE_MAX, PAGE_MAX)
        after = decode_cursor(request.query.get("next_page"))
        found = self._shelf.rate_cards_after(request.tenant, after, limit + 1)
        return page([_view(card) for _, card in found], limit, found[:limit][-1][0] if found else None)

    def update(self, request: Request) -> dict[str, Any]:
        """Another name or description, other aliases, further conversions; those that are there stay as they are."""
        body = request.json(UpdateRateCard)

        def changed(card: RateCard) -> RateCard:
            added, field = body.add_credit_type_conversions or [], "add_credit_type_conversions"
            further = self._conversions(request.tenant, added, card.units, Scale.CENTS, field)
            return msgspec.structs.replace(
                card,
                name=card.name if body.name is None else body.name,
                description=card.description if body.description is None else body.description,
                aliases=card.aliases if body.aliases is None else _aliases(body.aliases),
                units=CardUnits(card.units.fiat, (*card.units.conversions, *further)),
            )

        self._shelf.change_rate_card(request.tenant, body.rate_card_id, changed, self._clock.now())
        return {"data": {"id": body.rate_card_id}}

    def _card(self, request: Request, body: CreateRateCard, scale: Scale) -> RateCard:
        fiat = _fiat(body.fiat_credit_type_id)
        given = body.credit_type_conversions or []
        conversions = self._conversions(request.tenant, given, CardUnits(fiat), scale, "credit_type_conversions")
        return RateCard(
            id=str(uuid.uuid4()),
            name=body.name,
            created_at=self._clock.now(),
            created_by=request.principal.key_id,
            description=body.description,
            aliases=_aliases(body.aliases or ()),
            custom_fields=body.custom_fields or {},
            units=CardUnits(fiat, conversions),
        )

    def _conversions(
        self, tenant: str, bodies: Sequence[ConversionBody], units: CardUnits, scale: Scale, field: str
    ) -> tuple[UnitConversion, ...]:
        """Conversions for a card that has `units`. Raise naming `field[i]` where one is wrong."""
        out: list[UnitConversion] = []
        for place, body in enumerate(bodies):
            at = f"{field}[{place}]"
            id_field = f"{at}.custom_credit_type_id"
            made = self._shelf.pricing_unit(tenant, body.custom_credit_type_id, id_field)
            if made.archived_at is not None:
                raise BadRequest(f"pricing unit {made.unit.name} is archived", field=id_field)
            if CardUnits(units.fiat, (*units.conversions, *out)).find(made.unit.id) is not None:
                raise BadRequest(f"the card has a conversion of {made.unit.name} already", field=id_field)
            worth = scale.major(body.fiat_per_custom_credit, units.fiat, f"{at}.fiat_per_custom_credit")
            out.append(UnitConversion(made.unit, worth))
        return tuple(out)


def _fiat(credit_type_id: str | None) -> Unit:
    if credit_type_id is None:
        return USD
    unit = next((unit for unit in CURRENCIES.values() if unit.id == credit_type_id), None)
    if unit is None:
        raise Unprocessable("it is no currency that GET /v1/credit-types/list names", field="fiat_credit_type_id")
    return unit


def _aliases(bodies: Sequence[AliasBody]) -> tuple[Alias, ...]:
    return tuple(_alias(alias, f"aliases[{place}]") for place, alias in enumerate(bodies))


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
        "credit_type_conversions": [
            {
                "custom_credit_type": {"id": c.unit.id, "name": c.unit.name},
                "fiat_per_custom_credit": to_text(Scale.CENTS.shown(c.fiat_per_unit, card.units.fiat)),
            }
            for c in card.units.conversions
        ],
        "custom_fields": card.custom_fields,
        "fiat_credit_type": {"id": card.units.fiat.id, "name": card.units.fiat.name},
    }
