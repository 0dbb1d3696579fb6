"""What a product costs when: a price, and the stretch of time in which it is in force for a contract.

Prices are in major units of their unit. A rate card with overrides resolves to price intervals, and rating knows
nothing else (DESIGN.md section 7).
"""

from __future__ import annotations

from decimal import Decimal
from enum import Enum

import msgspec

from penstock.kernel.meter import GroupValue
from penstock.kernel.money import Unit
from penstock.kernel.quantity import ZERO
from penstock.kernel.quantity_terms import QuantityTerms
from penstock.kernel.window import Span

# Name and value of each pricing group key, in the product's order.
GroupValues = tuple[tuple[str, GroupValue], ...]


class Tier(msgspec.Struct, frozen=True, omit_defaults=True):
    """The units from the tier before up to `up_to` (None = open-ended) cost `unit_price` each.

    `flat` is added once the tier is entered; the first is entered from the start. Half-open: exact for fractional
    quantities.
    """

    up_to: Decimal | None
    unit_price: Decimal
    flat: Decimal = ZERO


class Price(msgspec.Struct, frozen=True, tag_field="model"):
    """What a quantity costs: a model, which is the subclass, with its parameters, in major units of `unit`.

    How each is computed stands in the file of its name in `penstock.rater.pricing`.
    """

    unit: Unit


class PerUnit(Price, frozen=True, tag="PER_UNIT"):
    """Every unit costs the same."""

    unit_price: Decimal


class Graduated(Price, frozen=True, tag="GRADUATED"):
    """Each unit costs what the tier in which it lies says."""

    tiers: tuple[Tier, ...]


class Volume(Price, frozen=True, tag="VOLUME"):
    """All units cost what the tier in which the total lies says."""

    tiers: tuple[Tier, ...]


class Package(Price, frozen=True, tag="PACKAGE"):
    """Each begun package of `size` units beyond the first `free` ones costs `package_price`."""

    size: Decimal
    package_price: Decimal
    free: Decimal = ZERO


class TieredPackage(Price, frozen=True, tag="TIERED_PACKAGE"):
    """Each begun package of `size` units costs what the tier in which it begins says; `unit_price` is a package's."""

    size: Decimal
    tiers: tuple[Tier, ...]


class Threshold(msgspec.Struct, frozen=True):
    """From a total of `reached` units on, `amount` is due."""

    reached: Decimal
    amount: Decimal


class ThresholdTotal(Price, frozen=True, tag="THRESHOLD_TOTAL"):
    """The amount of the highest threshold that the total has reached, whatever lies below it."""

    thresholds: tuple[Threshold, ...]


class MatrixCell(msgspec.Struct, frozen=True):
    """A combination of group values, one for each key in order, and its unit price. None: there is no such property."""

    values: tuple[GroupValue, ...]
    unit_price: Decimal


class Matrix(Price, frozen=True, tag="MATRIX"):
    """Each unit costs what the cell of its group values says, or `default` where no cell has them.

    The first `allocation` units are free: in the order of the cells, then those of no cell by their values' text.
    """

    keys: tuple[str, ...]
    cells: tuple[MatrixCell, ...]
    default: Decimal
    allocation: Decimal = ZERO


class PriceAround(Price, frozen=True):
    """A model that asks the price it holds."""

    price: AnyPrice


class EachGroup(PriceAround, frozen=True, tag="EACH_GROUP"):
    """Usage of each combination of values of `keys` is priced on its own, and added up. No groups cost nothing."""

    keys: tuple[str, ...]


class LargestGroup(PriceAround, frozen=True, tag="LARGEST_GROUP"):
    """Only the combination of values of `keys` with the most units is priced. No groups cost nothing."""

    keys: tuple[str, ...]


class Factor(msgspec.Struct, frozen=True):
    """What the units of a combination of group values count, one value for each key in order."""

    values: tuple[GroupValue, ...]
    factor: Decimal


