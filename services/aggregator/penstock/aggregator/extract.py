"""The one reader of properties: fold, fill and audit get their values here, and nothing else computes a quantity.

The JSON text of many events is decoded at once, for just the properties that are asked for; of duplicate keys the last
wins. A number keeps its exact text value. An event is bad, and will be quarantined, where a property that is read holds
invalid UTF-8 or a number beyond 26 digits before or 12 after the point (DESIGN.md sections 3 and 5).
"""

from __future__ import annotations

import contextlib
import decimal
import functools
from collections.abc import Sequence
from decimal import Decimal
from operator import attrgetter
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from penstock.kernel.meter import GroupValue
from penstock.kernel.problems import OutOfRange
from penstock.kernel.quantity import INTEGER_DIGITS_MAX, parse_quantity, to_text

_INTEGER_LIMIT = 10**INTEGER_DIGITS_MAX


class _OutOfRangeMark:
    """Stands where a number was that is out of range."""


_OUT = _OutOfRangeMark()
_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, decimal.InvalidOperation, RecursionError)


class _Column:
    """One property of every event, with what is worth knowing of it once: its types, and its int64s where all fit."""

    def __init__(self, values: list[Any]) -> None:
        self.values = values
        self.kinds = set(map(type, values))
        self.integers: npt.NDArray[np.int64] | None = None
        if self.kinds == {int}:
            # An integer that does not fit in 64 bits is for the exact path.
            with contextlib.suppress(OverflowError):
                self.integers = np.array(values, np.int64)

    def mark_out_of_range(self, bad: npt.NDArray[np.bool_]) -> None:
        if self.integers is not None or not self.kinds & {int, _OutOfRangeMark}:
            return
        for i, value in enumerate(self.values):
            if value is _OUT or (type(value) is int and abs(value) >= _INTEGER_LIMIT):
                bad[i] = True


class Properties:
    """Some properties of some events, by name: None where absent or null, else text, number, boolean or container.

    `bad` marks the events whose read properties cannot be trusted.
    """

    def __init__(self, columns: dict[str, _Column], bad: npt.NDArray[np.bool_]) -> None:
        self._columns = columns
        self._texts: dict[str, list[GroupValue]] = {}
        self.bad = bad

    def texts(self, name: str) -> list[GroupValue]:
        """The property as a group value: a string's text, a number's canonical decimal, a boolean's JSON word."""
        if name not in self._texts:
            column = self._columns[name]
            plain = column.kinds <= {str, type(None)}
            self._texts[name] = column.values if plain else [_as_text(v) for v in column.values]
        return self._texts[name]

    def numbers(self, name: str) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]:
        """The property as numbers, int64 where they all fit and else objects, and which events have one.

        A decimal string is a number; other text, a boolean or a container is none.
        """
        column = self._columns[name]
        if column.integers is not None:
            return column.integers, np.ones(len(column.integers), bool)
        numbers = [_as_number(v) for v in column.values]
        out = np.empty(len(numbers), object)
        out[:] = numbers
        return out, np.array([type(n) in (int, Decimal) for n in numbers], bool)

    def mark_bad_numbers(self, name: str) -> None:
        """Mark the events in which the property, read as a number, is a decimal string out of range."""
        column = self._columns[name]
        if str in column.kinds:
            self.bad |= np.array([type(v) is str and _parse(v) is _OUT for v in column.values], bool)


def read_properties(properties: Sequence[bytes], names: tuple[str, ...]) -> Properties:
    """Read the named properties of every event. Never raises for what an event holds: see `Properties.bad`."""
    rows, bad = _decode(properties, names)
    columns = {name: _Column(list(map(attrgetter(f"p{i}"), rows))) for i, name in enumerate(names)}
    for column in columns.values():
        column.mark_out_of_range(bad)
    return Properties(columns, bad)


def is_readable_name(name: str) -> bool:
    """Whether a metric may read a property of this name: not empty, no quote, backslash or control character."""
    return bool(name) and not any(c in '"\\' or ord(c) < 32 for c in name)


@functools.lru_cache(maxsize=512)
def _decoders(names: tuple[str, ...]) -> tuple[Any, Any, Any]:
    """A shape with one field per name; a decoder of many such, and of one."""
    shape = msgspec.defstruct(
        "Properties",
        [(f"p{i}", Any, None) for i in range(len(names))],
        rename={f"p{i}": name for i, name in enumerate(names)},
        gc=False,
    )
    many = msgspec.json.Decoder(list[shape], float_hook=_parse)  # type: ignore[valid-type]
    return shape, many, msgspec.json.Decoder(shape, float_hook=_parse)


def _decode(properties: Sequence[bytes], names: tuple[str, ...]) -> tuple[list[Any], npt.NDArray[np.bool_]]:
    shape, many, one = _decoders(names)
    bad = np.zeros(len(properties), bool)
    try:
        rows = many.decode(b"[" + b",".join(properties) + b"]")
        if len(rows) == len(properties):
            return rows, bad
    except _UNREADABLE:
        pass  # one of them is unreadable: find it
    rows = []
    for i, text in enumerate(properties):
        try:
            rows.append(one.decode(text))
        except _UNREADABLE:
            rows.append(shape())
            bad[i] = True
    return rows, bad


@functools.lru_cache(maxsize=65_536)
def _parse(text: str) -> Decimal | str | _OutOfRangeMark:
    """A number's exact value; the text itself where it is none; the mark where it is out of range."""
    try:
        return parse_quantity(text)
    except OutOfRange:
        return _OUT
    except ValueError:
        return text


def _as_number(value: Any) -> Any:
    return _parse(value) if type(value) is str else value


def _as_text(value: Any) -> GroupValue:
    if type(value) is str:
        return value
    if type(value) is bool:
        return "true" if value else "false"
    if type(value) is int or type(value) is Decimal:
        return to_text(Decimal(value))
    return None  # absent, null, a container, or out of range (then the event is bad)
