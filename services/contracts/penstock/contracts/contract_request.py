"""A contract as a caller writes it -> a `Contract`, whole or not at all."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from decimal import Decimal

import msgspec

from penstock.contracts.agreement import FAR, Agreed, Contract, Frequency, calendar_of
from penstock.contracts.balance import Balance, BalanceKind
from penstock.contracts.balance_request import Term, read_balance
from penstock.contracts.edge import NULL, Instant, choice, is_given, number, read, utc
from penstock.contracts.override_request import read_override
from penstock.kernel.card_units import CardUnits
from penstock.kernel.contract import OverrideKind, Prioritization
from penstock.kernel.problems import BadRequest
from penstock.kernel.window import Span

BALANCES_MAX = 200
OVERRIDES_MAX = 1_000
_UNSUPPORTED = (
    "billing_provider_configuration",
    "custom_fields",
    "discounts",
    "hierarchy_configuration",
    "netsuite_sales_order_id",
    "package_alias",
    "package_id",
    "prepaid_balance_threshold_configuration",
    "professional_services",
    "recurring_commits",
    "recurring_credits",
    "reseller_royalties",
    "revenue_system_configuration",
    "salesforce_opportunity_id",
    "scheduled_charges",
    "scheduled_charges_on_usage_invoices",
    "spend_threshold_configuration",
    "spend_trackers",
    "subscriptions",
    "total_contract_value",
    "transition",
    "usage_filter",
)


class ScheduleBody(msgspec.Struct, frozen=True):
    frequency: str
    day: str = "FIRST_OF_MONTH"
    billing_anchor_date: Instant | None = None


class ContractBody(msgspec.Struct, frozen=True):
    """`customer_id` may be an ingest alias. `allow_overlap` is ours: two contracts may bill the same usage."""

    customer_id: str
    starting_at: Instant
    ending_before: Instant | None = None
    rate_card_id: str | None = None
    rate_card_alias: str | None = None
    name: str | None = None
    commits: list[msgspec.Raw] | None = None
    credits: list[msgspec.Raw] | None = None
    overrides: list[msgspec.Raw] | None = None
    usage_statement_schedule: msgspec.Raw = NULL
    multiplier_override_prioritization: str = "LOWEST_MULTIPLIER"
    net_payment_terms_days: Decimal | None = None
    uniqueness_key: str | None = None
    allow_overlap: bool = False


def read_contract_body(body: bytes) -> ContractBody:
    """The outer shape, checked: dates, limits, and nothing that is not supported yet."""
    contract = read(body, ContractBody, unsupported=_UNSUPPORTED)
    if contract.ending_before is not None and contract.ending_before <= contract.starting_at:
        raise BadRequest("ending_before is not after starting_at", field="ending_before")
    if contract.rate_card_id is None and contract.rate_card_alias is None:
        raise BadRequest("rate_card_id or rate_card_alias is missing", field="rate_card_id")
    for field, parts, most in (
        ("commits", contract.commits, BALANCES_MAX),
        ("credits", contract.credits, BALANCES_MAX),
        ("overrides", contract.overrides, OVERRIDES_MAX),
    ):
        if len(parts or ()) > most:
            raise BadRequest(f"more than {most} {field}", field=field)
    return contract


def read_contract(
    body: ContractBody,
    *,
    customer_id: str,
    rate_card_id: str,
    units: CardUnits,
    now: datetime,
    created_by: str,
    new_id: Callable[[], str],
) -> Contract:
    """`units` are the card's. Raise `BadRequest` or `Unprocessable` naming the field."""
    id, start = new_id(), utc(body.starting_at)
    end = None if body.ending_before is None else utc(body.ending_before)
    frequency, anchor = _schedule(body.usage_statement_schedule, start)
    terms = body.net_payment_terms_days
    contract = Contract(
        id=id,
        customer_id=customer_id,
        rate_card_id=rate_card_id,
        start=start,
        end=end,
        frequency=frequency,
        calendar=calendar_of(frequency, anchor),
        created_at=now,
        created_by=created_by,
        balances=_balances(body, now, Term(id, Span(start, end or FAR), units, new_id)),
        overrides=tuple(
            Agreed(now, read_override(raw, f"overrides[{i}]", new_id(), units))
            for i, raw in enumerate(body.overrides or ())
        ),
        prioritization=choice(
            Prioritization, body.multiplier_override_prioritization, "multiplier_override_prioritization"
        ),
        name=body.name,
        net_payment_terms_days=None if terms is None else number(terms, "net_payment_terms_days"),
        uniqueness_key=body.uniqueness_key,
    )
    _check_priorities(contract)
    return contract


def _balances(body: ContractBody, now: datetime, term: Term) -> tuple[Balance, ...]:
    """Commits, then credits; each a microsecond younger than the one before: the order given breaks ties."""
    given = [(BalanceKind.PREPAID, f"commits[{i}]", raw) for i, raw in enumerate(body.commits or ())]
    given += [(BalanceKind.CREDIT, f"credits[{i}]", raw) for i, raw in enumerate(body.credits or ())]
    return tuple(
        read_balance(raw, at, kind, now + timedelta(microseconds=place), term)
        for place, (kind, at, raw) in enumerate(given)
    )


def _schedule(raw: msgspec.Raw, start: datetime) -> tuple[Frequency, datetime]:
    """How often, and the anchor from which periods are counted; monthly from the first of the month unless told."""
    at = "usage_statement_schedule"
    if not is_given(raw):
        return Frequency.MONTHLY, _first_of_month(start)
    body = read(raw, ScheduleBody, at, ("invoice_generation_starting_at",))
    frequency, day = choice(Frequency, body.frequency, f"{at}.frequency"), body.day.upper()
    if day != "CUSTOM_DATE" and body.billing_anchor_date is not None:
        raise BadRequest(f"{at}.billing_anchor_date goes with day CUSTOM_DATE", field=f"{at}.billing_anchor_date")
    if day == "FIRST_OF_MONTH":
        return frequency, _first_of_month(start)
    if day == "CONTRACT_START":
        return frequency, start
    if day != "CUSTOM_DATE":
        raise BadRequest(f"{at}.day must be FIRST_OF_MONTH, CONTRACT_START or CUSTOM_DATE", field=f"{at}.day")
    if body.billing_anchor_date is None:
        raise BadRequest(f"{at}.billing_anchor_date is missing", field=f"{at}.billing_anchor_date")
    return frequency, utc(body.billing_anchor_date)


def _first_of_month(instant: datetime) -> datetime:
    return instant.replace(day=1, hour=0, minute=0, second=0, microsecond=0)


def _check_priorities(contract: Contract) -> None:
    """EXPLICIT prioritization needs a priority on whatever it has to put in order."""
    if contract.prioritization is not Prioritization.EXPLICIT:
        return
    for i, agreed in enumerate(contract.overrides):
        if agreed.override.kind is not OverrideKind.OVERWRITE and agreed.override.priority is None:
            field = f"overrides[{i}].priority"
            raise BadRequest(f"{field} is missing: prioritization is EXPLICIT", field=field)
