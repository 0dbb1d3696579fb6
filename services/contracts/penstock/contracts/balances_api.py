"""Balances over HTTP: Metronome's lists, the seed document's short form, and the customer's ledger with its proof."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from datetime import datetime
from decimal import Decimal
from enum import Enum
from typing import Annotated, Any

import msgspec

from penstock.contracts.agreement import Contract
from penstock.contracts.balance import Balance
from penstock.contracts.balance_view import Filter, consumed, ledger_view, spendable, takes_any
from penstock.contracts.booking import proof
from penstock.contracts.close import Standing
from penstock.contracts.contract_view import balance_view
from penstock.contracts.customers import Customer
from penstock.contracts.edge import (
    Instant,
    choice,
    exponent,
    page_after,
    read,
    refuse,
    signed_amount,
    to_api,
    utc,
)
from penstock.contracts.service import Contracts
from penstock.kernel.entry import Transaction
from penstock.kernel.money import USD
from penstock.kernel.problems import BadRequest
from penstock.kernel.quantity import ZERO, exact
from penstock.web.route import (
    CustomersOf,
    Request,
    Route,
    Scope,
    customer_in_body,
    customer_in_path,
    customer_in_query,
)

_PAGE_DEFAULT, _PAGE_MAX = 25, 100


class InclusionMode(Enum):
    """Which invoices have drawn on a net balance."""

    FINALIZED_AND_DRAFT = "FINALIZED_AND_DRAFT"
    FINALIZED = "FINALIZED"


class BalancesBody(msgspec.Struct, frozen=True):
    """`include_contract_balances` is accepted in either form: every balance belongs to a contract and is listed."""

    customer_id: str
    id: str | None = None
    access_type: str = "SPEND"
    covering_date: Instant | None = None
    starting_at: Instant | None = None
    effective_before: Instant | None = None
    exclude_zero_balances: bool = False
    include_balance: bool = False
    include_ledgers: bool = False
    limit: Annotated[int, msgspec.Meta(ge=1, le=_PAGE_MAX)] = _PAGE_DEFAULT
    next_page: str | None = None

    def takes(self, balance: Balance) -> bool:
        """Whether some access of the balance is in the dates that were asked for."""
        spans = [segment.span for segment in balance.segments]
        return (
            (self.id is None or balance.id == self.id)
            and (self.covering_date is None or any(self.covering_date in span for span in spans))
            and (self.starting_at is None or any(span.end > self.starting_at for span in spans))
            and (self.effective_before is None or any(span.start < self.effective_before for span in spans))
        )


class NetBalanceBody(msgspec.Struct, frozen=True):
    customer_id: str
    credit_type_id: str | None = None
    access_type: str = "SPEND"
    invoice_inclusion_mode: str = "FINALIZED_AND_DRAFT"
    filters: list[Filter] | None = None


class ManualBody(msgspec.Struct, frozen=True):
    """`timestamp` is the segment's start unless given. A used `uniqueness_key` is a 409."""

    customer_id: str
    id: str
    segment_id: str
    amount: Decimal
    reason: str
    contract_id: str | None = None
    timestamp: Instant | None = None
    uniqueness_key: str | None = None


class SeedBody(msgspec.Struct, frozen=True):
    customer_id: str


