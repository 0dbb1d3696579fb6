"""A product's quantity conversion and rounding as Metronome writes them."""

from __future__ import annotations

from decimal import Decimal
from enum import Enum
from typing import Any, TypeVar

import msgspec

from penstock.kernel.problems import BadRequest
from penstock.kernel.quantity import FRACTION_DIGITS_MAX, to_text
from penstock.kernel.quantity_terms import Operation, QuantityConversion, QuantityRounding, RoundingMethod
from penstock.rater.http_prices import number

E = TypeVar("E", bound=Enum)


class ConversionBody(msgspec.Struct):
    conversion_factor: Decimal
    operation: str
    name: str | None = None


class RoundingBody(msgspec.Struct):
    decimal_places: Decimal
    rounding_method: str


def conversion_of(body: ConversionBody | None) -> QuantityConversion | None:
    """Raise `BadRequest` naming the field."""
    if body is None:
        return None
    factor = number(body.conversion_factor, "quantity_conversion.conversion_factor")
    if factor <= 0:
        raise BadRequest("a conversion factor is above zero", field="quantity_conversion.conversion_factor")
    operation = _choice(Operation, body.operation, "quantity_conversion.operation")
    return QuantityConversion(factor, operation, body.name)


def rounding_of(body: RoundingBody | None) -> QuantityRounding | None:
    """Raise `BadRequest` naming the field."""
    if body is None:
        return None
    field = "quantity_rounding.decimal_places"
    places = number(body.decimal_places, field)
    if places != int(places) or not 0 <= places <= FRACTION_DIGITS_MAX:
        raise BadRequest(f"a whole number from 0 to {FRACTION_DIGITS_MAX}", field=field)
    method = _choice(RoundingMethod, body.rounding_method, "quantity_rounding.rounding_method")
    return QuantityRounding(int(places), method)


def _choice(options: type[E], text: str, field: str) -> E:
    try:
        return options(text.upper())
    except ValueError as exc:
        raise BadRequest(f"must be one of {', '.join(str(o.value) for o in options)}", field=field) from exc


def conversion_view(conversion: QuantityConversion | None) -> dict[str, Any] | None:
    if conversion is None:
        return None
    return {
        "conversion_factor": Decimal(to_text(conversion.conversion_factor)),
        "operation": conversion.operation.value,
        "name": conversion.name,
    }


def rounding_view(rounding: QuantityRounding | None) -> dict[str, Any] | None:
    if rounding is None:
        return None
    return {"decimal_places": rounding.decimal_places, "rounding_method": rounding.rounding_method.value}
