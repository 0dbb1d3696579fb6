"""Prices as Metronome writes them, to and from ours: cents or dollars to major units, tier widths to tier ends.

Nowhere else in the rater is there a cent. The seed document's shorter paths write dollars. Every other currency, and
units of a tenant's own, are in whole units everywhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from enum import Enum
from typing import Any

import msgspec

from penstock.kernel.card_units import CardUnits
from penstock.kernel.money import USD, Unit
from penstock.kernel.price import AnyPrice, Graduated, PerUnit, Tier
from penstock.kernel.problems import BadRequest, OutOfRange, Unprocessable
from penstock.kernel.quantity import ZERO, bounded, exact, to_text
from penstock.rater.price_body import price_view, read_price
from penstock.rater.pricing.tiers import fault_of
from penstock.web.exact_json import decode_exact


class Scale(Enum):
    """The power of ten by which a request's price in USD is above major units."""

    CENTS = 2
    DOLLARS = 0

    def exponent(self, unit: Unit) -> int:
        return self.value if unit.id == USD.id else 0

    def major(self, value: Decimal, unit: Unit, field: str) -> Decimal:
        """An amount of zero or more as a request writes it, in major units. Raise `BadRequest` naming `field`."""
        if number(value, field) < 0:
            raise BadRequest("a price is zero or more", field=field)
        return number(value, field).scaleb(-self.exponent(unit))

    def shown(self, value: Decimal, unit: Unit) -> Decimal:
        """As an answer writes it: without an exponent or trailing zeros: 5, not 5.00 and not 5E+0."""
        return Decimal(to_text(value.scaleb(self.exponent(unit))))


class TierBody(msgspec.Struct):
    """`size` is the width of the tier; null or absent is open-ended."""

    price: Decimal
    size: Decimal | None = None


class CommitRateBody(msgspec.Struct):
    """What commits may pay instead of the list price, in the same unit."""

    rate_type: str
    price: Decimal | None = None
    tiers: list[TierBody] | None = None
    custom_rate: msgspec.Raw = msgspec.Raw(b"null")


class PriceBody(msgspec.Struct, kw_only=True):
    """The part of a rate that says what it costs."""

    rate_type: str
    price: Decimal | None = None
    tiers: list[TierBody] | None = None
    credit_type_id: str | None = None
    commit_rate: CommitRateBody | None = None
    custom_rate: msgspec.Raw = msgspec.Raw(b"null")  # read where no number becomes binary


@exact
def price_of(body: PriceBody, units: CardUnits, scale: Scale, place: str = "") -> AnyPrice:
    """The price that `body` writes, in a unit of the card.

    Raise `BadRequest` or `Unprocessable` that names the field, below `place`.
    """
    return _price(body, _unit(body.credit_type_id, units, f"{place}credit_type_id"), scale, place)


@exact
def commit_price_of(body: PriceBody, price: AnyPrice, scale: Scale, place: str = "") -> PerUnit | Graduated | None:
    """The price for commits that `body` writes beside `price`. Raise as `price_of` does."""
    if body.commit_rate is None:
        return None
    commit_price = _price(body.commit_rate, price.unit, scale, f"{place}commit_rate.")
    # A balance that ends inside a charge pays for units, so that each must have a price of its own.
    if isinstance(commit_price, PerUnit | Graduated) and "CUSTOM" not in (_rate_type(price), _rate_type(commit_price)):
        return commit_price
    raise Unprocessable("a commit_rate and the rate beside it are FLAT or TIERED", field=f"{place}commit_rate")


def _price(body: PriceBody | CommitRateBody, unit: Unit, scale: Scale, place: str) -> AnyPrice:
    rate_type = body.rate_type.upper()
    if rate_type not in _SAYS:
        raise Unprocessable(
            f"rate_type {rate_type} is not supported: {', '.join(_SAYS)}", field=f"{place}rate_type"
        )
    _refuse_others(body, rate_type, place)
    if rate_type == "FLAT":
        if body.price is None:
            raise BadRequest("a FLAT rate needs a price", field=f"{place}price")
        return PerUnit(unit, scale.major(body.price, unit, f"{place}price"))
    if rate_type == "TIERED":
        return Graduated(unit, _tiers(body.tiers or [], unit, scale, f"{place}tiers"))
    return _custom(body.custom_rate, unit, f"{place}custom_rate")


