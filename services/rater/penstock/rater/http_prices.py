"""Prices as Metronome writes them, to and from ours: cents or dollars to major units, tier widths to tier ends.

Nowhere else in the rater is there a cent. The seed document's shorter paths write dollars.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from enum import Enum
from typing import Any

import msgspec

from penstock.kernel.money import USD
from penstock.kernel.price import AnyPrice, Graduated, PerUnit, Tier
from penstock.kernel.problems import BadRequest, OutOfRange, Unprocessable
from penstock.kernel.quantity import ZERO, bounded, exact, to_text
from penstock.rater.price_body import price_view, read_price
from penstock.rater.pricing.tiers import fault_of
from penstock.web.exact_json import decode_exact


class Scale(Enum):
    """The power of ten by which a request's price is above major units."""

    CENTS = 2
    DOLLARS = 0


class TierBody(msgspec.Struct):
    """`size` is the width of the tier; null or absent is open-ended."""

    price: Decimal
    size: Decimal | None = None


class PriceBody(msgspec.Struct, kw_only=True):
    """The part of a rate that says what it costs. `Any` is for what is refused by name wherever it is set."""

    rate_type: str
    price: Decimal | None = None
    tiers: list[TierBody] | None = None
    credit_type_id: str | None = None
    commit_rate: Any = None
    custom_rate: msgspec.Raw = msgspec.Raw(b"null")  # read where no number becomes binary


@exact
def price_of(body: PriceBody, scale: Scale, place: str = "") -> AnyPrice:
    """The price that `body` writes. Raise `BadRequest` or `Unprocessable` that names the field, below `place`."""
    if body.credit_type_id not in (None, USD.id):
        raise Unprocessable("prices are in USD (cents) only", field=f"{place}credit_type_id")
    if body.commit_rate is not None:
        raise Unprocessable("a commit_rate beside the list rate is not supported", field=f"{place}commit_rate")
    if body.rate_type.upper() == "FLAT":
        if body.price is None:
            raise BadRequest("a FLAT rate needs a price", field=f"{place}price")
        return PerUnit(USD, _major(body.price, scale, f"{place}price"))
    if body.rate_type.upper() == "TIERED":
        return Graduated(USD, _tiers(body.tiers or [], scale, f"{place}tiers"))
    if body.rate_type.upper() == "CUSTOM":
        return _custom(body.custom_rate, f"{place}custom_rate")
    raise Unprocessable(
        f"rate_type {body.rate_type.upper()} is not supported: FLAT, TIERED or CUSTOM", field=f"{place}rate_type"
    )


def _custom(raw: msgspec.Raw, place: str) -> AnyPrice:
    """Any price, as `POST /v1/price` takes it: in major units, not in cents."""
    given = decode_exact(bytes(raw))
    if not isinstance(given, dict):
        raise BadRequest("a CUSTOM rate needs a custom_rate: a model and its parameters", field=place)
    return read_price(given, USD, place)


def _tiers(bodies: Sequence[TierBody], scale: Scale, place: str) -> tuple[Tier, ...]:
    """Raise `Unprocessable` naming `place` where the list is not whole."""
    out, reached = [], ZERO
    for level, body in enumerate(bodies):
        size = None if body.size is None else _number(body.size, f"{place}[{level}].size")
        reached += size or ZERO
        out.append(Tier(None if size is None else reached, _major(body.price, scale, f"{place}[{level}].price")))
    fault = fault_of(out)
    if fault is not None:
        raise Unprocessable(fault, field=place)
    return tuple(out)


def _major(value: Decimal, scale: Scale, field: str) -> Decimal:
    if _number(value, field) < 0:
        raise BadRequest("a price is zero or more", field=field)
    return _number(value, field).scaleb(-scale.value)


def _number(value: Decimal, field: str) -> Decimal:
    """Raise `BadRequest` naming `field` for NaN and infinities, `OutOfRange` beyond 26 digits before or 12 after."""
    if not value.is_finite():
        raise BadRequest(f"{field} is not a finite number", field=field)
    try:
        return bounded(value)
    except OutOfRange as exc:
        raise OutOfRange(exc.detail, field=field) from exc


@exact
def rate_view(price: AnyPrice, group_values: dict[str, str | None] | None) -> dict[str, Any]:
    """A price as the API answers it: USD in cents, tiers by width."""
    return {
        "rate_type": _rate_type(price),
        "price": _cents(price.unit_price) if isinstance(price, PerUnit) else None,
        "tiers": _widths(price.tiers) if isinstance(price, Graduated) and _rate_type(price) == "TIERED" else None,
        "credit_type": {"id": price.unit.id, "name": price.unit.name},
        "pricing_group_values": group_values,
        "commit_rate": None,
        "custom_rate": price_view(price) if _rate_type(price) == "CUSTOM" else None,
        "is_prorated": None,
        "quantity": None,
    }


def _rate_type(price: AnyPrice) -> str:
    if isinstance(price, PerUnit):
        return "FLAT"
    return "TIERED" if isinstance(price, Graduated) and not any(tier.flat for tier in price.tiers) else "CUSTOM"


def _widths(tiers: Sequence[Tier]) -> list[dict[str, Decimal | None]]:
    begins = [ZERO, *(tier.up_to for tier in tiers[:-1] if tier.up_to is not None)]
    return [
        {"price": _cents(t.unit_price), "size": None if t.up_to is None else t.up_to - begin}
        for begin, t in zip(begins, tiers, strict=False)
    ]


def _cents(value: Decimal) -> Decimal:
    """Without an exponent or trailing zeros: 5, not 5.00 and not 5E+0."""
    return Decimal(to_text(value.scaleb(Scale.CENTS.value)))
