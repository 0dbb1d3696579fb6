"""Money: an amount in major units of a unit with a smallest step, rounded in exactly one place.

Cents exist only in dialects, at the edge of the API. Source: DESIGN.md section 6.
"""

from __future__ import annotations

import decimal
from decimal import Decimal

import msgspec

from penstock.kernel.quantity import EXACT, exact, to_text

_ROUNDING = decimal.Context(prec=EXACT.prec, rounding=decimal.ROUND_HALF_UP, Emin=-999, Emax=999)


class Unit(msgspec.Struct, frozen=True):
    """A currency or a custom pricing unit. `decimals` is the power of ten of its smallest step: USD 2, JPY 0, KWD 3."""

    id: str
    name: str
    decimals: int

    @property
    def step(self) -> Decimal:
        """The smallest bookable amount, in major units."""
        return Decimal(1).scaleb(-self.decimals)


# The id is the one in the code of Metronome's SDK users; that API counts USD in cents, which dialects translate.
USD = Unit(id="2714e483-4ff1-48e4-9e25-ac732e8f24f2", name="USD (cents)", decimals=2)

# ISO 4217 by the decimals of the smallest step.
_CODES = {
    0: "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF",
    2: "AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BGN BMD BND BOB BRL BSD BTN BWP BYN BZD CAD CDF CHF CNY COP "
    "CRC CUP CVE CZK DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GTQ GYD HKD HNL HTG HUF IDR ILS INR "
    "IRR JMD KES KGS KHR KPW KYD KZT LAK LBP LKR LRD LSL MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN MYR MZN "
    "NAD NGN NIO NOK NPR NZD PAB PEN PGK PHP PKR PLN QAR RON RSD RUB SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP "
    "STN SVC SYP SZL THB TJS TMT TOP TRY TTD TWD TZS UAH USD UYU UZS VES WST XCD YER ZAR ZMW",
    3: "BHD IQD JOD KWD LYD OMR TND",
}
CURRENCIES: dict[str, Unit] = {
    code: Unit(id=code, name=code, decimals=decimals) for decimals, codes in _CODES.items() for code in codes.split()
} | {"USD": USD}


class Amount(msgspec.Struct, frozen=True):
    """A bookable amount in major units of `unit`; always a multiple of the unit's step."""

    value: Decimal
    unit: Unit

    def __post_init__(self) -> None:
        assert is_bookable(self.value, self.unit), f"{self.value} is no multiple of {self.unit.step} {self.unit.name}"

    def __str__(self) -> str:
        return f"{to_text(self.value)} {self.unit.name}"


def is_bookable(value: Decimal, unit: Unit) -> bool:
    """Whether `value` is a whole number of the unit's smallest steps."""
    return value == round_to_step(value, unit)


def round_to_step(value: Decimal, unit: Unit) -> Decimal:
    """Round an exact amount to the unit's smallest step, half away from zero.

    Money is rounded nowhere but here and in `divided_to_step`.
    """
    rounded = value.quantize(unit.step, context=_ROUNDING)
    return rounded if rounded else rounded.copy_abs()  # a negative amount below half a step is 0, not -0


@exact
def divided_to_step(value: Decimal, by: int, unit: Unit) -> Decimal:
    """The quotient of an exact amount, which may have no end, rounded as `round_to_step` does, and once."""
    steps = abs(value).scaleb(unit.decimals)
    rounded = ((2 * steps + by) // (2 * by)).scaleb(-unit.decimals)
    return -rounded if value < 0 and rounded else rounded
