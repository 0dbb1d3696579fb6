"""Numbers are read exactly, written canonically, and never rounded in silence."""

from __future__ import annotations

import decimal
import re
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.kernel.problems import OutOfRange
from penstock.kernel.quantity import bounded, exact, parse_quantity, to_text

NINES = "9" * 26
TINY = "0." + "0" * 11 + "1"
WIDEST = f"{NINES}.{'9' * 12}"


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("0", "0"),
        ("-0", "0"),
        ("0.000", "0"),
        ("0e400", "0"),
        ("1500", "1500"),
        ("-12.50", "-12.5"),
        ("1.0", "1"),
        ("1e3", "1000"),
        ("1E+3", "1000"),
        ("12.5e-1", "1.25"),
        ("100", "100"),
        (NINES, NINES),
        (f"-{NINES}", f"-{NINES}"),
        (TINY, TINY),
        ("1e-12", TINY),
        ("1e25", "1" + "0" * 25),
        (WIDEST, WIDEST),
        ("1." + "0" * 60, "1"),
    ],
)
def test_a_number_is_read_exactly_and_written_canonically(text: str, canonical: str) -> None:
    assert to_text(parse_quantity(text)) == canonical


@pytest.mark.parametrize(
    "text",
    [
        "1" + "0" * 26,
        f"-{NINES}9",
        f"{NINES}9.5",
        "0." + "0" * 12 + "1",
        f"{NINES}.{'9' * 13}",
        "1e26",
        "1e400",
        "1e-13",
        "-1e-400",
        "1e99999999999999999999",
        "7" * 60,
        "7" * 121,
        "0." + "3" * 60,
    ],
)
def test_one_digit_too_many_is_out_of_range_by_name(text: str) -> None:
    with pytest.raises(OutOfRange, match=r"digits (before|after) the point|out of range"):
        parse_quantity(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "NaN",
        "nan",
        "sNaN",
        "Infinity",
        "-Infinity",
        "inf",
        "01",
        "-01",
        "+1",
        "1.",
        ".5",
        "1e",
        "e5",
        "0x10",
        "1e1.5",
        "1_000",
        "1,5",
        "--1",
        "true",
        "null",
        "١٢",
        " ",
        " 1",
        "1 ",
        "1\n",
    ],
)
def test_what_is_no_json_number_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not a number"):
        parse_quantity(text)


def test_a_decimal_with_more_digits_than_any_context_is_out_of_range_and_no_crash() -> None:
    with pytest.raises(OutOfRange, match="after the point"):
        bounded(Decimal("0." + "3" * 300))


def test_the_sum_of_a_tenth_and_two_tenths_is_three_tenths() -> None:
    assert parse_quantity("0.1") + parse_quantity("0.2") == Decimal("0.3")


def test_the_exact_context_adds_what_the_default_one_would_round() -> None:
    widest = parse_quantity(WIDEST)

    assert exact(lambda: to_text(widest + widest))() == f"1{'9' * 26}.{'9' * 11}8"
    assert to_text(widest + widest) == "2" + "0" * 26


def test_the_exact_context_raises_where_something_would_be_lost() -> None:
    third = exact(lambda: Decimal(1) / Decimal(3))

    with pytest.raises(decimal.Inexact):
        third()
    assert exact(lambda: Decimal(1) / Decimal(8))() == Decimal("0.125")


def test_the_exact_context_ends_with_the_verb() -> None:
    @exact
    def verb(*, divisor: int) -> Decimal:
        return Decimal(1) / divisor

    with pytest.raises(decimal.Inexact):
        verb(divisor=3)

    assert decimal.getcontext().prec == 28
    assert not decimal.getcontext().traps[decimal.Inexact]


@given(st.integers(-(10**38) + 1, 10**38 - 1))
def test_every_quantity_in_range_survives_text_and_back(steps: int) -> None:
    value = exact(lambda: Decimal(steps).scaleb(-12))()

    text = to_text(value)

    assert parse_quantity(text) == value
    assert to_text(parse_quantity(text)) == text
    assert re.fullmatch(r"0|-?(0|[1-9][0-9]*)(\.[0-9]*[1-9])?", text)
    assert text != "-0"


@given(st.text(max_size=40) | st.from_regex(r"\A-?[0-9.eE+-]{1,40}\Z"))
def test_any_text_is_a_bounded_number_or_refused(text: str) -> None:
    try:
        value = parse_quantity(text)
    except (OutOfRange, ValueError):
        return
    assert value.is_finite()
    assert abs(value) < Decimal(10) ** 26
    exponent = value.as_tuple().exponent
    assert isinstance(exponent, int)
    assert -12 <= exponent <= 0
