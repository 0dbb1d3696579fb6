"""What the rater stores in its catalog: products, rate cards and rates. Prices are in major units."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from enum import Enum
from typing import Any

import msgspec

from penstock.kernel.card_units import CardUnits
from penstock.kernel.money import Unit
from penstock.kernel.price import AnyPrice, Graduated, GroupValues, PerUnit
from penstock.kernel.quantity_terms import QuantityConversion, QuantityRounding, QuantityTerms
from penstock.kernel.window import Span


class ProductType(Enum):
    """USAGE is billed by a metric; FIXED is what commits and one-off charges are sold as."""

    USAGE = "USAGE"
    FIXED = "FIXED"


class ProductUpdate(msgspec.Struct, frozen=True):
    """What of a product is another from `starting_at` on; what is UNSET stays as it was."""

    starting_at: datetime
    created_at: datetime
    created_by: str
    name: str | msgspec.UnsetType = msgspec.UNSET
    tags: tuple[str, ...] | msgspec.UnsetType = msgspec.UNSET
    quantity_conversion: QuantityConversion | msgspec.UnsetType | None = msgspec.UNSET
    quantity_rounding: QuantityRounding | msgspec.UnsetType | None = msgspec.UNSET

    @property
    def changes(self) -> dict[str, Any]:
        """The fields of a product that it sets."""
        named = ("name", "tags", "quantity_conversion", "quantity_rounding")
        return {name: value for name in named if (value := getattr(self, name)) is not msgspec.UNSET}


class Product(msgspec.Struct, frozen=True):
    """What is sold. `metric_id` is set exactly for USAGE; `pricing_group_key` names the groups that have own prices.

    The fields are the product as it was made; `at` tells what its `updates`, in the order in which they came, make of
    it.
    """

    id: str
    name: str
    type: ProductType
    created_at: datetime
    created_by: str
    metric_id: str | None = None
    pricing_group_key: tuple[str, ...] = ()
    presentation_group_key: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    custom_fields: dict[str, str] = {}
    archived_at: datetime | None = None
    quantity_conversion: QuantityConversion | None = None
    quantity_rounding: QuantityRounding | None = None
    updates: tuple[ProductUpdate, ...] = ()

    @property
    def quantity_terms(self) -> QuantityTerms:
        return QuantityTerms(self.quantity_conversion, self.quantity_rounding)

    def at(self, instant: datetime) -> Product:
        """The product as it is at `instant`: of two updates from one instant on the later one has the last word."""
        changes: dict[str, Any] = {}
        for update in sorted(self.updates, key=lambda update: update.starting_at):
            if update.starting_at <= instant:
                changes |= update.changes
        return msgspec.structs.replace(self, **changes) if changes else self

    def states(self, span: Span) -> Iterator[tuple[Span, Product]]:
        """What the product is in each stretch of `span`."""
        for piece in span.cut({update.starting_at for update in self.updates}):
            yield piece, self.at(piece.start)


class Alias(msgspec.Struct, frozen=True):
    """Another name of a rate card, in force in [starting_at, ending_before); None is open."""

    name: str
    starting_at: datetime | None = None
    ending_before: datetime | None = None

    def in_force(self, instant: datetime) -> bool:
        if self.starting_at is not None and instant < self.starting_at:
            return False
        return self.ending_before is None or instant < self.ending_before


class PricingUnit(msgspec.Struct, frozen=True):
    """A unit of the tenant's own, such as credits, in which products are priced and commits are sold."""

    unit: Unit
    created_at: datetime
    created_by: str
    archived_at: datetime | None = None


DRAFT_CARD_ID = "draft"  # of a card that is only written out in a request


class RateCard(msgspec.Struct, frozen=True):
    """A price list; its rates are items of their own, since there may be ten thousand. Its units only become more."""

    id: str
    name: str
    created_at: datetime
    created_by: str
    description: str | None = None
    aliases: tuple[Alias, ...] = ()
    custom_fields: dict[str, str] = {}
    units: CardUnits = CardUnits()


class Rate(msgspec.Struct, frozen=True):
    """The price of a product on a card in [starting_at, ending_before), for usage with exactly these group values.

    Never changed: a newer price is another rate that starts later. `commit_price` is what commits of `rate_type`
    COMMIT_RATE pay instead; it stands beside prices by the unit only.
    """

    id: str
    rate_card_id: str
    product_id: str
    entitled: bool
    starting_at: datetime
    ending_before: datetime | None
    group_values: GroupValues
    price: AnyPrice
    commit_price: PerUnit | Graduated | None = None

    def in_force(self, instant: datetime) -> bool:
        return self.starting_at <= instant and (self.ending_before is None or instant < self.ending_before)
