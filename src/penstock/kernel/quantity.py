"""Exact numbers: how a quantity is read from text, and the arithmetic in which nothing is lost.

A quantity has at most 26 digits before and 12 after the point (DESIGN.md section 6). Sums live in Decimal256(76, 12),
so a sum of 10**38 of the largest quantities still fits. No float stands anywhere between the JSON text and here.
"""

from __future__ import annotations

import decimal
import functools
import re
from collections.abc import Callable
from decimal import Decimal
from typing import ParamSpec, TypeVar

from penstock.kernel.problems import OutOfRange

INTEGER_DIGITS_MAX = 26
FRACTION_DIGITS_MAX = 12
STEP = Decimal(1).scaleb(-FRACTION_DIGITS_MAX)
LIMIT = Decimal(10) ** INTEGER_DIGITS_MAX
ZERO = Decimal(0)

# Inexact is trapped: what would round silently raises instead. Money is rounded in `money.round_to_step` only.
EXACT = decimal.Context(
    prec=240,
    rounding=decimal.ROUND_HALF_UP,
    Emin=-999,
    Emax=999,
    traps=[decimal.InvalidOperation, decimal.DivisionByZero, decimal.Overflow, decimal.Inexact],
)
# The grammar of a JSON number; a decimal string in an event must follow it too (no NaN, no hex, no spaces).
NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
NUMBER_TEXT_MAX = 120

P = ParamSpec("P")
R = TypeVar("R")


def exact(verb: Callable[P, R]) -> Callable[P, R]:
    """Run `verb` in the exact context: any rounding that it did not ask for raises `decimal.Inexact`."""

    @functools.wraps(verb)
    def inside(*args: P.args, **kwargs: P.kwargs) -> R:
        with decimal.localcontext(EXACT):
            return verb(*args, **kwargs)

    return inside


def parse_quantity(text: str) -> Decimal:
    """Return the exact quantity that `text` writes, in plain or scientific notation.

    Raise `OutOfRange` for more than 26 digits before or 12 after the point, `ValueError` for what is no JSON number.
    """
    if NUMBER.fullmatch(text) is None:
        raise ValueError("not a number")
    if len(text) > NUMBER_TEXT_MAX:
        raise OutOfRange(f"a number of {len(text)} characters is out of range")
    try:
        return bounded(Decimal(text))
    except decimal.InvalidOperation as exc:  # an exponent beyond what a decimal can carry at all
        raise OutOfRange("an exponent out of range") from exc


def bounded(value: Decimal) -> Decimal:
    """Return `value` without trailing zeros in its fraction; raise `OutOfRange` beyond 26 digits before or 12 after."""
    if not value:
        return ZERO
    if value.adjusted() >= INTEGER_DIGITS_MAX:
        raise OutOfRange(f"more than {INTEGER_DIGITS_MAX} digits before the point")
    if value.adjusted() < -FRACTION_DIGITS_MAX:
        raise OutOfRange(f"more than {FRACTION_DIGITS_MAX} digits after the point")
    try:
        value = value.normalize(EXACT)
    except decimal.Inexact as exc:  # more digits than the context holds, and the last of them is no zero
        raise OutOfRange(f"more than {FRACTION_DIGITS_MAX} digits after the point") from exc
    exponent = value.as_tuple().exponent
    assert isinstance(exponent, int)
    if exponent < -FRACTION_DIGITS_MAX:
        raise OutOfRange(f"more than {FRACTION_DIGITS_MAX} digits after the point")
    return value.quantize(Decimal(1), context=EXACT) if exponent > 0 else value


def canonical(value: Decimal) -> Decimal:
    """The same value without trailing zeros or exponent: how figures are shown."""
    return Decimal(to_text(value))


def to_text(value: Decimal) -> str:
    """The canonical text of a decimal: no exponent, no trailing zeros, never `-0`."""
    if not value:
        return "0"
    text = format(value, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text
