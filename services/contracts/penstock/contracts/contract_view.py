"""Contracts, commits, credits and overrides in Metronome's shapes (v1 and v2)."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from penstock.contracts.agreement import Agreed, Contract
from penstock.contracts.balance import Balance, BalanceKind
from penstock.contracts.edge import credit_type, to_api
from penstock.kernel.contract import MultiplierTier, Override, OverrideKind, Specifier
from penstock.kernel.quantity import ZERO, exact

# What a view of a balance adds where it was asked for: its `balance` and its `ledger`.
Extras = Mapping[str, Mapping[str, Any]]


def balance_view(balance: Balance, contract: Contract, extras: Extras) -> dict[str, Any]:
    """A commit or a credit; its product by the name under which it was sold."""
    prepaid = balance.kind is BalanceKind.PREPAID
    items = [
        {
            "id": segment.id,
            "amount": to_api(segment.amount, balance.unit),
            "starting_at": segment.span.start,
            "ending_before": segment.span.end,
        }
        for segment in balance.segments
    ]
    return {
        "id": balance.id,
        "type": balance.kind.value,
        "name": balance.name,
        "description": balance.description,
        "created_at": balance.created_at,
        "created_by": contract.created_by,
        "product": {"id": balance.product_id, "name": balance.product_name},
        "contract": {"id": contract.id},
        "priority": balance.priority,
        "rate_type": balance.rate_type.value,
        "cost_basis": None if prepaid else ZERO,
        "applicable_product_ids": list(balance.product_ids) or None,
        "applicable_product_tags": list(balance.product_tags) or None,
        "applicable_contract_ids": [contract.id],
        "access_schedule": {
            "access_type": "SPEND",
            "credit_type": credit_type(balance.unit),
            "schedule_items": items,
        },
        "balance": None,
        "ledger": None,
        **extras.get(balance.id, {}),
    }


def contract_v2(contract: Contract, extras: Extras) -> dict[str, Any]:
    """As `POST /v2/contracts/get` answers."""
    return {
        "id": contract.id,
        "customer_id": contract.customer_id,
        **_terms(contract, extras),
        "archived_at": None,
        "usage_filter": [],
        "multiplier_override_prioritization": contract.prioritization.value,
        "uniqueness_key": contract.uniqueness_key,
    }


def contract_v1(contract: Contract, extras: Extras) -> dict[str, Any]:
    """As `POST /v1/contracts/get` answers. There are no amendments: what is current is what was agreed at first."""
    terms = _terms(contract, extras)
    return {
        "id": contract.id,
        "customer_id": contract.customer_id,
        "amendments": [],
        "initial": terms,
        "current": terms,
        "archived_at": None,
        "uniqueness_key": contract.uniqueness_key,
    }


def _terms(contract: Contract, extras: Extras) -> dict[str, Any]:
    views = {kind: [b for b in contract.balances if b.kind is kind] for kind in BalanceKind}
    return {
        "name": contract.name,
        "created_at": contract.created_at,
        "created_by": contract.created_by,
        "starting_at": contract.start,
        "ending_before": contract.end,
        "rate_card_id": contract.rate_card_id,
        "commits": [balance_view(balance, contract, extras) for balance in views[BalanceKind.PREPAID]],
        "credits": [balance_view(balance, contract, extras) for balance in views[BalanceKind.CREDIT]],
        "overrides": [override_view(agreed) for agreed in contract.overrides],
        "scheduled_charges": [],
        "transitions": [],
        "net_payment_terms_days": contract.net_payment_terms_days,
        "usage_statement_schedule": {
            "billing_anchor_date": contract.calendar.anchor,
            "frequency": contract.frequency.value,
        },
    }


def override_view(agreed: Agreed) -> dict[str, Any]:
    override = agreed.override
    tiers = _multiplier_tier_views(override.multiplier_tiers)
    return {
        "id": override.id,
        "type": override.kind.value,
        "created_at": agreed.created_at,
        "starting_at": override.start,
        "ending_before": override.end,
        "entitled": override.entitled,
        "priority": override.priority,
        "target": "LIST_RATE",
        "multiplier": override.multiplier,
        "override_tiers": tiers if override.kind is OverrideKind.TIERED else None,
        "override_specifiers": [_specifier_view(specifier) for specifier in override.specifiers],
        "overwrite_rate": _rate_view(override) if override.unit_price is not None or override.tiers else None,
    }


def _specifier_view(specifier: Specifier) -> dict[str, Any]:
    return {
        "product_id": specifier.product_id,
        "product_tags": list(specifier.product_tags) or None,
        "pricing_group_values": dict(specifier.group_values) or None,
    }


def _rate_view(override: Override) -> dict[str, Any]:
    flat = override.unit_price is not None
    return {
        "rate_type": "FLAT" if flat else "TIERED",
        "credit_type": credit_type(override.unit),
        "price": to_api(override.unit_price, override.unit) if override.unit_price is not None else None,
        "tiers": None if flat else _tier_views(override),
    }


@exact
def _tier_views(override: Override) -> list[dict[str, Any]]:
    starts = [ZERO, *(tier.up_to for tier in override.tiers if tier.up_to is not None)]
    return [
        {"price": to_api(tier.unit_price, override.unit), "size": _width(start, tier.up_to)}
        for start, tier in zip(starts, override.tiers, strict=False)
    ]


@exact
def _multiplier_tier_views(tiers: tuple[MultiplierTier, ...]) -> list[dict[str, Any]]:
    starts = [ZERO, *(tier.up_to for tier in tiers if tier.up_to is not None)]
    return [
        {"multiplier": tier.multiplier, "size": _width(start, tier.up_to)}
        for start, tier in zip(starts, tiers, strict=False)
    ]


def _width(start: Decimal, up_to: Decimal | None) -> Decimal | None:
    return None if up_to is None else up_to - start
