"""Every price model by its name: what it reads, what it is in a line, and its parameters, as its noun says them."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from decimal import Decimal
from typing import Any, get_args

import msgspec

from penstock.kernel.price import AnyPrice, Price
from penstock.kernel.quantity import to_text
from penstock.rater.pricing.models import AROUND, EVENTS, GROUPS, TOTALS

MODELS: dict[str, type[Price]] = {str(model.__struct_config__.tag): model for model in get_args(AnyPrice)}
_READS = (("quantity", TOTALS), ("groups", GROUPS), ("events", EVENTS))
_ORDER = [None, *(name for name, _ in _READS)]


def reads_of(price: Price) -> str | None:
    """The most that a price, or one that it holds, reads: quantity, groups or events."""
    held = (getattr(price, name) for name in price.__struct_fields__)
    inner = [reads_of(value) for value in held if isinstance(value, Price)]
    return max([_reads(type(price)), *inner], key=_ORDER.index)


def structs_in(kind: Any) -> Iterator[type[msgspec.Struct]]:
    """The nouns that a parameter's type names: `tuple[Tier, ...]` names Tier."""
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        yield kind
    for argument in get_args(kind):
        yield from structs_in(argument)


def models_table() -> str:
    """All models as a table in Markdown: docs/pricing.md holds it, and `penstock price --models` prints it."""
    lines = ["| model | reads | what it does | parameters |", "|---|---|---|---|"]
    for name, model in MODELS.items():
        reads = _reads(model) or "what the price inside reads"
        what = (inspect.getdoc(model) or "").partition("\n")[0]
        lines.append(f"| `{name}` | {reads} | {what} | {_parameters(model)} |")
    return "\n".join(lines) + "\n"


def _reads(model: type[Price]) -> str | None:
    if model in AROUND and "keys" in model.__struct_fields__:
        return "groups"
    return next((what for what, registry in _READS if model in registry), None)


def _parameters(noun: type[msgspec.Struct]) -> str:
    return ", ".join(_parameter(field) for field in msgspec.structs.fields(noun) if field.name != "unit")


def _parameter(field: msgspec.structs.FieldInfo) -> str:
    nouns = list(structs_in(field.type))
    text = f"`{field.encode_name}`"
    if any(issubclass(noun, Price) for noun in nouns):
        text += " (a price)"
    elif nouns:
        text += f" (each {_parameters(nouns[0])})"
    if not field.required:
        return f"{text} = {_default(field)}"
    return f"{text} or null" if type(None) in get_args(field.type) else text


def _default(field: msgspec.structs.FieldInfo) -> str:
    value = field.default if field.default is not msgspec.NODEFAULT else field.default_factory()
    return to_text(value) if isinstance(value, Decimal) else msgspec.json.encode(value).decode()
