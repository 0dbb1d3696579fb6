"""Previews and backtests over HTTP: what usage that has happened would have cost by other terms. Nothing is kept."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from penstock.contracts.agreement import Contract
from penstock.contracts.customers import Customer
from penstock.contracts.definitions import Stored
from penstock.contracts.service import Contracts, naming
from penstock.contracts.trial_request import draft_of, periods_in, read_backtest, read_preview, span_of
from penstock.contracts.trial_view import preview_view, row_view
from penstock.kernel.backtest import Draft, Tried
from penstock.kernel.card_units import CardUnits
from penstock.kernel.ports.siblings import Backtesting
from penstock.kernel.problems import BadRequest
from penstock.kernel.window import Span
from penstock.web.page import decode_cursor, encode_cursor
from penstock.web.route import Request, Route, Scope

PAGE_DEFAULT, PAGE_MAX = 500, 1_000
PREVIEW_PERIODS_MAX = 36


class TrialsApi:
    def __init__(self, service: Contracts, trials: Backtesting) -> None:
        self._service = service
        self._trials = trials

    def routes(self) -> list[Route]:
        # Not for a customer's own key: a draft may name any card, and so its prices.
        return [
            Route("POST", "/v1/contracts/preview", Scope.READ, self.preview, "contracts"),
            Route("POST", "/v1/contracts/backtest", Scope.READ, self.backtest, "contracts"),
        ]

    def preview(self, request: Request) -> dict[str, Any]:
        """One contract, period by period: the charges of both sides with all that explains them."""
        body = read_preview(request.body)
        span = span_of(body)
        customer = self._service.customers.get(request.tenant, body.customer_id)
        contract = self._service.contract(request.tenant, customer, body.contract_id).value
        draft = draft_of(body, self._units(request.tenant, body.rate_card_id or contract.rate_card_id))
        periods = periods_in(contract, span, self._service.clock.now())
        if len(periods) > PREVIEW_PERIODS_MAX:
            raise BadRequest(f"more than {PREVIEW_PERIODS_MAX} billing periods", field="ending_before")
        if not periods:
            self._trials.backtest(request.tenant, (), draft)  # a draft that cannot be is refused all the same
        terms = self._tried(request.tenant, contract, customer, periods).terms
        shown = [preview_view(self._trials.preview(terms, period, draft)) for period in periods]
        return {"data": {"customer_id": customer.id, "contract_id": contract.id, "periods": shown}}

    def backtest(self, request: Request) -> dict[str, Any]:
        """A page of the tenant's contracts, in the order of creation. The first page says how many there are."""
        body = read_backtest(request.body)
        span = span_of(body)
        after = decode_cursor(request.query.get("next_page"))
        limit, tenant = request.limit(PAGE_DEFAULT, PAGE_MAX), request.tenant
        if body.only_rate_card_id is not None:
            with naming("only_rate_card_id"):
                self._service.rate_card_id(tenant, body.only_rate_card_id, None)
        draft = draft_of(body, self._units(tenant, body.rate_card_id or body.only_rate_card_id))
        page = self._service.of_tenant(tenant, after, limit + 1)
        held = [each for each in page[:limit] if body.only_rate_card_id in (None, each.value.rate_card_id)]
        return {
            "data": self._rows(tenant, held, span, draft),
            "next_page": encode_cursor(page[limit - 1].item.sequence) if len(page) > limit else None,
            "contracts": None if after else self._service.count(tenant),
            "contracts_on_page": min(len(page), limit),
        }

    def _units(self, tenant: str, rate_card_id: str | None) -> CardUnits:
        """In what a draft's rates and overrides may be: a book of many cards and no card named is in dollars."""
        if rate_card_id is None:
            return CardUnits()
        with naming("rate_card_id"):
            return self._service.units_of(tenant, rate_card_id)

    def _rows(self, tenant: str, held: Iterable[Stored[Contract]], span: Span, draft: Draft) -> list[dict[str, Any]]:
        """One for each contract that has a period, and unit in which it is priced."""
        now = self._service.clock.now()
        tried: dict[str, Tried] = {}
        customers: dict[str, Customer] = {}
        for contract in (each.value for each in held):
            periods = periods_in(contract, span, now)
            if periods:
                customer = customers.get(contract.customer_id)
                if customer is None:
                    customer = self._service.customers.get(tenant, contract.customer_id)
                    customers[contract.customer_id] = customer
                tried[contract.id] = self._tried(tenant, contract, customer, periods)
        compared = self._trials.backtest(tenant, tuple(tried.values()), draft)
        return [row_view(tried[row.contract_id], customers, row) for row in compared]

    def _tried(self, tenant: str, contract: Contract, customer: Customer, periods: tuple[Span, ...]) -> Tried:
        return Tried(contract.terms(tenant, customer.keys), periods)

