"""The rater's routes: products, rate cards, rates, units on Metronome's paths, the seed document's alias, any price."""

from __future__ import annotations

from penstock.kernel.ports.catalog import Catalog
from penstock.kernel.ports.clock import Clock
from penstock.kernel.ports.siblings import EventReader, UsageReader
from penstock.rater.http_price_events import PriceEventsApi
from penstock.rater.http_price_request import price
from penstock.rater.http_pricing_units import PricingUnitsApi
from penstock.rater.http_products import ProductsApi
from penstock.rater.http_rate_cards import RateCardsApi
from penstock.rater.http_rate_schedule import RateScheduleApi
from penstock.rater.http_rates import RatesApi
from penstock.rater.shelf import Shelf
from penstock.web.route import Handler, Route, Scope

PRODUCTS = "/v1/contract-pricing/products"
RATE_CARDS = "/v1/contract-pricing/rate-cards"
UNITS = "/v1/credit-types"


def routes(catalog: Catalog, usage: UsageReader, clock: Clock, events: EventReader) -> list[Route]:
    shelf = Shelf(catalog)
    products = ProductsApi(shelf, usage, clock)
    cards = RateCardsApi(shelf, usage, clock)
    rates = RatesApi(shelf, usage, clock)
    schedules = RateScheduleApi(shelf)
    units = PricingUnitsApi(shelf, clock)
    return [
        _post(f"{PRODUCTS}/create", Scope.WRITE, products.create),
        _post(f"{PRODUCTS}/get", Scope.READ, products.get),
        _post(f"{PRODUCTS}/list", Scope.READ, products.list),
        _post(f"{PRODUCTS}/update", Scope.WRITE, products.update),
        _post(f"{PRODUCTS}/archive", Scope.WRITE, products.archive),
        _post(f"{RATE_CARDS}/create", Scope.WRITE, cards.create),
        _post(f"{RATE_CARDS}/get", Scope.READ, cards.get),
        _post(f"{RATE_CARDS}/list", Scope.READ, cards.list),
        _post(f"{RATE_CARDS}/update", Scope.WRITE, cards.update),
        _post(f"{RATE_CARDS}/addRate", Scope.WRITE, rates.add),
        _post(f"{RATE_CARDS}/addRates", Scope.WRITE, rates.add_many),
        _post(f"{RATE_CARDS}/getRates", Scope.READ, schedules.get),
        _post(f"{RATE_CARDS}/getRateSchedule", Scope.READ, schedules.schedule),
        _post(f"{UNITS}/create", Scope.WRITE, units.create),
        Route("GET", f"{UNITS}/list", Scope.READ, units.list, owner="rater"),
        _post(f"{UNITS}/archive", Scope.WRITE, units.archive),
        _post("/v1/rate-cards/create", Scope.WRITE, cards.create_with_rates),
        _post("/v1/price", Scope.READ, price),
        _post("/v1/price/events", Scope.READ, PriceEventsApi(events).list),
    ]


def _post(path: str, scope: Scope, handler: Handler) -> Route:
    return Route("POST", path, scope, handler, owner="rater")