# What says the price of each type: beside it, the others would be accepted and then ignored.
_SAYS = {"FLAT": "price", "TIERED": "tiers", "CUSTOM": "custom_rate"}


def _refuse_others(body: PriceBody | CommitRateBody, rate_type: str, place: str) -> None:
    given = {
        "price": body.price is not None,
        "tiers": bool(body.tiers),
        "custom_rate": bytes(body.custom_rate) not in (b"null", b"{}"),
    }
    for name, is_given in given.items():
        if is_given and name != _SAYS[rate_type]:
            raise BadRequest(f"a {rate_type} rate is said by {_SAYS[rate_type]} alone", field=f"{place}{name}")


def _unit(credit_type_id: str | None, units: CardUnits, field: str) -> Unit:
    unit = units.find(credit_type_id)
    if unit is None:
        why = f"the card is in {units.fiat.name}, and has no conversion of {credit_type_id} into it"
        raise Unprocessable(why, field=field)
    return unit


def _custom(raw: msgspec.Raw, unit: Unit, place: str) -> AnyPrice:
    """Any price, as `POST /v1/price` takes it: in major units, not in cents."""
    given = decode_exact(bytes(raw))
    if not isinstance(given, dict):
        raise BadRequest("a CUSTOM rate needs a custom_rate: a model and its parameters", field=place)
    return read_price(given, unit, place)


def _tiers(bodies: Sequence[TierBody], unit: Unit, scale: Scale, place: str) -> tuple[Tier, ...]:
    """Raise `Unprocessable` naming `place` where the list is not whole."""
    out, reached = [], ZERO
    for level, body in enumerate(bodies):
        size = None if body.size is None else number(body.size, f"{place}[{level}].size")
        reached += size or ZERO
        out.append(Tier(None if size is None else reached, scale.major(body.price, unit, f"{place}[{level}].price")))
    fault = fault_of(out)
    if fault is not None:
        raise Unprocessable(fault, field=place)
    return tuple(out)


def number(value: Decimal, field: str) -> Decimal:
    """Raise `BadRequest` naming `field` for NaN and infinities, `OutOfRange` beyond 26 digits before or 12 after."""
    if not value.is_finite():
        raise BadRequest(f"{field} is not a finite number", field=field)
    try:
        return bounded(value)
    except OutOfRange as exc:
        raise OutOfRange(exc.detail, field=field) from exc


@exact
def rate_view(
    price: AnyPrice, group_values: dict[str, str | None] | None, commit_price: PerUnit | Graduated | None
) -> dict[str, Any]:
    """A price as the API answers it: USD in cents, others in whole units, tiers by width."""
    return {
        "rate_type": _rate_type(price),
        "price": Scale.CENTS.shown(price.unit_price, price.unit) if isinstance(price, PerUnit) else None,
        "tiers": _tiers_view(price),
        "credit_type": {"id": price.unit.id, "name": price.unit.name},
        "pricing_group_values": group_values,
        "commit_rate": commit_rate_view(commit_price),
        "custom_rate": price_view(price) if _rate_type(price) == "CUSTOM" else None,
        "is_prorated": None,
        "quantity": None,
    }


@exact
def commit_rate_view(price: PerUnit | Graduated | None) -> dict[str, Any] | None:
    if price is None:
        return None
    unit_price = Scale.CENTS.shown(price.unit_price, price.unit) if isinstance(price, PerUnit) else None
    return {"rate_type": _rate_type(price), "price": unit_price, "tiers": _tiers_view(price)}


def _tiers_view(price: AnyPrice) -> list[dict[str, Decimal | None]] | None:
    return _widths(price) if isinstance(price, Graduated) and _rate_type(price) == "TIERED" else None


def _rate_type(price: AnyPrice) -> str:
    if isinstance(price, PerUnit):
        return "FLAT"
    return "TIERED" if isinstance(price, Graduated) and not any(tier.flat for tier in price.tiers) else "CUSTOM"


def _widths(price: Graduated) -> list[dict[str, Decimal | None]]:
    begins = [ZERO, *(tier.up_to for tier in price.tiers[:-1] if tier.up_to is not None)]
    return [
        {
            "price": Scale.CENTS.shown(t.unit_price, price.unit),
            "size": None if t.up_to is None else t.up_to - begin,
        }
        for begin, t in zip(begins, price.tiers, strict=False)
    ]
