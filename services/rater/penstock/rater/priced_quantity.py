"""The quantity that is priced, of what a meter counted: converted and rounded once, however it is divided.

Terms apply to the period's running total, and a quantity is the difference of two such figures; so slices and prices
that follow one another add up to what the whole period comes to. Without a rounding of its own a converted quantity has
12 digits behind the point, as every quantity has; what lies behind them is rounded half away from zero.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

from penstock.kernel.quantity import FRACTION_DIGITS_MAX, canonical, exact
from penstock.kernel.quantity_terms import Operation, QuantityRounding, QuantityTerms, RoundingMethod

ONE = Decimal(1)
NO_TERMS = QuantityTerms()
_FINEST = QuantityRounding(FRACTION_DIGITS_MAX, RoundingMethod.ROUND_HALF_UP)


@exact
def priced_quantity(total: Decimal, terms: QuantityTerms) -> Decimal:
    """What `total` comes to. The exact quotient is rounded, never one that was rounded before."""
    if terms == NO_TERMS:
        return total
    multiplier, divisor = _factors(terms)
    rounding = terms.rounding or _FINEST
    whole, rest = divmod(abs(total * multiplier).scaleb(rounding.decimal_places), divisor)
    if _is_raised(rest, divisor, rounding.rounding_method):
        whole += ONE
    value = canonical(whole.scaleb(-rounding.decimal_places))
    return -value if total < 0 and value else value


def _factors(terms: QuantityTerms) -> tuple[Decimal, Decimal]:
    if terms.conversion is None:
        return ONE, ONE
    factor = terms.conversion.conversion_factor
    return (factor, ONE) if terms.conversion.operation is Operation.MULTIPLY else (ONE, factor)


def _is_raised(rest: Decimal, divisor: Decimal, method: RoundingMethod) -> bool:
    if method is RoundingMethod.ROUND_UP:
        return rest > 0
    return method is RoundingMethod.ROUND_HALF_UP and 2 * rest >= divisor


@exact
def priced_between(counter: Decimal, quantities: Sequence[Decimal], terms: QuantityTerms) -> list[Decimal]:
    """`quantities`, which run from a reading of `counter` on, as they are priced."""
    begun = priced_quantity(counter, terms)
    return [priced_quantity(counter + quantity, terms) - begun for quantity in quantities]
