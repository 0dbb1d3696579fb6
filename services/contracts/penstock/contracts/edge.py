"""What every request of this service is read with: exact amounts, choices in any case, parts that are not supported.

Metronome counts USD in cents and every other unit in whole units; in here it is always major units.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from decimal import Decimal
from enum import Enum
from typing import Annotated, Any, TypeVar

import msgspec

from penstock.kernel.card_units import CardUnits
from penstock.kernel.money import USD, Unit, is_bookable
from penstock.kernel.problems import BadRequest, OutOfRange, Unprocessable
from penstock.kernel.quantity import bounded, exact, to_text
from penstock.web.instant import as_utc
from penstock.web.route import decode_json

T = TypeVar("T")
E = TypeVar("E", bound=Enum)

Instant = Annotated[datetime, msgspec.Meta(tz=True)]
# Powers of ten that lead from what a caller writes to major units.
CENTS, DOLLARS = -2, 0


def exponent(unit: Unit, of_usd: int = CENTS) -> int:
    """Of what a caller writes in `unit`: only USD is ever in anything but whole units."""
    return of_usd if unit.id == USD.id else 0


# What a caller writes to say nothing: a part with one of these is as good as absent.
_NOTHING = (b"null", b"[]", b"{}", b"false", b"0", b"0.0", b'""')


# What stands for a part that a caller left out, where the part is read later.
NULL = msgspec.Raw(b"null")


def is_given(raw: msgspec.Raw) -> bool:
    return bytes(raw) not in _NOTHING


def utc(instant: datetime) -> datetime:
    return as_utc(instant, "an instant")


def number(value: Decimal, field: str) -> Decimal:
    """A finite number in the range of quantities, at least zero. Raise `BadRequest` naming `field`."""
    if not value.is_finite():
        raise BadRequest(f"{field} is not a number", field=field)
    try:
        value = bounded(value)
    except OutOfRange as exc:
        raise OutOfRange(f"{field} has {exc.detail}", field=field) from exc
    if value < 0:
        raise BadRequest(f"{field} is below zero", field=field)
    return value


@exact
def price(value: Decimal, exponent: int, field: str) -> Decimal:
    """A price in major units, with any fraction that a quantity may have."""
    return number(number(value, field).scaleb(exponent), field)


@exact
def amount(value: Decimal, exponent: int, unit: Unit, field: str) -> Decimal:
    """An amount in major units that can be booked. Raise `BadRequest` for a fraction of the unit's smallest step."""
    major = number(value, field).scaleb(exponent)
    if not is_bookable(major, unit):
        raise BadRequest(f"{field} is a fraction of the smallest step of {unit.name}", field=field)
    return number(major, field)


def signed_amount(value: Decimal, exponent: int, unit: Unit, field: str) -> Decimal:
    """As `amount`, and it may be below zero."""
    if not value.is_finite() or not value.is_signed():
        return amount(value, exponent, unit, field)
    return amount(value.copy_negate(), exponent, unit, field).copy_negate()


@exact
def to_api(value: Decimal, unit: Unit) -> Decimal:
    """Major units as the API writes them: cents for USD, whole units for any other."""
    return Decimal(to_text(value.scaleb(-exponent(unit))))


def credit_type(unit: Unit) -> dict[str, str]:
    return {"id": unit.id, "name": unit.name}


def unit_of_card(credit_type_id: str | None, units: CardUnits, field: str) -> Unit:
    """One of the card's units, its currency unless named. Raise `Unprocessable`: of any other nothing would be used."""
    unit = units.find(credit_type_id)
    if unit is None:
        why = f"{field}: the rate card is in {units.fiat.name}, and has no conversion of {credit_type_id} into it"
        raise Unprocessable(why, field=field)
    return unit


def choice(options: type[E], text: str, field: str) -> E:
    """One of an enum's values, in any case."""
    try:
        return options(text.upper())
    except ValueError as exc:
        names = ", ".join(str(option.value) for option in options)
        raise BadRequest(f"{field} must be one of {names}", field=field) from exc


def refuse(field: str, why: str = "is not supported yet") -> Unprocessable:
    return Unprocessable(f"{field} {why}", field=field)


def read(raw: bytes | msgspec.Raw, shape: type[T], at: str = "", unsupported: Iterable[str] = ()) -> T:
    """`raw` as `shape`; `at` is where it stands in the body. Nothing is accepted and then ignored: a part that is
    named in `unsupported` and says anything is refused with 422."""
    body = bytes(raw)
    try:
        parts = decode_json(body, dict[str, msgspec.Raw])
        for name in unsupported:
            if is_given(parts.get(name, NULL)):
                raise refuse(join(at, name))
        return decode_json(body, shape)
    except BadRequest as exc:
        if not at:
            raise
        raise BadRequest(f"{at}: {exc.detail}", field=join(at, exc.field or "")) from exc


def join(at: str, name: str) -> str:
    """The path of a part: `commits[0].amount`."""
    return ".".join(part for part in (at, name) if part)


def page_after(rows: list[dict[str, Any]], cursor: str | None, limit: int) -> tuple[list[dict[str, Any]], str | None]:
    """The rows after the one whose id is `cursor`, at most `limit`, and the cursor of the next page."""
    start = 0
    if cursor:
        start = next((place for place, row in enumerate(rows, 1) if row["id"] == cursor), 0)
        if not start:
            raise BadRequest("next_page is not a cursor of this API", field="next_page")
    more = start + limit < len(rows)
    return rows[start : start + limit], rows[start + limit - 1]["id"] if more else None
