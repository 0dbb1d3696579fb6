"""What a card's rates are when, in Metronome's shapes: those in force at an instant, and the schedule over time."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any

import msgspec

from penstock.kernel.meter import GroupValue
from penstock.kernel.price import GroupValues
from penstock.kernel.problems import BadRequest
from penstock.rater.definitions import Product, Rate
from penstock.rater.http_prices import commit_rate_view, rate_view
from penstock.rater.rate_cache import Shelved
from penstock.rater.rate_card import rate_in_force, rates_by_key
from penstock.rater.rate_schedule import Stretch, schedule
from penstock.rater.shelf import Shelf
from penstock.web.instant import as_utc
from penstock.web.page import decode_cursor, decode_place, encode_place, page
from penstock.web.route import Request

PAGE_MAX = 1_000

Instant = Annotated[datetime, msgspec.Meta(tz=True)]


class Selector(msgspec.Struct):
    """Which rates are wanted: every part that is set must match. No rate is a subscription's, billed by a frequency."""

    product_id: str | None = None
    product_tags: list[str] | None = None
    pricing_group_values: dict[str, GroupValue] | None = None
    partial_pricing_group_values: dict[str, GroupValue] | None = None
    billing_frequency: str | None = None

    def matches(self, product: Product, group_values: GroupValues) -> bool:
        if self.billing_frequency is not None or self.product_id not in (None, product.id):
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


class GetRateSchedule(msgspec.Struct):
    rate_card_id: str
    starting_at: Instant
    ending_before: Instant | None = None
    selectors: list[Selector] | None = None


class Place(msgspec.Struct, array_like=True):
    """Of a stretch among all: its rate's sequence, and its start."""

    sequence: int
    start: Instant


class RateScheduleApi:
    def __init__(self, shelf: Shelf) -> None:
        self._shelf = shelf

    def get(self, request: Request) -> dict[str, Any]:
        """The rates in force at an instant, in the order in which they were added."""
        body = request.json(GetRates)
        card = self._shelf.rate_card(request.tenant, body.rate_card_id)
        products = {id: product.at(body.at) for id, product in self._shelf.products(request.tenant).items()}
        limit = request.limit(PAGE_MAX, PAGE_MAX)
        after = decode_cursor(request.query.get("next_page"))
        found = [
            shelved
            for shelved in _in_force(self._shelf.rates(request.tenant, card.id), body.at)
            if shelved.sequence > after and _wanted(body.selectors, shelved.rate, products)
        ][: limit + 1]
        views = [_scheduled_view(shelved.rate, products[shelved.rate.product_id]) for shelved in found]
        return page(views, limit, found[:limit][-1].sequence if found else None)

    def schedule(self, request: Request) -> dict[str, Any]:
        """Which rate is in force when, for all of the time asked for: by rate in the order of adding, then by time.

        A stretch tells its whole time, of which some is in the time asked for.
        """
        body, limit = request.json(GetRateSchedule), request.limit(PAGE_MAX, PAGE_MAX)
        start = as_utc(body.starting_at, "starting_at")
        end = None if body.ending_before is None else as_utc(body.ending_before, "ending_before")
        if end is not None and end <= start:
            raise BadRequest("a schedule ends after it starts", field="ending_before")
        card = self._shelf.rate_card(request.tenant, body.rate_card_id)
        products = {id: product.at(start) for id, product in self._shelf.products(request.tenant).items()}
        shelved = self._shelf.rates(request.tenant, card.id)
        sequences = {each.rate.id: each.sequence for each in shelved}
        after = decode_place(request.query.get("next_page"), Place)
        placed = [
            ((sequences[stretch.rate.id], stretch.start), stretch)
            for stretch in schedule(each.rate for each in shelved)
            if stretch.meets(start, end) and _wanted(body.selectors, stretch.rate, products)
        ]
        placed.sort(key=lambda each: each[0])
        found = [each for each in placed if after is None or each[0] > (after.sequence, after.start)]
        views = [_stretch_view(stretch, products[stretch.rate.product_id]) for _, stretch in found[:limit]]
        return {"data": views, "next_page": encode_place(found[limit - 1][0]) if len(found) > limit else None}


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
        "rate": rate_view(rate.price, group_values, rate.commit_price),
        "commit_rate": commit_rate_view(rate.commit_price),
        "billing_frequency": None,
    }


def _stretch_view(stretch: Stretch, product: Product) -> dict[str, Any]:
    dates = {"starting_at": stretch.start, "ending_before": stretch.end}
    return _scheduled_view(stretch.rate, product) | dates
