"""A contract: what was agreed with a customer, from which its periods and its terms of pricing follow."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from enum import Enum

import msgspec

from penstock.contracts.balance import Balance, BalanceKind
from penstock.kernel.contract import ContractTerms, Override, Prioritization
from penstock.kernel.window import Cadence, Calendar, Span

# An invoice is final this long after its period: late events of the period may come until then.
GRACE = timedelta(hours=24)
# A balance without an end of its own, under a contract without end.
FAR = datetime(9999, 1, 1, tzinfo=UTC)


class Frequency(Enum):
    """How often usage is invoiced."""

    WEEKLY = "WEEKLY"
    MONTHLY = "MONTHLY"
    QUARTERLY = "QUARTERLY"
    ANNUAL = "ANNUAL"


_CADENCE = {
    Frequency.WEEKLY: (Cadence.WEEK, 1),
    Frequency.MONTHLY: (Cadence.MONTH, 1),
    Frequency.QUARTERLY: (Cadence.MONTH, 3),
    Frequency.ANNUAL: (Cadence.YEAR, 1),
}


def calendar_of(frequency: Frequency, anchor: datetime) -> Calendar:
    """The periods in which usage is invoiced. Metronome's are UTC."""
    unit, count = _CADENCE[frequency]
    return Calendar(anchor, unit, count)


class Agreed(msgspec.Struct, frozen=True):
    """An override and when it was agreed."""

    created_at: datetime
    override: Override


def final_at(span: Span) -> datetime:
    """When nothing more is waited for that was used in `span`: its end and the grace."""
    return min(span.end, FAR) + GRACE


class Contract(msgspec.Struct, frozen=True):
    """A contract of one customer on one rate card, in force in [start, end) (end None = open).

    `booked` says that the grants of its balances are in the ledger: false only between two writes of its creation.
    """

    id: str
    customer_id: str
    rate_card_id: str
    start: datetime
    end: datetime | None
    frequency: Frequency
    calendar: Calendar
    created_at: datetime
    created_by: str
    balances: tuple[Balance, ...] = ()
    overrides: tuple[Agreed, ...] = ()
    prioritization: Prioritization = Prioritization.LOWEST_MULTIPLIER
    name: str | None = None
    net_payment_terms_days: Decimal | None = None
    uniqueness_key: str | None = None
    booked: bool = False

    @property
    def span(self) -> Span:
        return Span(self.start, self.end or FAR)

    def terms(self, tenant: str, customer_keys: tuple[str, ...]) -> ContractTerms:
        """What the rater needs to know."""
        return ContractTerms(
            tenant=tenant,
            contract_id=self.id,
            customer_id=self.customer_id,
            customer_keys=customer_keys,
            rate_card_id=self.rate_card_id,
            start=self.start,
            end=self.end,
            overrides=tuple(agreed.override for agreed in self.overrides),
            prioritization=self.prioritization,
        )

    def periods_until(self, now: datetime) -> list[Span]:
        """Every period that has begun by `now`, in order, clipped to the contract's dates."""
        if now < self.start:
            return []
        begun = Span(self.start, self.calendar.period_of(now).end).clip(self.span)
        assert begun is not None, "the period of an instant after the start ends after the start"
        return self.calendar.periods(begun)

    def cuts(self, period: Span) -> frozenset[datetime]:
        """The instants inside `period` at which charges must be sliced for the draw-down."""
        edges = {edge for balance in self.balances for edge in balance.boundaries}
        return frozenset(edge for edge in edges if period.start < edge < period.end)

    def runs_beside(self, other: Contract) -> bool:
        """Whether both are of one customer and in force at the same time."""
        return self.customer_id == other.customer_id and self.span.clip(other.span) is not None


def with_product_names(contract: Contract, names: Mapping[str, str]) -> Contract:
    """The contract with the name that each balance's product had when it was sold."""
    balances = (msgspec.structs.replace(b, product_name=names[b.product_id]) for b in contract.balances)
    return msgspec.structs.replace(contract, balances=tuple(balances))


def products_named(contract: Contract) -> Iterator[tuple[str, str]]:
    """Every product that the contract names, each with the field that names it."""
    places = {BalanceKind.PREPAID: 0, BalanceKind.CREDIT: 0}
    for balance in contract.balances:
        at = f"{'commits' if balance.kind is BalanceKind.PREPAID else 'credits'}[{places[balance.kind]}]"
        places[balance.kind] += 1
        yield f"{at}.product_id", balance.product_id
        for id in balance.product_ids:
            yield f"{at}.applicable_product_ids", id
    for i, agreed in enumerate(contract.overrides):
        for specifier in agreed.override.specifiers:
            if specifier.product_id is not None:
                yield f"overrides[{i}].product_id", specifier.product_id
