"""What a preview and a backtest answer: old, new and difference, as decimal strings in major units."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from penstock.contracts.customers import Customer
from penstock.kernel.backtest import Compared, Preview, Tried
from penstock.kernel.charge import ChargeSet
from penstock.kernel.money import USD, Unit
from penstock.kernel.quantity import ZERO, exact


@exact
def row_view(tried: Tried, customers: Mapping[str, Customer], row: Compared) -> dict[str, Any]:
    """Amounts are decimal strings in major units."""
    terms = tried.terms
    periods = [
        {"starting_at": period.start, "ending_before": period.end, **_amounts(old, new, row.unit)}
        for period, old, new in zip(tried.periods, row.old, row.new, strict=True)
    ]
    return {
        "customer_id": terms.customer_id,
        "customer_name": customers[terms.customer_id].name,
        "contract_id": terms.contract_id,
        "rate_card_id": terms.rate_card_id,
        "currency": code_of(row.unit),
        **_amounts(sum(row.old, ZERO), sum(row.new, ZERO), row.unit),
        "periods": periods,
    }


@exact
def preview_view(preview: Preview) -> dict[str, Any]:
    return {
        "starting_at": preview.old.period.start,
        "ending_before": preview.old.period.end,
        "vector": list(preview.old.vector),
        "backfills": list(preview.old.layers),
        "totals": _totals_view(preview.old, preview.new),
        "old": {"charges": list(preview.old.charges)},
        "new": {"charges": list(preview.new.charges)},
    }


def _totals_view(old: ChargeSet, new: ChargeSet) -> list[dict[str, Any]]:
    """By unit, in the order of the charges."""
    by_old, by_new = _totals(old), _totals(new)
    return [
        {"currency": code_of(unit), **_amounts(by_old.get(unit, ZERO), by_new.get(unit, ZERO), unit)}
        for unit in {**by_old, **by_new}
    ]


def _totals(charge_set: ChargeSet) -> dict[Unit, Decimal]:
    totals: dict[Unit, Decimal] = {}
    for charge in charge_set.charges:
        totals[charge.unit] = totals.get(charge.unit, ZERO) + charge.list_amount
    return totals


def _amounts(old: Decimal, new: Decimal, unit: Unit) -> dict[str, str]:
    """With all the decimals of the unit: 12.50."""
    return {
        "old": format(old.quantize(unit.step), "f"),
        "new": format(new.quantize(unit.step), "f"),
        "difference": format((new - old).quantize(unit.step), "f"),
    }


def code_of(unit: Unit) -> str:
    """What the unit is called where amounts are in major units of it."""
    return "USD" if unit.id == USD.id else unit.name
