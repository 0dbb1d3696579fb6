"""Contracts over HTTP, in Metronome's shapes (v1 and v2), and the seed document's rate card override."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Annotated, Any

import msgspec

from penstock.contracts.agreement import Contract
from penstock.contracts.balance_view import ledger_view, spendable
from penstock.contracts.contract_request import read_contract, read_contract_body
from penstock.contracts.contract_view import Extras, contract_v1, contract_v2
from penstock.contracts.definitions import Stored
from penstock.contracts.edge import Instant, read, to_api
from penstock.contracts.override_request import read_dollar_override
from penstock.contracts.service import Contracts
from penstock.kernel.problems import BadRequest, Unprocessable
from penstock.web.page import decode_cursor, encode_cursor
from penstock.web.route import Request, Route, Scope, customer_in_body

_PAGE_MAX = 20

View = Callable[[Contract, Extras], dict[str, Any]]


class GetBody(msgspec.Struct, frozen=True):
    customer_id: str
    contract_id: str
    include_balance: bool = False
    include_ledgers: bool = False


class ListBody(msgspec.Struct, frozen=True):
    customer_id: str
    covering_date: Instant | None = None
    starting_at: Instant | None = None
    include_balance: bool = False
    include_ledgers: bool = False
    cursor: str | None = None
    limit: Annotated[int, msgspec.Meta(ge=1, le=_PAGE_MAX)] = _PAGE_MAX


class CardOverrideBody(msgspec.Struct, frozen=True):
    rate_card_id: str
    customer_id: str
    overrides: list[msgspec.Raw]


class ContractsApi:
    def __init__(self, service: Contracts) -> None:
        self._service = service

    def routes(self) -> list[Route]:
        def route(path: str, scope: Scope, handler: Callable[[Request], Any]) -> Route:
            return Route("POST", path, scope, handler, "contracts", customer_in_body)

        return [
            route("/v1/contracts/create", Scope.WRITE, self.create),
            route("/v1/contracts/get", Scope.READ, lambda request: self._get(request, contract_v1)),
            route("/v2/contracts/get", Scope.READ, lambda request: self._get(request, contract_v2)),
            route("/v1/contracts/list", Scope.READ, lambda request: self._list(request, contract_v1)),
            route("/v2/contracts/list", Scope.READ, lambda request: self._list(request, contract_v2)),
            route("/v1/rate-cards/override", Scope.WRITE, self.override_card),
        ]

    def create(self, request: Request) -> dict[str, Any]:
        body, tenant = read_contract_body(request.body), request.tenant
        customer = self._service.customers.get(tenant, body.customer_id)
        if customer.archived_at is not None:
            raise Unprocessable("the customer is archived", field="customer_id")
        card = self._service.rate_card_id(tenant, body.rate_card_id, body.rate_card_alias)
        contract = read_contract(
            body,
            customer_id=customer.id,
            rate_card_id=card,
            units=self._service.units_of(tenant, card),
            now=self._service.clock.now(),
            created_by=request.principal.key_id,
            new_id=_new_id,
        )
        self._service.create(tenant, contract, body.allow_overlap)
        return {"data": {"id": contract.id, "contract": contract_v2(contract, {})}}

    def override_card(self, request: Request) -> dict[str, Any]:
        """From now on, the customer pays these rates (in dollars) on every contract on the card."""
        body, tenant, now = request.json(CardOverrideBody), request.tenant, self._service.clock.now()
        customer = self._service.customers.get(tenant, body.customer_id)
        card = self._service.rate_card_id(tenant, body.rate_card_id, None)
        units = self._service.units_of(tenant, card)
        if not body.overrides:
            raise BadRequest("overrides is empty", field="overrides")
        overrides = [
            read_dollar_override(raw, f"overrides[{i}]", _new_id(), now, units)
            for i, raw in enumerate(body.overrides)
        ]
        changed = self._service.override_from_now(tenant, customer, card, overrides, now)
        return {"id": overrides[0].id, "data": {"override_ids": [o.id for o in overrides], "contract_ids": changed}}

    def _get(self, request: Request, view: View) -> dict[str, Any]:
        body = read(request.body, GetBody, unsupported=("as_of_date",))
        customer = self._service.customers.get(request.tenant, body.customer_id)
        stored = self._service.contract(request.tenant, customer, body.contract_id)
        return {"data": view(stored.value, self._extras(stored, body))}

    def _list(self, request: Request, view: View) -> dict[str, Any]:
        body = request.json(ListBody)
        if body.covering_date is not None and body.starting_at is not None:
            raise BadRequest("covering_date cannot stand beside starting_at", field="covering_date")
        customer = self._service.customers.get(request.tenant, body.customer_id)
        found = [
            stored
            for stored in self._service.of_customer(request.tenant, customer, decode_cursor(body.cursor))
            if (body.covering_date is None or body.covering_date in stored.value.span)
            and (body.starting_at is None or stored.value.start >= body.starting_at)
        ]
        rows = found[: body.limit]
        cursor = encode_cursor(rows[-1].item.sequence) if len(found) > body.limit else None
        # Metronome reads `cursor`; `next_page` is what every other list of this API says.
        data = [view(stored.value, self._extras(stored, body)) for stored in rows]
        return {"data": data, "cursor": cursor, "next_page": cursor}

    def _extras(self, stored: Stored[Contract], asked: GetBody | ListBody) -> Extras:
        """The balances and ledgers of the contract's commits and credits, where they were asked for."""
        if not (asked.include_balance or asked.include_ledgers):
            return {}
        contract, now, standing = stored.value, self._service.clock.now(), self._service.closing.standing(stored)
        posted = self._service.ledger.transactions(stored.tenant, contract.customer_id)
        return {
            balance.id: {
                "balance": to_api(spendable(balance, standing.live, now), balance.unit)
                if asked.include_balance
                else None,
                "ledger": ledger_view(balance, contract, standing, posted, now) if asked.include_ledgers else None,
            }
            for balance in contract.balances
        }


def _new_id() -> str:
    return str(uuid.uuid4())
