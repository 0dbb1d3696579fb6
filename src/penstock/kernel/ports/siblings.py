"""What the services answer to one another, by a call in one process or by gRPC between two. Synchronous."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

import msgspec

from penstock.kernel.backtest import Compared, Draft, Preview, Tried
from penstock.kernel.card_units import CardUnits
from penstock.kernel.charge import ChargeSet
from penstock.kernel.contract import ContractTerms
from penstock.kernel.layer import Layer
from penstock.kernel.meter import Metric
from penstock.kernel.metered_event import EventPage, EventPlace, EventSource
from penstock.kernel.usage import Usage, UsageQuery
from penstock.kernel.window import Span

EVENTS_PAGE_MAX = 20_000  # some 3 MB on the wire


class UsageReader(Protocol):
    """What the aggregator answers to its siblings. Every answer is one consistent cut and says as of what."""

    def metric(self, tenant: str, metric_id: str) -> Metric | None:
        """The definition, archived or not, or None."""
        ...

    def usage(self, *queries: UsageQuery) -> tuple[Usage, ...]:
        """Exact usage as of the newest markers, one answer per query, all of one cut: their vectors are the same.

        Raise `NotFound` for a metric or group key that is not there.
        """
        ...

    def settled(self, through: datetime) -> bool:
        """Whether every event that can still be dated before `through` has been folded."""
        ...


class EventReader(Protocol):
    """What the aggregator answers of single events to whoever prices them."""

    def events(self, tenant: str, source: EventSource, after: EventPlace | None, limit: int) -> EventPage:
        """The first events of `source` behind a place (from the beginning where None), at most `limit` of them.

        `limit` may be lowered to `EVENTS_PAGE_MAX`. Short spans are read faster: what is behind a page of a span is
        read for each of the span's pages. Raise `NotFound` for a metric, group key or layer that is not there, and
        `BadRequest` for a metric whose events have no quantity of their own.
        """
        ...


class NotAccepted(msgspec.Struct, frozen=True):
    """What a gateway answered lately for events of one id that it did not accept, and the newest reason."""

    duplicates: int
    conflicts: int
    rejected: int
    reason: str
    at: datetime


class GatewayMemory(Protocol):
    """What a gateway remembers of the events that never reached the log. Bounded, and gone with its process."""

    def not_accepted(self, tenant: str, transaction_id: str) -> NotAccepted | None:
        """None where the gateway knows nothing: it need not have been asked, it may have forgotten."""
        ...


class OpenLayers(Protocol):
    """What the aggregator, which owns backfills, answers to a gateway that takes their events."""

    def open_layer(self, tenant: str, backfill_id: str) -> Layer:
        """The layer of a backfill that is open, with every partition knowing it.

        Raise `NotFound`, `Conflict` for one that takes no events any more, `LogUnavailable` while it is being opened.
        """
        ...


class Rating(Protocol):
    """What the rater answers to the contracts service."""

    def charges(self, terms: ContractTerms, period: Span, cuts: frozenset[datetime]) -> ChargeSet:
        """The complete set of charges of `period`, sliced at every instant in `cuts`. Reads usage once: one vector."""
        ...

    def rate_card_id(self, tenant: str, id: str | None, alias: str | None) -> str:
        """The id of the card named by id or alias. Raise `NotFound` where there is none."""
        ...

    def units_of(self, tenant: str, rate_card_id: str) -> CardUnits:
        """The units in which the card prices. Raise `NotFound` where there is no such card."""
        ...

    def metrics_of(self, tenant: str, rate_card_id: str) -> frozenset[str]:
        """The metrics whose usage the card's rates price."""
        ...

    def product_names(self, tenant: str, product_ids: Sequence[str]) -> dict[str, str]:
        """The name of each product. Raise `NotFound` naming the first that does not exist."""
        ...


class Backtesting(Protocol):
    """What the rater answers to the contracts service about terms that nobody has agreed to. Nothing is kept.

    Raise `NotFound` for a card or product that is not there, `BadRequest` or `Unprocessable` naming the field of the
    draft, `Unprocessable` where the draft's prices are in another unit than the contract's.
    """

    def preview(self, terms: ContractTerms, period: Span, draft: Draft) -> Preview:
        """The charges of one period by the contract's terms and by the draft, of one vector."""
        ...

    def backtest(self, tenant: str, tried: Sequence[Tried], draft: Draft) -> tuple[Compared, ...]:
        """In the order of `tried`, contracts of the tenant; one for each unit in which a contract is priced."""
        ...


class Customers(Protocol):
    """What the contracts service answers about customers."""

    def keys_of(self, tenant: str, customer_id: str) -> tuple[str, ...]:
        """The customer's id and ingest aliases: every key under which its events may come. Raise `NotFound`."""
        ...

    def customer_of(self, tenant: str, key: str) -> str | None:
        """The id of the customer who holds this key now, or None: usage under it is unmatched."""
        ...

    def name_of(self, tenant: str, customer_id: str) -> str:
        """The customer's name. Raise `NotFound`."""
        ...