class BalancesApi:
    def __init__(self, service: Contracts) -> None:
        self._service = service

    def routes(self) -> list[Route]:
        def route(method: str, path: str, handler: Callable[[Request], Any], customers: CustomersOf) -> Route:
            return Route(method, path, Scope.READ, handler, "contracts", customers)

        return [
            route("POST", "/v1/contracts/customerBalances/list", self.list_balances, customer_in_body),
            route("POST", "/v1/contracts/customerBalances/getNetBalance", self.net_balance, customer_in_body),
            route("GET", "/v1/contracts/getBalance", self.seed_balance, _customer_of_seed_balance),
            route("POST", "/v1/contracts/getBalance", self.seed_balance, _customer_of_seed_balance),
            route("GET", "/v1/customers/{customer_id}/ledger", self.ledger, customer_in_path),
            Route("POST", "/v1/contracts/addManualBalanceLedgerEntry", Scope.WRITE, self.adjust, "contracts"),
        ]

    def list_balances(self, request: Request) -> dict[str, Any]:
        body = request.json(BalancesBody)
        _require_spend(body.access_type)
        customer, now = self._service.customers.get(request.tenant, body.customer_id), self._service.clock.now()
        posted = self._service.ledger.transactions(request.tenant, customer.id) if body.include_ledgers else []
        rows = [
            balance_view(balance, contract, {balance.id: _extras(body, balance, contract, standing, posted, now)})
            for contract, standing in self._service.standings(request.tenant, customer)
            for balance in contract.balances
            if body.takes(balance) and not (body.exclude_zero_balances and not spendable(balance, standing.live, now))
        ]
        data, next_page = page_after(rows, body.next_page, body.limit)
        return {"data": data, "next_page": next_page}

    @exact
    def net_balance(self, request: Request) -> dict[str, Any]:
        body = request.json(NetBalanceBody)
        _require_spend(body.access_type)
        mode = choice(InclusionMode, body.invoice_inclusion_mode, "invoice_inclusion_mode")
        customer, now = self._service.customers.get(request.tenant, body.customer_id), self._service.clock.now()
        net, unit = ZERO, USD
        for contract, standing in self._service.standings(request.tenant, customer):
            left = standing.booked if mode is InclusionMode.FINALIZED else standing.live
            for balance in contract.balances:
                if balance.unit.id == (body.credit_type_id or USD.id) and takes_any(body.filters, balance):
                    net, unit = net + spendable(balance, left, now), balance.unit
        return {"data": {"balance": to_api(net, unit), "credit_type_id": body.credit_type_id or USD.id}}

    @exact
    def seed_balance(self, request: Request) -> dict[str, Any]:
        """What is left and what was consumed of all USD that can be drawn now, drafts included."""
        named = _customer_of_seed_balance(request)
        if not named or not named[0]:
            raise BadRequest("customer_id is missing", field="customer_id")
        customer, now = self._service.customers.get(request.tenant, named[0]), self._service.clock.now()
        left, used, posted = ZERO, ZERO, self._service.ledger.transactions(request.tenant, customer.id)
        for contract, standing in self._service.standings(request.tenant, customer):
            dollars = [balance for balance in contract.balances if balance.unit == USD]
            left += sum((spendable(b, standing.live, now) for b in dollars), ZERO)
            used += sum((consumed(b, standing, posted, now) for b in dollars), ZERO)
        return {"customer_id": customer.id, "balance": to_api(left, USD), "consumed": to_api(used, USD)}

    def adjust(self, request: Request) -> dict[str, Any]:
        """Add to a segment by hand, or take away: it counts at once."""
        body = read(request.body, ManualBody, unsupported=("per_group_amounts",))
        customer = self._service.customers.get(request.tenant, body.customer_id)
        unit = self._service.unit_of(request.tenant, customer, body.id)
        self._service.adjust(
            request.tenant,
            customer,
            balance_id=body.id,
            segment_id=body.segment_id,
            value=signed_amount(body.amount, exponent(unit), unit, "amount"),
            at=None if body.timestamp is None else utc(body.timestamp),
            reason=body.reason,
            key=body.uniqueness_key or str(uuid.uuid4()),
        )
        return {}

    def ledger(self, request: Request) -> dict[str, Any]:
        """Every transaction in the order of posting, the accounts, and for each balance the proof that it adds up."""
        customer = self._service.customers.get(request.tenant, request.path["customer_id"])
        accounts = self._service.ledger.balances(request.tenant, customer.id)
        transactions = self._service.ledger.transactions(request.tenant, customer.id)
        units = {entry.account: entry.amount.unit for each in transactions for entry in each.entries}
        return {
            "data": {
                "transactions": [_transaction_view(transaction) for transaction in transactions],
                "accounts": {name: to_api(accounts[name], unit) for name, unit in sorted(units.items())},
                "proofs": self._proofs(request.tenant, customer, accounts),
            }
        }

    def _proofs(self, tenant: str, customer: Customer, accounts: dict[str, Decimal]) -> list[dict[str, Any]]:
        balances = [b for stored in self._service.of_customer(tenant, customer) for b in stored.value.balances]
        proofs = [(balance.unit, proof(accounts, balance)) for balance in balances]
        return [
            {
                "balance_id": each.balance_id,
                "granted": to_api(each.granted, unit),
                "added": to_api(each.added, unit),
                "drawn": to_api(each.drawn, unit),
                "expired": to_api(each.expired, unit),
                "remaining": to_api(each.remaining, unit),
                "holds": each.holds,
            }
            for unit, each in proofs
        ]


def _customer_of_seed_balance(request: Request) -> Sequence[str]:
    return (request.json(SeedBody).customer_id,) if request.body else customer_in_query(request)


def _require_spend(access_type: str) -> None:
    if access_type.upper() != "SPEND":
        raise refuse("access_type", "must be SPEND: nothing else is supported yet")


def _extras(
    body: BalancesBody,
    balance: Balance,
    contract: Contract,
    standing: Standing,
    posted: list[Transaction],
    now: datetime,
) -> dict[str, Any]:
    """The balance and the ledger, where they were asked for."""
    extras: dict[str, Any] = {}
    if body.include_balance:
        extras["balance"] = to_api(spendable(balance, standing.live, now), balance.unit)
    if body.include_ledgers:
        extras["ledger"] = ledger_view(balance, contract, standing, posted, now)
    return extras


def _transaction_view(transaction: Transaction) -> dict[str, Any]:
    return {
        "id": transaction.id,
        "kind": transaction.kind,
        "effective_at": transaction.effective_at,
        "reference": transaction.reference,
        "entries": [
            {"account": entry.account, "amount": to_api(entry.amount.value, entry.amount.unit)}
            for entry in transaction.entries
        ],
    }
