"""Overrides as a caller writes them, in cents (or, on the seed document's path, in dollars) -> kernel overrides."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal

import msgspec

from penstock.contracts.edge import (
    CENTS,
    DOLLARS,
    NULL,
    Instant,
    choice,
    exponent,
    is_given,
    join,
    number,
    price,
    read,
    refuse,
    unit_of_card,
    utc,
)
from penstock.kernel.card_units import CardUnits
from penstock.kernel.contract import MultiplierTier, Override, OverrideKind, Specifier
from penstock.kernel.price import Tier
from penstock.kernel.problems import BadRequest
from penstock.kernel.quantity import ZERO, exact

_ONE = Decimal(1)
_UNSUPPORTED = ("is_commit_specific",)
_UNSUPPORTED_IN_RATE = ("custom_rate", "is_prorated", "quantity")
_UNSUPPORTED_IN_SPECIFIER = (
    "any_commit_or_credit_ids",
    "billing_frequency",
    "commit_ids",
    "presentation_group_values",
    "recurring_commit_ids",
)


class TierBody(msgspec.Struct, frozen=True):
    """`size` is the tier's width; without one it is open-ended."""

    price: Decimal
    size: Decimal | None = None


class MultiplierTierBody(msgspec.Struct, frozen=True):
    multiplier: Decimal
    size: Decimal | None = None


class RateBody(msgspec.Struct, frozen=True):
    rate_type: str
    credit_type_id: str | None = None
    price: Decimal | None = None
    tiers: list[TierBody] | None = None


class SpecifierBody(msgspec.Struct, frozen=True):
    product_id: str | None = None
    product_tags: list[str] | None = None
    pricing_group_values: dict[str, str] | None = None


class OverrideBody(msgspec.Struct, frozen=True):
    starting_at: Instant
    ending_before: Instant | None = None
    type: str = "OVERWRITE"
    product_id: str | None = None
    applicable_product_tags: list[str] | None = None
    override_specifiers: list[msgspec.Raw] | None = None
    overwrite_rate: msgspec.Raw = NULL
    multiplier: Decimal | None = None
    tiers: list[MultiplierTierBody] | None = None
    priority: Decimal | None = None
    entitled: bool | None = None
    target: str | None = None


def read_override(raw: msgspec.Raw, at: str, id: str, units: CardUnits) -> Override:
    """`units` are the card's. Raise `BadRequest` or `Unprocessable` naming the field below `at`."""
    body = read(raw, OverrideBody, at, _UNSUPPORTED)
    kind = choice(OverrideKind, body.type, join(at, "type"))
    if (body.target or "LIST_RATE").upper() != "LIST_RATE":
        raise refuse(join(at, "target"), "must be LIST_RATE: nothing else is supported yet")
    start, end = utc(body.starting_at), None if body.ending_before is None else utc(body.ending_before)
    if end is not None and end <= start:
        raise BadRequest(f"{at}.ending_before is not after starting_at", field=join(at, "ending_before"))
    override = Override(
        id=id,
        kind=kind,
        start=start,
        end=end,
        specifiers=_specifiers(body, at),
        priority=None if body.priority is None else number(body.priority, join(at, "priority")),
        entitled=body.entitled,
    )
    return _with_price(override, body, at, units)


def _with_price(override: Override, body: OverrideBody, at: str, units: CardUnits) -> Override:
    if override.kind is OverrideKind.OVERWRITE:
        place = join(at, "overwrite_rate")
        if not is_given(body.overwrite_rate):
            if override.entitled is not None:
                return override  # it changes who may use the product, and leaves the price
            raise BadRequest(f"{place} is missing", field=place)
        return overwrite(override, read(body.overwrite_rate, RateBody, place, _UNSUPPORTED_IN_RATE), place, units)
    if override.kind is OverrideKind.MULTIPLIER:
        place = join(at, "multiplier")
        if body.multiplier is None:
            raise BadRequest(f"{place} is missing", field=place)
        return msgspec.structs.replace(override, multiplier=number(body.multiplier, place))
    return msgspec.structs.replace(override, multiplier_tiers=_multiplier_tiers(body.tiers or [], join(at, "tiers")))


