"""Customers over HTTP, in Metronome's shapes. A customer's id in a path may be any of its ingest aliases."""

from __future__ import annotations

from typing import Any

import msgspec

from penstock.contracts.customers import Customer
from penstock.contracts.service import Contracts
from penstock.web.page import decode_cursor, page
from penstock.web.route import Request, Route, Scope, customer_in_path

_PAGE_DEFAULT, _PAGE_MAX = 100, 100


class CustomerBody(msgspec.Struct, frozen=True):
    name: str
    ingest_aliases: list[str] | None = None
    external_id: str | None = None


class AliasesBody(msgspec.Struct, frozen=True):
    ingest_aliases: list[str]


class NameBody(msgspec.Struct, frozen=True):
    name: str


class IdBody(msgspec.Struct, frozen=True):
    id: str


class CustomersApi:
    def __init__(self, service: Contracts) -> None:
        self._service = service
        self._customers = service.customers

    def routes(self) -> list[Route]:
        one = "/v1/customers/{customer_id}"
        return [
            Route("POST", "/v1/customers", Scope.WRITE, self.create, "contracts"),
            Route("GET", "/v1/customers", Scope.READ, self.list_customers, "contracts"),
            Route("GET", one, Scope.READ, self.get, "contracts", customer_in_path),
            Route("POST", f"{one}/setIngestAliases", Scope.WRITE, self.set_aliases, "contracts"),
            Route("POST", f"{one}/setName", Scope.WRITE, self.rename, "contracts"),
            Route("POST", "/v1/customers/archive", Scope.WRITE, self.archive, "contracts"),
        ]

    def create(self, request: Request) -> dict[str, Any]:
        body = request.json(CustomerBody)
        external = [] if body.external_id is None else [body.external_id]
        customer = self._customers.create(request.tenant, body.name, [*external, *(body.ingest_aliases or ())])
        return {"data": _view(customer)}

    def list_customers(self, request: Request) -> dict[str, Any]:
        limit, after = request.limit(_PAGE_DEFAULT, _PAGE_MAX), decode_cursor(request.query.get("next_page"))
        ids, alias = request.query.get("customer_ids"), request.query.get("ingest_alias")
        wanted = None if ids is None else set(ids.split(","))
        archived = request.flag("only_archived")
        found = [
            (place, customer)
            for place, customer in self._customers.list(request.tenant, after)
            if (customer.archived_at is not None) == archived
            and (wanted is None or customer.id in wanted)
            and (alias is None or alias in customer.aliases)
        ][: limit + 1]
        last = found[:limit][-1][0] if found else None
        return page([_detail(customer) for _, customer in found], limit, last)

    def get(self, request: Request) -> dict[str, Any]:
        return {"data": _detail(self._customers.get(request.tenant, request.path["customer_id"]))}

    def set_aliases(self, request: Request) -> dict[str, Any]:
        aliases = request.json(AliasesBody).ingest_aliases
        self._customers.set_aliases(request.tenant, request.path["customer_id"], aliases)
        return {}

    def rename(self, request: Request) -> dict[str, Any]:
        name = request.json(NameBody).name
        return {"data": _view(self._customers.rename(request.tenant, request.path["customer_id"], name))}

    def archive(self, request: Request) -> dict[str, Any]:
        customer = self._service.archive(request.tenant, request.json(IdBody).id)
        return {"data": {"id": customer.id}}


def _view(customer: Customer) -> dict[str, Any]:
    return {
        "id": customer.id,
        "name": customer.name,
        "external_id": customer.aliases[0] if customer.aliases else customer.id,
        "ingest_aliases": list(customer.aliases),
        "custom_fields": {},
    }


def _detail(customer: Customer) -> dict[str, Any]:
    return _view(customer) | {
        "customer_config": {"salesforce_account_id": None},
        "created_at": customer.created_at,
        "updated_at": customer.updated_at,
        "archived_at": customer.archived_at,
    }
