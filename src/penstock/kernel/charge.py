"""A charge: what the usage of one product, pricing group and price costs in one service period.

It is rounded once; every finer view (tier, slice of time) is the difference of the rounded running amount, so that
parts always sum to the whole (DESIGN.md section 7).
"""

from __future__ import annotations

from decimal import Decimal

import msgspec

from penstock.kernel.card_units import CardUnits
from penstock.kernel.metered_event import EventSource, UsedEvent
from penstock.kernel.money import Unit
from penstock.kernel.price import AnyPrice, GroupValues
from penstock.kernel.quantity import ZERO
from penstock.kernel.quantity_terms import Counted
from penstock.kernel.record import Vector
from penstock.kernel.window import Span

# Kinds of alternatives: the card's price after overrides, and what commits pay that draw at the commit rate.
LIST, COMMIT = "list", "commit"


class Part(msgspec.Struct, frozen=True, omit_defaults=True):
    """A part of an amount, and what priced it. Parts sum to the amount.

    `what` is a word such as tier, flat fee, package, cell, event, minimum. `level` counts tiers from 1, and `start` is
    where the tier begins, in units; `flat` is the fee that is in the amount beside the units. `key` names a group, a
    cell or an event.
    """

    what: str
    quantity: Decimal
    unit_price: Decimal | None
    amount: Decimal
    level: int | None = None
    start: Decimal | None = None
    flat: Decimal = ZERO
    key: tuple[str | None, ...] = ()


class Slice(msgspec.Struct, frozen=True):
    """The part of a charge that was used in `span`. Slices are disjoint, in order, and sum to the charge."""

    span: Span
    quantity: Decimal
    amount: Decimal


class UsedGroup(msgspec.Struct, frozen=True):
    """What a group used in the charge, and in the period before it: None where it was not used yet."""

    values: GroupValues
    quantity: Decimal
    before: Decimal | None


class UsedEvents(msgspec.Struct, frozen=True):
    """The events that the price has read: the first `before` of them are of the period before the charge.

    `listed` are all of them, in order, or none where they are too many to be kept; they can be read again from
    `source`, page by page.
    """

    count: int
    before: int
    listed: tuple[UsedEvent, ...]
    source: EventSource | None


class Alternative(msgspec.Struct, frozen=True):
    """One price at which the charge may be paid. `kind` is `LIST` or `COMMIT`.

    `amount` is rounded to the unit's step; `exact` is what was rounded. `counter` is where the tier counter stood, in
    units, before this charge. `origin` names card, rate and override. `groups` or `events` are what the price read,
    where it reads more than a quantity.
    """

    kind: str
    price: AnyPrice
    origin: dict[str, str]
    counter: Decimal
    exact: Decimal
    amount: Decimal
    parts: tuple[Part, ...]
    slices: tuple[Slice, ...]
    groups: tuple[UsedGroup, ...] = ()
    events: UsedEvents | None = None


class Charge(msgspec.Struct, frozen=True):
    """One priced quantity. Which of its `alternatives` applies, the draw-down says; the first is the list price.

    `metered` is what was counted, where the product's terms make another quantity of it.
    """

    contract_id: str
    product_id: str
    product_name: str
    product_tags: tuple[str, ...]
    metric_id: str
    group_values: GroupValues
    span: Span
    unit: Unit
    quantity: Decimal
    alternatives: tuple[Alternative, ...]
    metered: Counted | None = None

    @property
    def list_amount(self) -> Decimal:
        """What the charge costs without any commit, rounded, in major units of `unit`."""
        return self.alternatives[0].amount


class ChargeSet(msgspec.Struct, frozen=True):
    """The complete set of charges for (contract, period) as of `vector`. A newer one replaces it as a whole."""

    contract_id: str
    period: Span
    vector: Vector
    charges: tuple[Charge, ...]
    layers: tuple[str, ...] = ()  # the ids of the backfills that were in force for the tenant
    units: CardUnits = CardUnits()  # of the card: every charge is in one of them
