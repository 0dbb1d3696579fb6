"""What the rater stores in its catalog: products, rate cards and rates. Prices are in major units."""

from __future__ import annotations

from datetime import datetime
from enum import Enum

import msgspec

from penstock.kernel.price import AnyPrice, GroupValues


class ProductType(Enum):
    """USAGE is billed by a metric; FIXED is what commits and one-off charges are sold as."""

    USAGE = "USAGE"
    FIXED = "FIXED"


class Product(msgspec.Struct, frozen=True):
    """What is sold. `metric_id` is set exactly for USAGE; `pricing_group_key` names the groups that have own prices."""

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


class Alias(msgspec.Struct, frozen=True):
    """Another name of a rate card, in force in [starting_at, ending_before); None is open."""

    name: str
    starting_at: datetime | None = None
    ending_before: datetime | None = None

    def in_force(self, instant: datetime) -> bool:
        if self.starting_at is not None and instant < self.starting_at:
            return False
        return self.ending_before is None or instant < self.ending_before


class RateCard(msgspec.Struct, frozen=True):
    """A price list; its rates are items of their own, since there may be ten thousand."""

    id: str
    name: str
    created_at: datetime
    created_by: str
    description: str | None = None
    aliases: tuple[Alias, ...] = ()
    custom_fields: dict[str, str] = {}


class Rate(msgspec.Struct, frozen=True):
    """The price of a product on a card in [starting_at, ending_before), for usage with exactly these group values.

    Never changed: a newer price is another rate that starts later.
    """

    id: str
    rate_card_id: str
    product_id: str
    entitled: bool
    starting_at: datetime
    ending_before: datetime | None
    group_values: GroupValues
    price: AnyPrice

    def in_force(self, instant: datetime) -> bool:
        return self.starting_at <= instant and (self.ending_before is None or instant < self.ending_before)
