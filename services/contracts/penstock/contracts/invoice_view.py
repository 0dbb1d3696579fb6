"""Invoices in Metronome's shape, and the explanation of one: everything it was computed from, as data."""

from __future__ import annotations

from typing import Any

from penstock.contracts.agreement import GRACE
from penstock.contracts.edge import credit_type, to_api
from penstock.contracts.invoicing import Invoice, InvoiceLine, LineType
from penstock.kernel.money import Unit
from penstock.kernel.quantity import canonical, to_text


def invoice_view(invoice: Invoice, *, skip_zero_quantity: bool = False) -> dict[str, Any]:
    """`issued_at` is when period and grace are over, for a draft too."""
    lines = [
        _line_view(line, invoice.unit_of(line)) | _usage_view(invoice, line)
        for line in invoice.lines
        if not (skip_zero_quantity and line.quantity == 0)
    ]
    total = to_api(invoice.total, invoice.unit)
    return {
        "id": invoice.id,
        "type": "USAGE",
        "status": invoice.status.value,
        "billable_status": "billable",
        "customer_id": invoice.customer_id,
        "contract_id": invoice.contract_id,
        "credit_type": credit_type(invoice.unit),
        "start_timestamp": invoice.period.start,
        "end_timestamp": invoice.period.end,
        "issued_at": invoice.period.end + GRACE,
        "net_payment_terms_days": invoice.net_payment_terms_days,
        "subtotal": total,
        "total": total,
        "line_items": lines,
        "custom_fields": {},
        "invoice_adjustments": [],
    }


def _line_view(line: InvoiceLine, unit: Unit) -> dict[str, Any]:
    view = {
        "type": line.type.value,
        "name": line.name,
        "product_id": line.product_id,
        "product_type": None if line.product_id is None else "UsageProductListItem",
        "product_tags": list(line.product_tags),
        "credit_type": credit_type(unit),
        "starting_at": line.span.start,
        "ending_before": line.span.end,
        "pricing_group_values": {name: value for name, value in line.group_values if value is not None} or None,
        "quantity": line.quantity,
        "unit_price": None if line.unit_price is None else to_api(line.unit_price, unit),
        "total": to_api(line.total, unit),
        "tier": _tier_view(line),
    }
    return view | (_applied_view(line) if line.type is LineType.APPLIED else {})


def _usage_view(invoice: Invoice, line: InvoiceLine) -> dict[str, Any]:
    """Its rate, and what the meter counted of all that its charge is for, where terms make another quantity of it."""
    if line.type is not LineType.USAGE or line.charge is None:
        return {}
    charge, rate_type = invoice.charges[line.charge], {"rate_type": f"{line.kind.upper()}_RATE"}
    if charge.metered is None:
        return rate_type
    return rate_type | {
        "metered_quantity": canonical(charge.metered.quantity),
        "quantity_conversion": charge.metered.terms.conversion,
        "quantity_rounding": charge.metered.terms.rounding,
    }


def _tier_view(line: InvoiceLine) -> dict[str, Any] | None:
    if line.tier is None:
        return None
    size = None if line.tier.size is None else to_text(line.tier.size)
    return {"level": line.tier.level, "starting_at": to_text(line.tier.start), "size": size}


def _applied_view(line: InvoiceLine) -> dict[str, Any]:
    assert line.balance_kind is not None, "an applied line names its balance"
    return {
        "commit_id": line.balance_id,
        "commit_segment_id": line.segment_id,
        "commit_type": "PrepaidCommit",
        "applied_commit_or_credit": {"id": line.balance_id, "type": line.balance_kind.value, "access_type": "SPEND"},
    }


def explanation(invoice: Invoice) -> dict[str, Any]:
    """As of what, by which rules, from which charges and draws. Amounts are in major units.

    `charge` of a line and `line` of a draw are places in `charges`, counted from 0; both are in that charge's unit.
    """
    return {
        "invoice_id": invoice.id,
        "status": invoice.status.value,
        "contract_id": invoice.contract_id,
        "contract_revision": invoice.contract_revision,
        "engine_version": invoice.engine_version,
        "finalized_at": invoice.finalized_at,
        "period": invoice.period,
        "unit": invoice.unit,
        "amounts": "major units of the charge's unit, or else of the invoice's",
        "units": invoice.units,
        "vector": list(invoice.vector),
        "backfills": list(invoice.layers),
        "charges": list(invoice.charges),
        "draws": list(invoice.draws),
        "lines": list(invoice.lines),
        "total": invoice.total,
    }