class ScaledGroups(PriceAround, frozen=True, tag="SCALED_GROUPS"):
    """Units are multiplied by the factor of their group values, or by `default` where none has them, then priced."""

    keys: tuple[str, ...]
    factors: tuple[Factor, ...]
    default: Decimal = Decimal(1)


class Bounded(PriceAround, frozen=True, tag="BOUNDED"):
    """The amount is raised to `minimum`, then lowered to `maximum`, in major units. None is no bound."""

    minimum: Decimal | None = None
    maximum: Decimal | None = None


class VolumeMinimum(PriceAround, frozen=True, tag="VOLUME_MINIMUM"):
    """At least the highest of `minimums` that the total is above; one from zero on always holds."""

    minimums: tuple[Threshold, ...]


class Discounted(PriceAround, frozen=True, tag="DISCOUNTED"):
    """`units` of the total are free; of what the others cost, `amount` off, then `percent` off; not below zero."""

    units: Decimal = ZERO
    amount: Decimal = ZERO
    percent: Decimal = ZERO


class Percentage(Price, frozen=True, tag="PERCENTAGE"):
    """Each event costs `percent` of its quantity, which is an amount, and `fixed` for itself.

    The first `free_events` events are free, or the first `free_amount` of quantity; with both, what both make free.
    What an event that is not free costs lies between `minimum` and `maximum`.
    """

    percent: Decimal
    fixed: Decimal = ZERO
    free_events: Decimal | None = None
    free_amount: Decimal | None = None
    minimum: Decimal | None = None
    maximum: Decimal | None = None


class Bps(Price, frozen=True, tag="BPS"):
    """Each event costs `bps` ten-thousandths of its quantity, which is an amount, but no more than `cap`."""

    bps: Decimal
    cap: Decimal | None = None


class BpsTier(msgspec.Struct, frozen=True, omit_defaults=True):
    """Where the period's total is at most `up_to` (None = open-ended), each event costs `bps`, but at most `cap`."""

    up_to: Decimal | None
    bps: Decimal
    cap: Decimal | None = None


class BulkBps(Price, frozen=True, tag="BULK_BPS"):
    """The tier in which the period's total lies prices every event."""

    tiers: tuple[BpsTier, ...]


class Brings(Enum):
    """What an event says about its own price: what one of its units costs, or what it costs as a whole."""

    RATE = "RATE"
    AMOUNT = "AMOUNT"


class Dynamic(Price, frozen=True, tag="DYNAMIC"):
    """Each event brings what it costs. `default_rate` is for those that bring nothing; without it they are refused.

    `property` is the property of a stored event that says it, as a number in major units.
    """

    brings: Brings = Brings.RATE
    default_rate: Decimal | None = None
    property: str = "rate"


AnyPrice = (
    PerUnit
    | Graduated
    | Volume
    | Package
    | TieredPackage
    | ThresholdTotal
    | Matrix
    | EachGroup
    | LargestGroup
    | ScaledGroups
    | Bounded
    | VolumeMinimum
    | Discounted
    | Percentage
    | Bps
    | BulkBps
    | Dynamic
)


class PriceInterval(msgspec.Struct, frozen=True):
    """The price of a product for a contract in [start, end), for usage whose pricing groups have `group_values`.

    `metric_id` is the quantity's source; `group_keys` the product's pricing group keys. `origin` says where the price
    comes from (card, rate, override) and is shown in explanations. `price_keys` are the group keys by which the
    product's prices of the period read usage, and `reads_events` says that one of them reads the events themselves.
    `commit_price` is what commits may pay instead; both are then `PerUnit` or `Graduated` without flat fees, in one
    unit. `quantity_terms` act where the price reads a quantity.
    """

    contract_id: str
    product_id: str
    product_name: str
    metric_id: str
    group_keys: tuple[str, ...]
    group_values: GroupValues
    span: Span
    price: AnyPrice
    origin: dict[str, str]
    product_tags: tuple[str, ...] = ()
    quantity_terms: QuantityTerms = QuantityTerms()
    commit_price: PerUnit | Graduated | None = None
    price_keys: tuple[str, ...] = ()
    reads_events: bool = False
