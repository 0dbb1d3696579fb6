"""How what a meter counted becomes the quantity that is priced: converted into another unit, then rounded."""

from __future__ import annotations

from decimal import Decimal
from enum import Enum

import msgspec


class Operation(Enum):
    """What a conversion does with its factor."""

    MULTIPLY = "MULTIPLY"
    DIVIDE = "DIVIDE"


class QuantityConversion(msgspec.Struct, frozen=True):
    """Data is sent in one unit and priced in another: MB divided by 1024 are GB. The factor is above zero."""

    conversion_factor: Decimal
    operation: Operation
    name: str | None = None


class RoundingMethod(Enum):
    """Away from zero, towards zero, and to the nearest with halves away from zero."""

    ROUND_UP = "ROUND_UP"
    ROUND_DOWN = "ROUND_DOWN"
    ROUND_HALF_UP = "ROUND_HALF_UP"


class QuantityRounding(msgspec.Struct, frozen=True):
    """To how many digits behind the point, 0 to 12, and how."""

    decimal_places: int
    rounding_method: RoundingMethod


class QuantityTerms(msgspec.Struct, frozen=True):
    """What is done with a period's quantity before it is priced."""

    conversion: QuantityConversion | None = None
    rounding: QuantityRounding | None = None


class Counted(msgspec.Struct, frozen=True):
    """What was counted of a charge: `quantity` after `counter` of the same period, before `terms` were applied."""

    counter: Decimal
    quantity: Decimal
    terms: QuantityTerms
