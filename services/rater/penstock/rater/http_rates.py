"""Rates as Metronome writes them: addRate and addRates. `http_rate_schedule.py` reads them."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any

import msgspec

from penstock.kernel.meter import GroupValue
from penstock.kernel.ports.clock import Clock
from penstock.kernel.ports.siblings import UsageReader
from penstock.kernel.price import GroupValues
from penstock.kernel.problems import BadRequest, Unprocessable
from penstock.rater.definitions import Product, ProductType, Rate, RateCard
from penstock.rater.http_price_reads import PriceReads
from penstock.rater.http_prices import PriceBody, Scale, commit_price_of, price_of, rate_view
from penstock.rater.overlap import overlap_in
from penstock.rater.shelf import Shelf
from penstock.web.instant import EARLIEST, as_utc
from penstock.web.route import Request

Instant = Annotated[datetime, msgspec.Meta(tz=True)]


class RateBody(PriceBody, kw_only=True):
    product_id: str
    entitled: bool = True
    starting_at: Instant = EARLIEST
    ending_before: Instant | None = None
    pricing_group_values: dict[str, GroupValue] | None = None


class DatedRateBody(RateBody, kw_only=True):
    """A rate as Metronome's own paths want it: nothing is left to be guessed."""

    entitled: bool
    starting_at: Instant


class AddRate(DatedRateBody, kw_only=True):
    rate_card_id: str


class AddRates(msgspec.Struct):
    rate_card_id: str
    rates: Annotated[list[DatedRateBody], msgspec.Meta(min_length=1)]


class RatesApi:
    def __init__(self, shelf: Shelf, usage: UsageReader, clock: Clock) -> None:
        self._shelf, self._usage = shelf, usage
        self._clock = clock

    def add(self, request: Request) -> dict[str, Any]:
        body = request.json(AddRate)
        card = self._shelf.rate_card(request.tenant, body.rate_card_id)
        product = self._shelf.product(request.tenant, body.product_id)
        rate = _rate(body, card, product, Scale.CENTS, "", PriceReads(self._usage, request.tenant))
        self._shelf.add_rates(request.tenant, [rate], self._clock.now())
        return {"data": rate_view(rate.price, dict(rate.group_values) or None, rate.commit_price)}

    def add_many(self, request: Request) -> dict[str, Any]:
        """All or nothing: one wrong rate, and none is there."""
        body = request.json(AddRates)
        card = self._shelf.rate_card(request.tenant, body.rate_card_id)
        reads = PriceReads(self._usage, request.tenant)
        rates = rates_of(self._shelf, request.tenant, card, body.rates, Scale.CENTS, reads)
        self._shelf.add_rates(request.tenant, rates, self._clock.now())
        return {"data": {"id": card.id}}


def rates_of(
    shelf: Shelf, tenant: str, card: RateCard, bodies: Sequence[RateBody], scale: Scale, reads: PriceReads
) -> list[Rate]:
    """The rates that a request writes. Raise naming `rates[i]` and the field where one is wrong."""
    products: dict[str, Product] = {}
    out = []
    for place, body in enumerate(bodies):
        if body.product_id not in products:
            products[body.product_id] = shelf.product(tenant, body.product_id, f"rates[{place}].product_id")
        out.append(_rate(body, card, products[body.product_id], scale, f"rates[{place}].", reads))
    overlap = overlap_in(out)
    if overlap is not None:
        first, second = (out[place].starting_at.isoformat() for place in overlap)
        why = f"it starts at {second}, while rates[{overlap.first}] of the same product and groups, from {first}, holds"
        raise Unprocessable(why, field=f"rates[{overlap.second}].starting_at")
    return out


def _rate(body: RateBody, card: RateCard, product: Product, scale: Scale, place: str, reads: PriceReads) -> Rate:
    if product.type is not ProductType.USAGE:
        raise BadRequest(f"{product.type.value} products have no rates", field=f"{place}product_id")
    if product.archived_at is not None:
        raise BadRequest(f"product {product.id} is archived", field=f"{place}product_id")
    if body.ending_before is not None and body.ending_before <= body.starting_at:
        raise BadRequest("a rate ends after it starts", field=f"{place}ending_before")
    price = price_of(body, card.units, scale, place)
    reads.check(price, product, f"{place}custom_rate")
    return Rate(
        id=str(uuid.uuid4()),
        rate_card_id=card.id,
        product_id=product.id,
        entitled=body.entitled,
        starting_at=as_utc(body.starting_at, "starting_at"),
        ending_before=None if body.ending_before is None else as_utc(body.ending_before, "ending_before"),
        group_values=_group_values(body.pricing_group_values or {}, product, f"{place}pricing_group_values"),
        price=price,
        commit_price=commit_price_of(body, price, scale, place),
    )


def _group_values(values: dict[str, GroupValue], product: Product, field: str) -> GroupValues:
    """In the product's order. A null value prices the usage that lacks the property."""
    if set(values) != set(product.pricing_group_key):
        named = ", ".join(product.pricing_group_key) or "none"
        raise BadRequest(f"the pricing group keys of product {product.id} are: {named}", field=field)
    return tuple((key, values[key]) for key in product.pricing_group_key)
