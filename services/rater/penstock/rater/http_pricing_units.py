"""The pricing units API in Metronome's shapes: currencies, which are there, and units of the tenant's own."""

from __future__ import annotations

import uuid
from typing import Annotated, Any

import msgspec

from penstock.kernel.money import CURRENCIES, USD, Unit
from penstock.kernel.ports.clock import Clock
from penstock.kernel.problems import Unprocessable
from penstock.kernel.quantity import FRACTION_DIGITS_MAX
from penstock.rater.definitions import PricingUnit
from penstock.rater.shelf import Shelf
from penstock.web.page import decode_cursor, page
from penstock.web.route import Request

PAGE_MAX = 1_000
_FIAT = (USD, *(unit for unit in CURRENCIES.values() if unit != USD))


class CreatePricingUnit(msgspec.Struct):
    """`decimals` is ours: to how many digits behind the point an amount is rounded. Metronome rounds none."""

    name: Annotated[str, msgspec.Meta(min_length=1, max_length=100)]
    decimals: Annotated[int, msgspec.Meta(ge=0, le=FRACTION_DIGITS_MAX)] = FRACTION_DIGITS_MAX


class ById(msgspec.Struct):
    id: str


class PricingUnitsApi:
    def __init__(self, shelf: Shelf, clock: Clock) -> None:
        self._shelf = shelf
        self._clock = clock

    def create(self, request: Request) -> dict[str, Any]:
        body = request.json(CreatePricingUnit)
        if body.name.upper() in CURRENCIES or body.name == USD.name:
            raise Unprocessable(f"{body.name} is a currency, which is there already", field="name")
        unit = Unit(str(uuid.uuid4()), body.name, body.decimals)
        made = PricingUnit(unit, self._clock.now(), request.principal.key_id)
        self._shelf.add_pricing_unit(request.tenant, made)
        return {"data": {"id": unit.id}}

    def list(self, request: Request) -> dict[str, Any]:
        """Currencies, USD first, then the tenant's own in order of creation; what is archived is not listed."""
        limit, after = request.limit(PAGE_MAX, PAGE_MAX), decode_cursor(request.query.get("next_page"))
        own = self._shelf.pricing_units(request.tenant)
        # The archived ones keep their places, so that pages stay as they are while units are archived.
        places = enumerate((*_FIAT, *(None if made.archived_at else made.unit for made in own)), start=1)
        found = [(place, unit) for place, unit in places if place > after and unit is not None][: limit + 1]
        return page([_view(unit) for _, unit in found], limit, found[:limit][-1][0] if found else None)

    def archive(self, request: Request) -> dict[str, Any]:
        """No other card may use the unit; those that do go on."""
        id = request.json(ById).id
        self._shelf.archive_pricing_unit(request.tenant, id, self._clock.now())
        return {"data": {"id": id}}


def _view(unit: Unit) -> dict[str, Any]:
    return {"id": unit.id, "name": unit.name, "is_currency": unit in _FIAT, "decimals": unit.decimals}
