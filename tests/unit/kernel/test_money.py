"""An amount is a whole number of its unit's smallest steps, rounded half away from zero."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.kernel.money import USD, Amount, Unit, divided_to_step, is_bookable, round_to_step
from penstock.kernel.quantity import exact

JPY = Unit(id="jpy", name="JPY", decimals=0)
KWD = Unit(id="kwd", name="KWD", decimals=3)
CREDITS = Unit(id="credits", name="credits", decimals=12)


@pytest.mark.parametrize(
    ("unit", "exact", "rounded"),
    [
        (USD, "0.005", "0.01"),
        (USD, "-0.005", "-0.01"),
        (USD, "0.015", "0.02"),
        (USD, "0.025", "0.03"),
        (USD, "-0.025", "-0.03"),
        (USD, "0.004999999999999999999999999999999999999999", "0.00"),
        (USD, "-0.004999999999999999999999999999999999999999", "0.00"),
        (USD, "2.675", "2.68"),
        (USD, "99999999999999999999999999.995", "100000000000000000000000000.00"),
        (JPY, "0.5", "1"),
        (JPY, "-0.5", "-1"),
        (JPY, "1.5", "2"),
        (JPY, "2.5", "3"),
        (JPY, "1e3", "1000"),
        (KWD, "0.0005", "0.001"),
        (KWD, "-0.0005", "-0.001"),
        (KWD, "0.0004", "0.000"),
        (CREDITS, "0.0000000000005", "0.000000000001"),
    ],
)
def test_half_a_step_is_rounded_away_from_zero(unit: Unit, exact: str, rounded: str) -> None:
    assert format(round_to_step(Decimal(exact), unit), "f") == rounded


def test_an_amount_has_whole_steps_of_its_unit() -> None:
    assert is_bookable(Decimal("10.01"), USD)
    assert is_bookable(Decimal("1e2"), JPY)
    assert not is_bookable(Decimal("10.001"), USD)
    assert not is_bookable(Decimal("0.5"), JPY)
    with pytest.raises(AssertionError, match=r"10\.001 is no multiple of 0\.01 USD"):
        Amount(Decimal("10.001"), USD)


def test_an_amount_is_written_in_major_units() -> None:
    assert str(Amount(Decimal("12.50"), USD)) == "12.5 USD (cents)"
    assert str(Amount(Decimal("-1200"), JPY)) == "-1200 JPY"


@given(st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**12), max_value=10**12))
def test_rounding_is_bookable_symmetric_and_within_half_a_step(value: Decimal) -> None:
    rounded = round_to_step(value, USD)

    assert is_bookable(rounded, USD)
    assert round_to_step(rounded, USD) == rounded
    assert round_to_step(-value, USD) == -rounded
    assert abs(rounded - value) <= USD.step / 2
    assert not (rounded.is_signed() and rounded == 0)


@pytest.mark.parametrize(
    ("unit", "value", "by", "rounded"),
    [
        (USD, "10", 3, "3.33"),
        (USD, "20", 3, "6.67"),
        (USD, "-20", 3, "-6.67"),
        (USD, "0.01", 2, "0.01"),
        (USD, "-0.01", 2, "-0.01"),
        (USD, "-0.01", 3, "0.00"),
        (JPY, "1000", 3, "333"),
        (KWD, "0.149", 3, "0.050"),
    ],
)
def test_a_quotient_without_an_end_is_rounded_once(unit: Unit, value: str, by: int, rounded: str) -> None:
    assert format(divided_to_step(Decimal(value), by, unit), "f") == rounded


@given(
    st.decimals(min_value=-(10**20), max_value=10**20, places=6), st.integers(1, 400), st.sampled_from([JPY, USD, KWD])
)
@exact
def test_a_quotient_is_the_nearest_step_and_of_two_the_one_further_from_zero(
    value: Decimal, by: int, unit: Unit
) -> None:
    rounded = divided_to_step(value, by, unit)

    twice_off = 2 * abs(rounded * by - value)
    assert is_bookable(rounded, unit)
    assert twice_off < unit.step * by or (twice_off == unit.step * by and abs(rounded * by) > abs(value))
    assert divided_to_step(value * by, by, unit) == round_to_step(value, unit)
