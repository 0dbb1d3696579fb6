"""What a caller wants priced: any price, in any currency, on a quantity, groups or events that it brings along."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any, NamedTuple

import msgspec

from penstock.kernel.meter import GroupValue
from penstock.kernel.metered_event import UsedEvent
from penstock.kernel.money import CURRENCIES, Unit
from penstock.kernel.price import AnyPrice, GroupValues
from penstock.kernel.problems import BadRequest, Unprocessable
from penstock.rater.charge_question import explanation_of, is_charge
from penstock.rater.price_body import read_price
from penstock.rater.pricing.used import Used
from penstock.web.exact_json import below, convert_exact
from penstock.web.instant import as_utc

Name = Annotated[str, msgspec.Meta(min_length=1, max_length=100)]


class GroupBody(msgspec.Struct):
    values: dict[str, GroupValue]
    quantity: Decimal


class EventBody(msgspec.Struct, omit_defaults=True):
    """`rate` is a unit price that the event brings, in major units."""

    id: str
    timestamp: Annotated[datetime, msgspec.Meta(tz=True)]
    quantity: Decimal
    values: dict[str, GroupValue] = {}
    rate: Decimal | None = None


class UsedBody(msgspec.Struct, kw_only=True, omit_defaults=True):
    """Exactly one of the three is given."""

    quantity: Decimal | None = None
    groups: list[GroupBody] | None = None
    events: list[EventBody] | None = None


class UnitBody(msgspec.Struct):
    """A pricing unit of the caller's own: tokens, credits."""

    name: Name
    decimals: Annotated[int, msgspec.Meta(ge=0, le=12)]


class PriceRequest(UsedBody, kw_only=True):
    """The price is read when its model and its unit are known."""

    price: dict[str, Any]
    currency: str | UnitBody = "USD"
    before: UsedBody | None = None


class Explanation(msgspec.Struct, kw_only=True):
    """An explanation that comes back: what it says came of the price is held against what comes of it now."""

    price: dict[str, Any]
    currency: str | UnitBody
    used: UsedBody
    before: UsedBody | None = None
    parts: Any = None
    rounding: Any = None


class Question(NamedTuple):
    """What is to be priced, and the same as the caller wrote it.

    With `before`, what was used earlier in the period, it is what the price makes of both less what it makes of that.
    """

    price: AnyPrice
    used: Used
    given: UsedBody
    currency: str | UnitBody
    parts: Any = None
    rounding: Any = None
    before: Used | None = None
    given_before: UsedBody | None = None


def question_of(asked: Any) -> Question:
    """A request, an explanation, or an invoice's charge, as `decode_exact` gives it.

    Raise a `Problem` that names the field.
    """
    if is_charge(asked):
        asked = explanation_of(asked)
    if isinstance(asked, dict) and "used" in asked:
        told = convert_exact(asked, Explanation)
        price, used = read_price(told.price, _unit(told.currency)), _used(told.used, "used")
        before = _before(told.before, told.used)
        written = _written(told.currency)
        return Question(price, used, told.used, written, told.parts, told.rounding, before, told.before)
    body = convert_exact(asked, PriceRequest)
    given = UsedBody(quantity=body.quantity, groups=body.groups, events=body.events)
    price, used = read_price(body.price, _unit(body.currency)), _used(given, "")
    before, written = _before(body.before, given), _written(body.currency)
    return Question(price, used, given, written, before=before, given_before=body.before)


def _before(body: UsedBody | None, given: UsedBody) -> Used | None:
    """Raise `BadRequest` unless it tells as much as what is given beside it."""
    if body is None:
        return None
    before = _used(body, "before")
    [kind] = _kinds(given)
    if _kinds(body) != [kind]:
        raise BadRequest(f"it tells {_kinds(body)[0]}, and what is used after it {kind}", field="before")
    earlier = {event.id for event in body.events or ()}
    for event in given.events or ():
        if event.id in earlier:
            raise BadRequest(f"event {event.id} is among those that were used later", field="before.events")
    return before


def _kinds(body: UsedBody) -> list[str]:
    return [name for name in body.__struct_fields__ if getattr(body, name) is not None]


def _written(currency: str | UnitBody) -> str | UnitBody:
    return currency.upper() if isinstance(currency, str) else currency


def _unit(currency: str | UnitBody) -> Unit:
    code = currency.upper() if isinstance(currency, str) else currency.name.upper()
    if isinstance(currency, str):
        if code in CURRENCIES:
            return CURRENCIES[code]
        own = '{"name": "credits", "decimals": 0}'
        raise Unprocessable(f"no ISO 4217 currency; a unit of your own is written {own}", field="currency")
    if code in CURRENCIES:
        raise Unprocessable(f'{code} is a currency: write "currency": "{code}"', field="currency.name")
    return Unit(currency.name, currency.name, currency.decimals)


def _used(body: UsedBody, place: str) -> Used:
    """Raise `BadRequest` unless it is exactly one of the three."""
    given = _kinds(body)
    if not given:
        raise BadRequest("one of quantity, groups and events is needed", field=below(place, "quantity"))
    if len(given) > 1:
        raise BadRequest(f"only one of {', '.join(given)} may be given", field=below(place, given[1]))
    if body.groups is not None:
        return Used(by_group=_groups(body.groups, below(place, "groups")))
    if body.events is not None:
        return Used(by_event=_events(body.events, below(place, "events")))
    return Used(quantity=body.quantity)


def _groups(bodies: Sequence[GroupBody], place: str) -> dict[GroupValues, Decimal]:
    keys = _keys(body.values for body in bodies)
    groups: dict[GroupValues, Decimal] = {}
    for index, body in enumerate(bodies):
        values = _values(body.values, keys)
        if values in groups:
            raise BadRequest("a group before it has the same values", field=f"{place}[{index}].values")
        groups[values] = body.quantity
    return groups


def _events(bodies: Sequence[EventBody], place: str) -> tuple[UsedEvent, ...]:
    keys = _keys(body.values for body in bodies)
    ids: set[str] = set()
    events = []
    for index, body in enumerate(bodies):
        if body.id in ids:
            raise BadRequest("an event before it has the same id", field=f"{place}[{index}].id")
        ids.add(body.id)
        at = as_utc(body.timestamp, f"{place}[{index}].timestamp")
        events.append(UsedEvent(at, body.id, body.quantity, _values(body.values, keys), body.rate))
    return tuple(events)


def _keys(groups: Iterable[dict[str, GroupValue]]) -> tuple[str, ...]:
    """In the order in which they first come."""
    return tuple(dict.fromkeys(key for values in groups for key in values))


def _values(values: dict[str, GroupValue], keys: tuple[str, ...]) -> GroupValues:
    """What has no such property has none of its values, just as if it said null."""
    return tuple((key, values.get(key)) for key in keys)
