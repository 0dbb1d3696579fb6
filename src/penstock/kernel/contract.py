"""The terms of a contract, as far as pricing needs them: which card, when, and what was agreed apart from it."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from enum import Enum

import msgspec

from penstock.kernel.money import USD, Unit
from penstock.kernel.price import GroupValues, Tier


class OverrideKind(Enum):
    """At an instant exactly one override acts on a rate: an overwrite, else the multiplier or tiers by priority."""

    OVERWRITE = "OVERWRITE"
    MULTIPLIER = "MULTIPLIER"
    TIERED = "TIERED"


class Prioritization(Enum):
    """Which of several multipliers acts: the lowest factor, or the lowest priority number first."""

    LOWEST_MULTIPLIER = "LOWEST_MULTIPLIER"
    EXPLICIT = "EXPLICIT"


class MultiplierTier(msgspec.Struct, frozen=True):
    """The units of the period up to `up_to` (None = open-ended) cost `multiplier` times the list price."""

    up_to: Decimal | None
    multiplier: Decimal


class Specifier(msgspec.Struct, frozen=True):
    """Which rates an override acts on. Every part that is set must match; one with nothing set matches all."""

    product_id: str | None = None
    product_tags: tuple[str, ...] = ()
    group_values: GroupValues = ()


class Override(msgspec.Struct, frozen=True):
    """A rate agreed apart from the card, in force in [start, end) (end None = open).

    `specifiers`: it acts where any of them matches. OVERWRITE carries `unit_price` or `tiers` in major units of `unit`,
    one of the card's; MULTIPLIER `multiplier`; TIERED `multiplier_tiers`, whose counter runs over the billing period.
    `entitled` None leaves the card's entitlement.
    """

    id: str
    kind: OverrideKind
    start: datetime
    end: datetime | None
    specifiers: tuple[Specifier, ...]
    multiplier: Decimal | None = None
    unit_price: Decimal | None = None
    tiers: tuple[Tier, ...] = ()
    multiplier_tiers: tuple[MultiplierTier, ...] = ()
    priority: Decimal | None = None
    entitled: bool | None = None
    unit: Unit = USD


class ContractTerms(msgspec.Struct, frozen=True):
    """A contract as the rater sees it. `customer_keys` are the customer's id and aliases, resolved when reading."""

    tenant: str
    contract_id: str
    customer_id: str
    customer_keys: tuple[str, ...]
    rate_card_id: str
    start: datetime
    end: datetime | None
    overrides: tuple[Override, ...] = ()
    prioritization: Prioritization = Prioritization.LOWEST_MULTIPLIER
