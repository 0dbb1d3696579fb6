"""The rates API in Metronome's shapes: addRate, addRates, getRates."""

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
from penstock.kernel.problems import BadRequest
from penstock.rater.definitions import Product, ProductType, Rate
from penstock.rater.http_price_reads import PriceReads
from penstock.rater.http_prices import PriceBody, Scale, price_of, rate_view
from penstock.rater.rate_card import rate_in_force, rates_by_key
from penstock.rater.shelf import Shelf, Shelved
from penstock.web.instant import EARLIEST, as_utc
from penstock.web.page import decode_cursor, page
from penstock.web.route import Request

PAGE_MAX = 1_000

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


class Selector(msgspec.Struct):
    """Which rates are wanted: every part that is set must match."""

    product_id: str | None = None
    product_tags: list[str] | None = None
    pricing_group_values: dict[str, GroupValue] | None = None
    partial_pricing_group_values: dict[str, GroupValue] | None = None

    def matches(self, product: Product, group_values: GroupValues) -> bool:
        if self.product_id is not None and self.product_id != product.id:
            return False
        if self.product_tags is not None and not set(self.product_tags) & set(product.tags):
            return False
        if self.pricing_group_values is not None and self.pricing_group_values != dict(group_values):
            return False
        return (self.partial_pricing_group_values or {}).items() <= dict(group_values).items()


class GetRates(msgspec.Struct):
    rate_card_id: str
    at: Instant
    selectors: list[Selector] | None = None


class RatesApi:
    def __init__(self, shelf: Shelf, usage: UsageReader, clock: Clock) -> None:
        self._shelf, self._usage = shelf, usage
        self._clock = clock

    def add(self, request: Request) -> dict[str, Any]:
        body = request.json(AddRate)
        card = self._shelf.rate_card(request.tenant, body.rate_card_id)
        product = self._shelf.product(request.tenant, body.product_id)
        rate = _rate(body, card.id, product, Scale.CENTS, "", PriceReads(self._usage, request.tenant))
        self._shelf.add_rates(request.tenant, [rate], self._clock.now())
        return {"data": rate_view(rate.price, dict(rate.group_values) or None)}

    def add_many(self, request: Request) -> dict[str, Any]:
        """All or nothing: one wrong rate, and none is there."""
        body = request.json(AddRates)
        card = self._shelf.rate_card(request.tenant, body.rate_card_id)
        reads = PriceReads(self._usage, request.tenant)
        rates = rates_of(self._shelf, request.tenant, card.id, body.rates, Scale.CENTS, reads)
        self._shelf.add_rates(request.tenant, rates, self._clock.now())
        return {"data": {"id": card.id}}

    def get(self, request: Request) -> dict[str, Any]:
        """The rates in force at an instant, in the order in which they were added."""
        body = request.json(GetRates)
        card = self._shelf.rate_card(request.tenant, body.rate_card_id)
        products = self._shelf.products(request.tenant)
        limit = request.limit(PAGE_MAX, PAGE_MAX)
        after = decode_cursor(request.query.get("next_page"))
        found = [
            shelved
            for shelved in _in_force(self._shelf.rates(request.tenant, card.id), body.at)
            if shelved.sequence > after and _wanted(body.selectors, shelved.rate, products)
        ][: limit + 1]
        views = [_scheduled_view(shelved.rate, products[shelved.rate.product_id]) for shelved in found]
        return page(views, limit, found[:limit][-1].sequence if found else None)


def rates_of(
    shelf: Shelf, tenant: str, rate_card_id: str, bodies: Sequence[RateBody], scale: Scale, reads: PriceReads
) -> list[Rate]:
    """The rates that a request writes. Raise naming `rates[i]` and the field where one is wrong."""
    products: dict[str, Product] = {}
    out = []
    for place, body in enumerate(bodies):
        if body.product_id not in products:
            products[body.product_id] = shelf.product(tenant, body.product_id, f"rates[{place}].product_id")
        out.append(_rate(body, rate_card_id, products[body.product_id], scale, f"rates[{place}].", reads))
    return out


def _rate(
    body: RateBody, rate_card_id: str, product: Product, scale: Scale, place: str, reads: PriceReads
) -> Rate:
    if product.type is not ProductType.USAGE:
        raise BadRequest(f"{product.type.value} products have no rates", field=f"{place}product_id")
    if product.archived_at is not None:
        raise BadRequest(f"product {product.id} is archived", field=f"{place}product_id")
    if body.ending_before is not None and body.ending_before <= body.starting_at:
        raise BadRequest("a rate ends after it starts", field=f"{place}ending_before")
    price = price_of(body, scale, place)
    reads.check(price, product, f"{place}custom_rate")
    return Rate(
        id=str(uuid.uuid4()),
        rate_card_id=rate_card_id,
        product_id=product.id,
        entitled=body.entitled,
        starting_at=as_utc(body.starting_at, "starting_at"),
        ending_before=None if body.ending_before is None else as_utc(body.ending_before, "ending_before"),
        group_values=_group_values(body.pricing_group_values or {}, product, f"{place}pricing_group_values"),
        price=price,
    )


def _group_values(values: dict[str, GroupValue], product: Product, field: str) -> GroupValues:
    """In the product's order. A null value prices the usage that lacks the property."""
    if set(values) != set(product.pricing_group_key):
        named = ", ".join(product.pricing_group_key) or "none"
        raise BadRequest(f"the pricing group keys of product {product.id} are: {named}", field=field)
    return tuple((key, values[key]) for key in product.pricing_group_key)


def _in_force(rates: Sequence[Shelved], at: datetime) -> list[Shelved]:
    """Of each product and combination of group values the rate in force at `at`."""
    shelved_of = {shelved.rate.id: shelved for shelved in rates}
    winners = [rate_in_force(of_key, at) for of_key in rates_by_key(shelved.rate for shelved in rates).values()]
    return sorted((shelved_of[rate.id] for rate in winners if rate is not None), key=lambda shelved: shelved.sequence)


def _wanted(selectors: Sequence[Selector] | None, rate: Rate, products: dict[str, Product]) -> bool:
    """Whether any selector matches; no selectors want everything."""
    product = products[rate.product_id]
    return not selectors or any(selector.matches(product, rate.group_values) for selector in selectors)


def _scheduled_view(rate: Rate, product: Product) -> dict[str, Any]:
    group_values = dict(rate.group_values) or None
    return {
        "product_id": product.id,
        "product_name": product.name,
        "product_tags": list(product.tags),
        "product_custom_fields": product.custom_fields,
        "entitled": rate.entitled,
        "starting_at": rate.starting_at,
        "ending_before": rate.ending_before,
        "pricing_group_values": group_values,
        "rate": rate_view(rate.price, group_values),
        "commit_rate": None,
        "billing_frequency": None,
    }
