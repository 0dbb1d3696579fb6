"""Why a definition is no price: what every model asks of its parameters, and what each asks beside that."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from penstock.kernel.price import (
    AnyPrice,
    Bounded,
    BulkBps,
    Discounted,
    Dynamic,
    EachGroup,
    LargestGroup,
    Matrix,
    Package,
    Percentage,
    Price,
    PriceAround,
    ScaledGroups,
    ThresholdTotal,
    TieredPackage,
    VolumeMinimum,
)
from penstock.rater.pricing.bounded import fault_of_bounded
from penstock.rater.pricing.bulk_bps import fault_of_bulk_bps
from penstock.rater.pricing.discounted import fault_of_discounted
from penstock.rater.pricing.dynamic import fault_of_dynamic
from penstock.rater.pricing.group_keys import fault_of_keys
from penstock.rater.pricing.matrix import fault_of_matrix
from penstock.rater.pricing.package import fault_of_size
from penstock.rater.pricing.parameters import fault_of_parameters
from penstock.rater.pricing.percentage import fault_of_percentage
from penstock.rater.pricing.scaled_groups import fault_of_scaled_groups
from penstock.rater.pricing.threshold_total import fault_of_thresholds

NESTING_MAX = 8

# A model that is not here asks nothing beyond its parameters.
FAULTS: dict[type[Price], Callable[[Any], str | None]] = {
    Matrix: fault_of_matrix,
    EachGroup: lambda price: fault_of_keys(price.keys),
    LargestGroup: lambda price: fault_of_keys(price.keys),
    ScaledGroups: fault_of_scaled_groups,
    Bounded: fault_of_bounded,
    Package: fault_of_size,
    TieredPackage: fault_of_size,
    ThresholdTotal: lambda price: fault_of_thresholds(price.thresholds),
    VolumeMinimum: lambda price: fault_of_thresholds(price.minimums),
    Discounted: fault_of_discounted,
    Percentage: fault_of_percentage,
    BulkBps: fault_of_bulk_bps,
    Dynamic: fault_of_dynamic,
}


def fault_of_price(price: AnyPrice) -> str | None:
    """A sentence that says what is wrong with `price` or with one that it holds, or None where nothing is.

    A fault that begins with a parameter's name or place, such as `tiers[1].flat`, is a fault of that one.
    """
    found = fault_of_parameters(price)
    return fault_of_models(price) if found is None else f"{found.place}: {found.why}"


def fault_of_models(price: AnyPrice) -> str | None:
    """`fault_of_price` for a caller that has looked at the parameters."""
    return _fault(price, ())


def _fault(price: AnyPrice, around: tuple[PriceAround, ...]) -> str | None:
    """What is wrong with a price inside of those `around` it, the nearest last."""
    fault = _fault_of_nesting(price, around)
    if fault is None and type(price) in FAULTS:
        fault = FAULTS[type(price)](price)
    if fault is None and isinstance(price, PriceAround):
        inner = _fault(price.price, (*around, price))
        return None if inner is None else f"the price inside: {inner}"
    return fault


def _fault_of_nesting(price: AnyPrice, around: tuple[PriceAround, ...]) -> str | None:
    if len(around) >= NESTING_MAX:
        return f"prices may be nested {NESTING_MAX} deep"
    if around and price.unit != around[-1].unit:
        return f"it is in {price.unit.name}, but the one around it in {around[-1].unit.name}"
    # The digits of numbers that are multiplied add up, and the exact arithmetic holds 240.
    if isinstance(price, ScaledGroups) and any(isinstance(outer, ScaledGroups) for outer in around):
        return "units may be scaled once"
    return None