def overwrite(override: Override, rate: RateBody, at: str, units: CardUnits, of_usd: int = CENTS) -> Override:
    """The override with the price of `rate`, in which USD are times ten to `of_usd`."""
    unit = unit_of_card(rate.credit_type_id, units, join(at, "credit_type_id"))
    power, override = exponent(unit, of_usd), msgspec.structs.replace(override, unit=unit)
    kind = rate.rate_type.upper()
    if kind == "FLAT":
        if rate.price is None:
            raise BadRequest(f"{at}.price is missing", field=join(at, "price"))
        return msgspec.structs.replace(override, unit_price=price(rate.price, power, join(at, "price")))
    if kind == "TIERED":
        return msgspec.structs.replace(override, tiers=_tiers(rate.tiers or [], join(at, "tiers"), power))
    raise refuse(join(at, "rate_type"), "must be FLAT or TIERED: nothing else is supported yet")


def _specifiers(body: OverrideBody, at: str) -> tuple[Specifier, ...]:
    """Those given; else one of the override's own product or tags; with neither it acts on every rate."""
    if not body.override_specifiers:
        return (Specifier(body.product_id, tuple(body.applicable_product_tags or ())),)
    if body.product_id is not None or body.applicable_product_tags:
        field = join(at, "override_specifiers")
        raise BadRequest(f"{field} cannot stand beside product_id or applicable_product_tags", field=field)
    found = []
    for i, raw in enumerate(body.override_specifiers):
        one = read(raw, SpecifierBody, f"{at}.override_specifiers[{i}]", _UNSUPPORTED_IN_SPECIFIER)
        groups = tuple((one.pricing_group_values or {}).items())
        found.append(Specifier(one.product_id, tuple(one.product_tags or ()), groups))
    return tuple(found)


def _tiers(bodies: list[TierBody], at: str, power: int) -> tuple[Tier, ...]:
    bounds = _bounds([body.size for body in bodies], at)
    if bounds[-1] is not None:
        raise BadRequest(f"the last of {at} has a size: what comes after it has no price", field=at)
    prices = [price(body.price, power, f"{at}[{i}].price") for i, body in enumerate(bodies)]
    return tuple(Tier(up_to, each) for up_to, each in zip(bounds, prices, strict=True))


def _multiplier_tiers(bodies: list[MultiplierTierBody], at: str) -> tuple[MultiplierTier, ...]:
    """After the last width the list price holds."""
    bounds = _bounds([body.size for body in bodies], at)
    factors = [number(body.multiplier, f"{at}[{i}].multiplier") for i, body in enumerate(bodies)]
    tiers = tuple(MultiplierTier(up_to, factor) for up_to, factor in zip(bounds, factors, strict=True))
    return tiers if bounds[-1] is None else (*tiers, MultiplierTier(None, _ONE))


@exact
def _bounds(sizes: list[Decimal | None], at: str) -> list[Decimal | None]:
    """Widths -> where each tier ends; only the last may be open-ended."""
    if not sizes:
        raise BadRequest(f"{at} is missing", field=at)
    bounds: list[Decimal | None] = []
    reached = ZERO
    for i, size in enumerate(sizes):
        if size is None:
            if i < len(sizes) - 1:
                raise BadRequest(
                    f"{at}[{i}].size is missing: only the last tier is open-ended", field=f"{at}[{i}].size"
                )
            bounds.append(None)
            continue
        width = number(size, f"{at}[{i}].size")
        if not width:
            raise BadRequest(f"{at}[{i}].size is zero", field=f"{at}[{i}].size")
        reached += width
        bounds.append(reached)
    return bounds


class DollarOverrideBody(msgspec.Struct, frozen=True):
    """An override on the seed document's path: the rate stands in the override itself, in dollars."""

    product_id: str
    rate_type: str
    price: Decimal | None = None
    tiers: list[TierBody] | None = None
    credit_type_id: str | None = None


def read_dollar_override(raw: msgspec.Raw, at: str, id: str, start: datetime, units: CardUnits) -> Override:
    """An overwrite of the product's rate from `start` on."""
    body = read(raw, DollarOverrideBody, at, _UNSUPPORTED_IN_RATE)
    override = Override(id, OverrideKind.OVERWRITE, start, None, (Specifier(body.product_id),))
    rate = RateBody(body.rate_type, body.credit_type_id, body.price, body.tiers)
    return overwrite(override, rate, at, units, DOLLARS)
