"""A price as callers write it and are shown it: its model's name and parameters in major units, without the unit."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Any, get_args, get_origin

import msgspec

from penstock.kernel.money import Unit
from penstock.kernel.price import AnyPrice, Price
from penstock.kernel.problems import BadRequest, Unprocessable
from penstock.kernel.quantity import to_text
from penstock.rater.pricing.catalogue import MODELS, structs_in
from penstock.rater.pricing.faults import fault_of_models
from penstock.rater.pricing.parameters import fault_of_parameters
from penstock.web.exact_json import below, convert_exact


def read_price(raw: dict[str, Any], unit: Unit, place: str = "price") -> AnyPrice:
    """What `decode_exact` gave as a price in `unit`. Raise a `Problem` that names the field, below `place`."""
    try:
        return _read(raw, unit, place)
    except RecursionError as exc:
        raise BadRequest("the price is nested too deeply", field=place) from exc


def _read(raw: dict[str, Any], unit: Unit, place: str) -> AnyPrice:
    filled = _with_unit(raw, AnyPrice, msgspec.to_builtins(unit), place)
    price: AnyPrice = convert_exact(filled, AnyPrice, place)  # type: ignore[arg-type]  # a union is no type
    placed = fault_of_parameters(price)
    if placed is not None:
        raise Unprocessable(placed.why, field=below(place, placed.place))
    fault = fault_of_models(price)
    if fault is not None:
        parameter = fault.partition(" ")[0].rstrip(":")
        is_named = re.split(r"[.\[]", parameter)[0] in price.__struct_fields__
        raise Unprocessable(fault, field=below(place, parameter) if is_named else place)
    return price


def price_view(price: Price) -> dict[str, Any]:
    """What `read_price` takes."""
    view: dict[str, Any] = _without_unit(plain(price), plain(price.unit))
    return view


def _with_unit(raw: Any, kind: Any, unit: dict[str, Any], place: str) -> Any:
    """`raw`, which is to become a `kind`, with the unit in every price of it: a model may hold another price."""
    nouns = list(structs_in(kind))
    if isinstance(raw, list):
        return [_with_unit(item, kind, unit, f"{place}[{index}]") for index, item in enumerate(raw)]
    if not isinstance(raw, dict) or not nouns:
        return raw
    if get_origin(kind) is dict:
        return {key: _with_unit(item, get_args(kind)[1], unit, below(place, key)) for key, item in raw.items()}
    is_price = issubclass(nouns[0], Price)
    noun = _model(raw, place) if is_price else nouns[0]
    kinds = {field.encode_name: field.type for field in msgspec.structs.fields(noun)}
    filled = {key: _with_unit(item, kinds.get(key), unit, below(place, key)) for key, item in raw.items()}
    return filled | {"model": noun.__struct_config__.tag, "unit": unit} if is_price else filled


def _model(raw: dict[str, Any], place: str) -> type[Price]:
    if "unit" in raw:
        raise BadRequest("the unit of a price is the request's currency", field=below(place, "unit"))
    if "model" not in raw:
        raise BadRequest("this field is required", field=below(place, "model"))
    name = raw["model"]
    if not isinstance(name, str) or name.upper() not in MODELS:
        raise Unprocessable(f"no such model; there are {', '.join(sorted(MODELS))}", field=below(place, "model"))
    return MODELS[name.upper()]


def plain(value: object) -> Any:
    """A noun as plain objects, every number of it as text without an exponent."""
    return _texts(msgspec.to_builtins(value, builtin_types=(Decimal,)))


def _texts(value: Any) -> Any:
    if isinstance(value, Decimal):
        return to_text(value)
    if isinstance(value, dict):
        return {key: _texts(item) for key, item in value.items()}
    return [_texts(item) for item in value] if isinstance(value, list | tuple) else value


def _without_unit(price: Any, unit: dict[str, Any]) -> Any:
    """The unit of a price, and of those that it holds, is the currency beside it."""
    if isinstance(price, dict):
        kept = {key: item for key, item in price.items() if not (key == "unit" and item == unit)}
        return {key: _without_unit(item, unit) for key, item in kept.items()}
    return [_without_unit(item, unit) for item in price] if isinstance(price, list) else price
