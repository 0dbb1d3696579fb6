"""JSON from callers in which nothing is lost or passed over: numbers by their text, unknown fields by their names."""

from __future__ import annotations

import decimal
import functools
import re
from decimal import Decimal
from typing import Any, TypeVar

import msgspec

from penstock.kernel.problems import BadRequest, OutOfRange
from penstock.kernel.quantity import parse_quantity

T = TypeVar("T")

_DECODER = msgspec.json.Decoder(Any, float_hook=Decimal)
_MISSING = re.compile(r"Object missing required field `(.+)`")


def decode_exact(body: bytes) -> Any:
    """`body` as plain objects in which a number is an int or a Decimal. Raise `BadRequest` where it is no JSON."""
    try:
        return _DECODER.decode(body or b"{}")
    except msgspec.ValidationError as exc:  # an integer of thousands of digits
        raise _misfit(exc, "") from exc
    except (msgspec.DecodeError, UnicodeDecodeError) as exc:
        raise BadRequest(f"the body is not valid JSON: {exc}") from exc
    except decimal.InvalidOperation as exc:
        raise OutOfRange("a number has an exponent out of range") from exc
    except RecursionError as exc:
        raise BadRequest("the body is nested too deeply") from exc


def convert_exact(value: Any, shape: type[T], place: str = "") -> T:
    """What `decode_exact` gave as `shape`.

    Raise `BadRequest` or `OutOfRange` that names the field, below `place`, where it does not fit, is unknown, or is a
    number beyond 26 digits before or 12 after the point.
    """
    try:
        converted = msgspec.convert(value, shape)
    except msgspec.ValidationError as exc:
        raise _misfit(exc, place) from exc
    _look_through(value, converted, place)
    return converted


def below(place: str, name: str) -> str:
    return f"{place}.{name}".lstrip(".")


def _misfit(exc: msgspec.ValidationError, place: str) -> BadRequest:
    reason, _, inside = str(exc).partition(" - at `$")
    field = (place + inside.rstrip("`")).lstrip(".")
    missing = _MISSING.fullmatch(reason)
    if missing is not None:
        return BadRequest("this field is required", field=below(field, missing[1]))
    return BadRequest(reason, field=field or None)


def _look_through(raw: Any, value: Any, place: str) -> None:
    """Raise where `raw` has a field that `value` has not, or a number that is none of ours."""
    if isinstance(value, Decimal):
        _look_at_number(raw if isinstance(raw, str) else str(raw), place)
    elif isinstance(value, msgspec.Struct):
        names = _names(type(value))
        for key, item in raw.items():
            if key not in names:
                raise BadRequest("unknown field", field=below(place, key))
            name = names[key]
            if name is not None:
                _look_through(item, getattr(value, name), below(place, key))
    elif isinstance(value, dict):
        for key, item in value.items():
            _look_through(raw[key], item, below(place, key))
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            _look_through(raw[index], item, f"{place}[{index}]")


def _look_at_number(text: str, field: str) -> None:
    try:
        parse_quantity(text)
    except OutOfRange as exc:
        raise OutOfRange(exc.detail, field=field) from exc
    except ValueError as exc:
        raise BadRequest("not a decimal number", field=field) from exc


@functools.cache
def _names(shape: type[msgspec.Struct]) -> dict[str, str | None]:
    """The fields of `shape` by their names in JSON; the tag is none."""
    names: dict[str, str | None] = {field.encode_name: field.name for field in msgspec.structs.fields(shape)}
    tag_field = shape.__struct_config__.tag_field
    return names if tag_field is None else names | {tag_field: None}
