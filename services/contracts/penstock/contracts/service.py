"""The contracts service in one object: customers, contracts, balances, the ledger and invoices of every tenant."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from decimal import Decimal

import msgspec

from penstock.contracts.agreement import Agreed, Contract, products_named, with_product_names
from penstock.contracts.balance import Balance, Segment
from penstock.contracts.booking import manual
from penstock.contracts.clock import TestClock
from penstock.contracts.close import Closing, Standing
from penstock.contracts.customers import Customer, CustomerBook
from penstock.contracts.definitions import Definitions, Stored
from penstock.contracts.invoicing import Invoice
from penstock.kernel.card_units import CardUnits
from penstock.kernel.contract import Override, OverrideKind
from penstock.kernel.money import Unit
from penstock.kernel.ports.catalog import Catalog
from penstock.kernel.ports.clock import Clock
from penstock.kernel.ports.ledger import Ledger, Pools
from penstock.kernel.ports.siblings import Rating, UsageReader
from penstock.kernel.problems import Conflict, Forbidden, NotFound, Unprocessable

CONTRACT = "contract"  # the kind of its definitions


@contextmanager
def naming(field: str) -> Iterator[None]:
    """What is not found inside is named by `field` of the request."""
    try:
        yield
    except NotFound as exc:
        raise NotFound(exc.detail, field=field) from exc


class Contracts:
    """What the API calls. Every write to a customer's contracts holds the customer's pool."""

    def __init__(
        self,
        catalog: Catalog,
        ledger: Ledger,
        rating: Rating,
        usage: UsageReader,
        clock: Clock,
        test_clock: TestClock | None,
        pools: Pools,
    ) -> None:
        self.customers = CustomerBook(catalog, clock)
        self.ledger = ledger
        self._rating = rating
        self.clock = clock
        self._test_clock = test_clock
        self._catalog = catalog
        self._contracts = Definitions(catalog, CONTRACT, Contract)
        self._locks = pools
        self.closing = Closing(
            catalog=catalog,
            contracts=self._contracts,
            ledger=ledger,
            rating=rating,
            usage=usage,
            customers=self.customers,
            clock=clock,
            test_clock=test_clock,
            locks=pools,
        )

    def create(self, tenant: str, contract: Contract, allow_overlap: bool) -> None:
        """Store and grant. Raise `NotFound` for an unknown product, `Conflict` for a known uniqueness key or where
        usage would be billed twice: nothing is stored then."""
        names: dict[str, str] = {}
        for field, product_id in products_named(contract):
            with naming(field):
                names |= self._rating.product_names(tenant, [product_id])
        contract = with_product_names(contract, names)
        with self._locks.of(tenant, contract.customer_id):
            if not allow_overlap:
                self._refuse_overlap(tenant, contract)
            unique = () if contract.uniqueness_key is None else (f"uniqueness_key/{contract.uniqueness_key}",)
            new = self._contracts.new(tenant, contract.id, contract, parent=contract.customer_id, unique=unique)
            [item] = self._catalog.put([new], self.clock.now())
            self.closing.book_grants(Stored(item, contract))

    def rate_card_id(self, tenant: str, id: str | None, alias: str | None) -> str:
        """The id of the card. Raise `NotFound` naming the field."""
        with naming("rate_card_id" if alias is None else "rate_card_alias"):
            return self._rating.rate_card_id(tenant, id, alias)

    def units_of(self, tenant: str, rate_card_id: str) -> CardUnits:
        """The units in which the card prices."""
        return self._rating.units_of(tenant, rate_card_id)

    def unit_of(self, tenant: str, customer: Customer, balance_id: str) -> Unit:
        """The unit of a commit or credit. Raise `NotFound`."""
        return self._balance(tenant, customer, balance_id).unit

    def _refuse_overlap(self, tenant: str, contract: Contract) -> None:
        """Two contracts bill the same usage where they run side by side on cards that price the same metric."""
        card = contract.rate_card_id
        for other in self._contracts.list(tenant, parent=contract.customer_id):
            if not contract.runs_beside(other.value):
                continue
            theirs_too = self._rating.metrics_of(tenant, other.value.rate_card_id)
            if card == other.value.rate_card_id or self._rating.metrics_of(tenant, card) & theirs_too:
                mine, theirs = (f"{c.name or c.id} from {c.start.isoformat()}" for c in (contract, other.value))
                raise Conflict(
                    f"contract {other.value.id} ({theirs}) and the new contract ({mine}) would bill the same usage;"
                    " say allow_overlap to allow it",
                    field="rate_card_id",
                )

    def of_customer(self, tenant: str, customer: Customer, after: int = 0) -> list[Stored[Contract]]:
        """The customer's contracts in the order of creation."""
        return self._contracts.list(tenant, parent=customer.id, after=after)

    def of_tenant(self, tenant: str, after: int, limit: int) -> list[Stored[Contract]]:
        """Contracts of every customer in the order of creation, above place `after`."""
        return self._contracts.list(tenant, after=after, limit=limit)

    def count(self, tenant: str) -> int:
        return len(self._catalog.list(tenant, CONTRACT))

    def contract(self, tenant: str, customer: Customer, id: str) -> Stored[Contract]:
        stored = self._contracts.get(tenant, id)
        if stored is None or stored.value.customer_id != customer.id:
            raise NotFound(f"the customer has no contract {id!r}", field="contract_id")
        return stored

    def override_from_now(
        self, tenant: str, customer: Customer, rate_card_id: str, overrides: Sequence[Override], now: datetime
    ) -> list[str]:
        """Add overwrites to every contract of the customer on the card that has not ended; return their ids.

        An overwrite of the same rates that is in force ends: at an instant one override acts. All contracts or none.
        """
        with self._locks.of(tenant, customer.id):
            mine = [
                stored
                for stored in self.of_customer(tenant, customer)
                if stored.value.rate_card_id == rate_card_id and now < stored.value.span.end
            ]
            if not mine:
                raise NotFound("the customer has no contract on that rate card", field="rate_card_id")
            self._catalog.put([stored.changed(_overridden(stored.value, overrides, now)) for stored in mine], now)
        return [stored.value.id for stored in mine]

    def adjust(
        self,
        tenant: str,
        customer: Customer,
        *,
        balance_id: str,
        segment_id: str,
        value: Decimal,
        at: datetime | None,
        reason: str,
        key: str,
    ) -> None:
        """Book a manual entry. Raise `Conflict` for a used key, `Unprocessable` for a segment that is over."""
        with self._locks.of(tenant, customer.id):
            balance, segment = self._segment(tenant, customer, balance_id, segment_id)
            if segment.span.end <= self.clock.now():
                raise Unprocessable("the segment is over: what was left of it has expired", field="segment_id")
            entry = manual(tenant, customer.id, balance, segment, value, at or segment.span.start, reason, key)
            if not self.ledger.post([entry]):
                raise Conflict("the uniqueness key was used before", field="uniqueness_key")

    def _segment(self, tenant: str, customer: Customer, balance_id: str, segment_id: str) -> tuple[Balance, Segment]:
        balance = self._balance(tenant, customer, balance_id)
        segment = next((s for s in balance.segments if s.id == segment_id), None)
        if segment is None:
            raise NotFound(f"the commit or credit has no segment {segment_id!r}", field="segment_id")
        return balance, segment

    def _balance(self, tenant: str, customer: Customer, balance_id: str) -> Balance:
        balances = [b for stored in self.of_customer(tenant, customer) for b in stored.value.balances]
        balance = next((b for b in balances if b.id == balance_id), None)
        if balance is None:
            raise NotFound(f"the customer has no commit or credit {balance_id!r}", field="id")
        return balance

    def archive(self, tenant: str, key: str) -> Customer:
        """Archive a customer. Raise `Conflict` while a contract runs: its usage would never be invoiced."""
        customer = self.customers.get(tenant, key)
        for stored in self.of_customer(tenant, customer):
            if self.clock.now() < stored.value.span.end:
                raise Conflict(f"contract {stored.value.id} of the customer has not ended", field="id")
        return self.customers.archive(tenant, customer.id)

    def standings(self, tenant: str, customer: Customer) -> list[tuple[Contract, Standing]]:
        """Where each of the customer's contracts stands now."""
        return [(stored.value, self.closing.standing(stored)) for stored in self.of_customer(tenant, customer)]

    def drafts(self, tenant: str, customer: Customer) -> list[Invoice]:
        return [draft for _, standing in self.standings(tenant, customer) for draft in standing.drafts]

    def invoice(self, tenant: str, customer: Customer, id: str) -> Invoice:
        """The final invoice with this id, or the draft."""
        final = self.closing.finalized_by_id(tenant, id)
        found = [final] if final is not None else [d for d in self.drafts(tenant, customer) if d.id == id]
        if not found or found[0].customer_id != customer.id:
            raise NotFound(f"the customer has no invoice {id!r}", field="invoice_id")
        return found[0]

    @property
    def has_test_clock(self) -> bool:
        return self._test_clock is not None

    def advance(self, to: datetime) -> int:
        """Move the test clock and close what is due; return how many invoices became final."""
        if self._test_clock is None:
            raise Forbidden("the test clock is off: start penstock with --test-clock to move it")
        self._test_clock.advance(to)
        return self.closing.finalize_due()


def _overridden(contract: Contract, overrides: Sequence[Override], now: datetime) -> Contract:
    replaced = {override.specifiers for override in overrides}
    kept = []
    for agreed in contract.overrides:
        old = agreed.override
        if old.kind is OverrideKind.OVERWRITE and old.specifiers in replaced and (old.end is None or old.end > now):
            if old.start >= now:
                continue
            agreed = Agreed(agreed.created_at, msgspec.structs.replace(old, end=now))
        kept.append(agreed)
    return msgspec.structs.replace(contract, overrides=(*kept, *(Agreed(now, override) for override in overrides)))
