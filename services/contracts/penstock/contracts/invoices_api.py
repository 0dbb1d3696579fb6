"""Invoices over HTTP: drafts computed at this moment, final ones as they were decided, and what either came from."""

from __future__ import annotations

from typing import Any

from penstock.contracts.customers import Customer
from penstock.contracts.edge import choice, page_after
from penstock.contracts.invoice_view import explanation, invoice_view
from penstock.contracts.invoicing import Invoice, InvoiceStatus
from penstock.contracts.service import Contracts
from penstock.kernel.problems import BadRequest
from penstock.web.route import Request, Route, Scope, customer_in_path, customer_in_query

_PAGE_DEFAULT, _PAGE_MAX = 25, 100
_TYPES = ("USAGE", "USAGE_CONSOLIDATED", "SCHEDULED")


class InvoicesApi:
    def __init__(self, service: Contracts) -> None:
        self._service = service

    def routes(self) -> list[Route]:
        many = "/v1/customers/{customer_id}/invoices"
        return [
            Route("GET", many, Scope.READ, self.list_invoices, "contracts", customer_in_path),
            Route("GET", f"{many}/{{invoice_id}}", Scope.READ, self.get, "contracts", customer_in_path),
            Route("GET", f"{many}/{{invoice_id}}/explain", Scope.READ, self.explain, "contracts", customer_in_path),
            Route("GET", "/v1/invoices", Scope.READ, self.list_invoices, "contracts", customer_in_query),
        ]

    def list_invoices(self, request: Request) -> dict[str, Any]:
        customer, limit = self._customer(request), request.limit(_PAGE_DEFAULT, _PAGE_MAX)
        sort = request.query.get("sort", "date_asc").lower()
        if sort not in ("date_asc", "date_desc"):
            raise BadRequest("sort must be date_asc or date_desc", field="sort")
        found = [invoice for invoice in self._invoices(request, customer) if _is_wanted(request, invoice)]
        # The end of the period orders invoices by when they are issued; the rest only makes the order total.
        found.sort(key=lambda i: (i.period.end, i.period.start, i.contract_id), reverse=sort == "date_desc")
        skip = request.flag("skip_zero_qty_line_items")
        rows = [invoice_view(invoice, skip_zero_quantity=skip) for invoice in found]
        data, next_page = page_after(rows, request.query.get("next_page"), limit)
        return {"data": data, "next_page": next_page}

    def get(self, request: Request) -> dict[str, Any]:
        skip = request.flag("skip_zero_qty_line_items")
        return {"data": invoice_view(self._invoice(request), skip_zero_quantity=skip)}

    def explain(self, request: Request) -> dict[str, Any]:
        return {"data": explanation(self._invoice(request))}

    def _invoices(self, request: Request, customer: Customer) -> list[Invoice]:
        """Drafts are computed only where the status does not rule them out."""
        status, found = request.query.get("status"), []
        wanted = None if status is None else status.upper()
        if wanted == "VOID":
            return []
        only = None if wanted is None else choice(InvoiceStatus, wanted, "status")
        if only is not InvoiceStatus.FINALIZED:
            found += self._service.drafts(request.tenant, customer)
        if only is not InvoiceStatus.DRAFT:
            drafted = {invoice.id for invoice in found}  # one that became final in between is listed once
            final = self._service.closing.finalized(request.tenant, customer.id)
            found += [invoice for invoice in final if invoice.id not in drafted]
        return found

    def _invoice(self, request: Request) -> Invoice:
        return self._service.invoice(request.tenant, self._customer(request), request.path["invoice_id"])

    def _customer(self, request: Request) -> Customer:
        key = request.path.get("customer_id") or request.query.get("customer_id")
        if not key:
            raise BadRequest("customer_id is missing", field="customer_id")
        return self._service.customers.get(request.tenant, key)


def _is_wanted(request: Request, invoice: Invoice) -> bool:
    """The filters of the list, apart from the status."""
    starting_on, ending_before = request.instant("starting_on"), request.instant("ending_before")
    contract_id, type = request.query.get("contract_id"), request.query.get("type", "USAGE").upper()
    if type not in _TYPES:
        raise BadRequest(f"type must be one of {', '.join(_TYPES)}", field="type")
    return (
        type == "USAGE"
        and (contract_id is None or invoice.contract_id == contract_id)
        and request.query.get("credit_type_id", invoice.unit.id) == invoice.unit.id
        and (starting_on is None or invoice.period.start >= starting_on)
        and (ending_before is None or invoice.period.end <= ending_before)
    )
