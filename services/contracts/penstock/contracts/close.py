"""The shell that closes periods: drafts on demand, final invoices when period and grace have passed, then the ledger.

One writer per balance pool (a customer): whoever holds it in `Pools`. What is decided is stored first and booked after;
booking is idempotent, so a crash in between is made good by booking again.

Every period of a contract that has begun has an invoice, even one that comes to zero: a draft until it is final.
Periods are closed in order: an earlier one draws first. Live balance = ledger - drafts of the periods still open.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from datetime import datetime
from decimal import Decimal
from threading import Lock

import msgspec

from penstock.contracts.agreement import FAR, Contract, final_at
from penstock.contracts.booking import bookings, expiration, grants, segment_account
from penstock.contracts.clock import TestClock
from penstock.contracts.definitions import Definitions, Stored
from penstock.contracts.draw_down import after, draw_down
from penstock.contracts.invoicing import Invoice, InvoiceStatus, invoice_id, write_invoice
from penstock.kernel.ports.catalog import Catalog
from penstock.kernel.ports.clock import Clock
from penstock.kernel.ports.ledger import Ledger, Pools
from penstock.kernel.ports.siblings import Customers, Rating, UsageReader
from penstock.kernel.problems import Problem
from penstock.kernel.quantity import ZERO
from penstock.kernel.window import EPOCH, Span

log = logging.getLogger("penstock.contracts")


class Standing(msgspec.Struct, frozen=True):
    """Where a contract stands: its drafts, what the ledger has left of each segment, and that less the drafts."""

    drafts: tuple[Invoice, ...]
    booked: dict[str, Decimal]
    live: dict[str, Decimal]


class PoolLocks:
    """`Pools` of the one process that works on a ledger: a lock for each."""

    def __init__(self) -> None:
        self._guard = Lock()
        self._locks: defaultdict[tuple[str, str], Lock] = defaultdict(Lock)

    def of(self, tenant: str, pool: str) -> Lock:
        with self._guard:
            return self._locks[tenant, pool]


class Closing:
    """Reads charges, draws balances down, and writes invoices and the ledger."""

    def __init__(
        self,
        *,
        catalog: Catalog,
        contracts: Definitions[Contract],
        ledger: Ledger,
        rating: Rating,
        usage: UsageReader,
        customers: Customers,
        clock: Clock,
        test_clock: TestClock | None,
        locks: Pools,
    ) -> None:
        self._catalog = catalog
        self._contracts = contracts
        self._invoices = Definitions(catalog, "invoice", Invoice)
        self._ledger = ledger
        self._rating = rating
        self._usage = usage
        self._customers = customers
        self._clock = clock
        self._test_clock = test_clock
        self._locks = locks
        # What this process knows to be done, so that it need not look again: segments whose expiry is in the ledger,
        # and until when nothing of a contract can be due.
        self._expired: set[str] = set()
        self._idle_until: dict[str, datetime] = {}

    def standing(self, stored: Stored[Contract]) -> Standing:
        """Drafts and balances as of the newest usage. Reads usage once per open period."""
        with self._locks.of(stored.tenant, stored.value.customer_id):
            booked = self._left(stored)
            live, drafts = booked, []
            for period in self._open_periods(stored, self._clock.now()):
                draft = self._draft(stored, period, live)
                live = after(live, draft.draws)
                drafts.append(draft)
        return Standing(tuple(drafts), booked, live)

    def finalized(self, tenant: str, customer_id: str) -> list[Invoice]:
        """The customer's final invoices, in the order in which they were decided."""
        return [stored.value for stored in self._invoices.list(tenant, parent=customer_id)]

    def finalized_by_id(self, tenant: str, id: str) -> Invoice | None:
        stored = self._invoices.get(tenant, id)
        return None if stored is None else stored.value

    def finalize_due(self) -> int:
        """Finalize every period whose end and grace have passed and whose usage is settled; return how many.

        A contract that cannot be priced now stays open and is named in the log; the others go on.
        """
        count, now = 0, self._clock.now()
        for listed in self._contracts.list(None):
            if now < self._idle_until.get(listed.value.id, EPOCH):
                continue
            try:
                with self._locks.of(listed.tenant, listed.value.customer_id):
                    count += self._close(listed.tenant, listed.value.id)
            except Problem as problem:
                log.warning("contract %s stays open: %s", listed.value.id, problem.detail)
            except Exception:  # one contract must not keep the others open
                log.exception("contract %s stays open", listed.value.id)
        return count

    def recover(self) -> None:
        """Book every contract and invoice that was stored and not booked when the process ended."""
        for listed in self._contracts.list(None):
            with self._locks.of(listed.tenant, listed.value.customer_id):
                self._repair(listed.tenant, listed.value.id)

    def book_grants(self, stored: Stored[Contract]) -> Stored[Contract]:
        """Post the grants of a contract and mark it as booked. Idempotent. The caller holds the pool."""
        if stored.value.booked:
            return stored
        self._ledger.post(grants(stored.tenant, stored.value))
        booked = msgspec.structs.replace(stored.value, booked=True)
        [item] = self._catalog.put([stored.changed(booked)], self._clock.now())
        return Stored(item, booked)

    def _close(self, tenant: str, contract_id: str) -> int:
        stored, now, count = self._repair(tenant, contract_id), self._clock.now(), 0
        for period in self._open_periods(stored, now):
            if not self._is_due(period, now):
                break
            self._finalize(stored, period, now)
            count += 1
        self._expire(stored, now)
        self._idle_until[contract_id] = self._next_due(stored, now)
        return count

    def _repair(self, tenant: str, contract_id: str) -> Stored[Contract]:
        """Book what is stored and not booked; return the contract as it is now."""
        stored = self._contracts.get(tenant, contract_id)
        assert stored is not None, "a contract is never deleted"
        stored = self.book_grants(stored)
        self._book_last(stored, self._clock.now())
        return stored

    def _next_due(self, stored: Stored[Contract], now: datetime) -> datetime:
        """The earliest instant at which a period or a segment can be due; past where one waits for something."""
        contract, open_periods = stored.value, self._open_periods(stored, now)
        due = [final_at(period) for period in open_periods[:1]] + ([contract.start] if now < contract.start else [])
        segments = [segment for balance in contract.balances for segment in balance.segments]
        due += [final_at(segment.span) for segment in segments if segment.id not in self._expired]
        return min(due, default=FAR)

    def _is_due(self, period: Span, now: datetime) -> bool:
        due_at = final_at(period)
        if due_at > now:
            return False
        return self._usage.settled(due_at if self._test_clock is None else self._test_clock.on_log_clock(due_at))

    def _finalize(self, stored: Stored[Contract], period: Span, now: datetime) -> None:
        draft = self._draft(stored, period, self._left(stored))
        invoice = msgspec.structs.replace(draft, status=InvoiceStatus.FINALIZED, finalized_at=now)
        key = f"{invoice.contract_id}/{period.start.isoformat()}"
        new = self._invoices.new(stored.tenant, invoice.id, invoice, parent=invoice.customer_id, unique=(key,))
        [item] = self._catalog.put([new], now)
        self._book(Stored(item, invoice))

    def _book(self, stored: Stored[Invoice]) -> None:
        self._ledger.post(bookings(stored.tenant, stored.value))
        booked = msgspec.structs.replace(stored.value, booked=True)
        self._catalog.put([stored.changed(booked)], self._clock.now())

    def _book_last(self, stored: Stored[Contract], now: datetime) -> None:
        """Book the newest final invoice, where a crash came in between. Any earlier one was booked before it."""
        for period in reversed(stored.value.periods_until(now)):
            last = self._invoices.get(stored.tenant, invoice_id(stored.value.id, period.start))
            if last is not None:
                if not last.value.booked:
                    self._book(last)
                return

    def _open_periods(self, stored: Stored[Contract], now: datetime) -> list[Span]:
        """The periods that have begun and are not final, in order: all after the newest final one."""
        found: list[Span] = []
        for period in reversed(stored.value.periods_until(now)):
            if self._invoices.get(stored.tenant, invoice_id(stored.value.id, period.start)) is not None:
                break
            found.append(period)
        return found[::-1]

    def _draft(self, stored: Stored[Contract], period: Span, left: dict[str, Decimal]) -> Invoice:
        contract = stored.value
        terms = contract.terms(stored.tenant, self._customers.keys_of(stored.tenant, contract.customer_id))
        charge_set = self._rating.charges(terms, period, contract.cuts(period))
        return write_invoice(
            charge_set,
            draw_down(charge_set.charges, contract.balances, left),
            contract.balances,
            customer_id=contract.customer_id,
            contract_revision=stored.item.revision,
            net_payment_terms_days=contract.net_payment_terms_days,
        )

    def _left(self, stored: Stored[Contract]) -> dict[str, Decimal]:
        """What the ledger has left of each segment of the contract."""
        accounts = self._ledger.balances(stored.tenant, stored.value.customer_id)
        return {
            segment.id: accounts.get(segment_account(balance.id, segment.id), ZERO)
            for balance in stored.value.balances
            for segment in balance.segments
        }

    def _expire(self, stored: Stored[Contract], now: datetime) -> None:
        """Book what is left of segments that ended more than the grace ago, once no open period can draw on them."""
        ended = [
            (balance, segment)
            for balance in stored.value.balances
            for segment in balance.segments
            if final_at(segment.span) <= now and segment.id not in self._expired
        ]
        if not ended:
            return
        open_from = min((period.start for period in self._open_periods(stored, now)), default=now)
        over = [(balance, segment) for balance, segment in ended if segment.span.end <= open_from]
        left, pool = self._left(stored), stored.value.customer_id
        self._ledger.post([expiration(stored.tenant, pool, b, s, left[s.id]) for b, s in over if left[s.id] > 0])
        self._expired.update(segment.id for _, segment in over)
