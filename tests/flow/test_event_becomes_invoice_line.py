"""READ FIRST: the whole way of an event, from a customer's first call to the line on the invoice, in order.

It talks to a real `penstock up` (and in test_roles.py to a service per process) with Metronome's official SDK,
unmodified but for its base URL, and strict: an answer that is not what the SDK's types promise fails the test. Prices
and invoices are in cents, as in Metronome's API.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

from builders import a_commit_body, a_metric_body, a_rate_body, a_sum_body, an_event, month_of, yesterday
from server import PenstockServer, eventually


def test_an_event_becomes_an_invoice_line(tmp_path: Path) -> None:
    with PenstockServer(tmp_path / "data") as server:
        the_whole_way(server)


def the_whole_way(server: PenstockServer, partitions: int = 1) -> None:
    """From a customer's first call to the line on the invoice. `partitions` is the log's."""
    acme = a_customer_signs(server, yesterday())
    its_calls_are_counted_and_drawn(acme)
    repeats_and_late_calls_count_once(acme)
    draft_id = its_draft_is_written(acme)
    its_month_ends_and_the_invoice_is_final(acme, draft_id)
    every_line_says_where_it_comes_from(acme, draft_id, partitions)
    what_the_commit_went_through_is_in_its_ledger(acme)


@dataclass(frozen=True)
class Acme:
    """A customer under contract, what is counted of it, and the day on which it calls."""

    server: PenstockServer
    id: str
    contract: str
    tokens_metric: str
    calls_metric: str
    day: datetime

    @property
    def next_day(self) -> datetime:
        return self.day + timedelta(days=1)


def a_customer_signs(server: PenstockServer, day: datetime) -> Acme:
    api = server.client
    month_start, _ = month_of(day)

    # A customer. Its events come under an alias of its own choosing.
    acme = api.v1.customers.create(name="Acme Robotics", ingest_aliases=["acme-prod"]).data.id

    # What is counted: tokens, by model and region; and calls.
    tokens_metric = api.v1.billable_metrics.create(**a_sum_body("tokens", group_keys=[["model", "region"]])).data.id
    calls_metric = api.v1.billable_metrics.create(**a_metric_body("calls")).data.id

    # What is sold: tokens, priced by model; calls, the first three dearer than the rest; prepayments.
    products = api.v1.contracts.products
    tokens = products.create(
        name="Tokens", type="USAGE", billable_metric_id=tokens_metric, pricing_group_key=["model"]
    ).data.id
    calls = products.create(name="Calls", type="USAGE", billable_metric_id=calls_metric).data.id
    prepayment = products.create(name="Prepayment", type="FIXED").data.id

    # What it costs everybody.
    card = api.v1.contracts.rate_cards.create(name="List prices").data.id
    for rate in (
        a_rate_body(tokens, month_start, price=0.5, pricing_group_values={"model": "large"}),
        a_rate_body(tokens, month_start, price=0.02, pricing_group_values={"model": "small"}),
        a_rate_body(calls, month_start, tiers=[{"size": 3, "price": 10}, {"price": 4}]),
    ):
        api.v1.contracts.rate_cards.rates.add(rate_card_id=card, **rate)

    # What it costs Acme: ten percent off tokens, and $25.00 of tokens paid in advance.
    contract = api.v1.contracts.create(
        customer_id=acme,
        rate_card_id=card,
        starting_at=month_start,
        overrides=[{"type": "MULTIPLIER", "multiplier": 0.9, "product_id": tokens, "starting_at": month_start}],
        commits=[
            a_commit_body(
                prepayment,
                2_500,
                month_start,
                month_start + timedelta(days=400),
                name="Prepaid tokens",
                applicable_product_ids=[tokens],
                priority=1,
            )
        ],
    ).data.id
    assert net_balance(server, acme) == 2_500
    return Acme(server, acme, contract, tokens_metric, calls_metric, day)


def its_calls_are_counted_and_drawn(acme: Acme) -> None:
    first, second, third = its_calls(acme.day)
    # Three calls of yesterday. The second is sent twice in one request.
    acme.server.client.v1.usage.ingest(usage=[first, second, second, third])

    # Each counts once, whatever it was sent as, within moments.
    eventually(
        lambda: acme.server.usage(acme.tokens_metric, acme.id, acme.day, acme.next_day, "DAY", ["model"]),
        {(acme.day, ("large",)): Decimal(3_000), (acme.day, ("small",)): Decimal(50_000)},
    )
    # 3,000 large tokens at 0.45 cents and 50,000 small ones at 0.018 cents: $13.50 and $9.00 of the $25.00.
    assert net_balance(acme.server, acme.id) == 2_500 - 1_350 - 900
    assert total_of_draft(acme.server, acme.id) == 30


def repeats_and_late_calls_count_once(acme: Acme) -> None:
    """As a retry, under another's id, in the day's last microsecond, and as the first to happen and last to arrive."""
    ingest = acme.server.client.v1.usage.ingest
    lying = a_call("call-1", acme.day, "large", "eu", 1_000_000)
    fourth = a_call("call-4", acme.next_day - timedelta(microseconds=1), "small", "us", 10_000)
    late = a_call("call-5", acme.day, "large", "eu", 500)
    ingest(usage=its_calls(acme.day))
    ingest(usage=[lying, fourth])
    ingest(usage=[late])

    eventually(
        lambda: acme.server.usage(acme.tokens_metric, acme.id, acme.day, acme.next_day, "DAY", ["model", "region"]),
        {
            (acme.day, ("large", "eu")): Decimal(1_500),
            (acme.day, ("large", "us")): Decimal(2_000),
            (acme.day, ("small", "eu")): Decimal(50_000),
            (acme.day, ("small", "us")): Decimal(10_000),
        },
    )
    hourly = acme.server.usage(acme.calls_metric, acme.id, acme.day, acme.next_day, "HOUR")
    assert {at.hour: calls for (at, _), calls in hourly.items()} == {0: 1, 9: 1, 10: 2, 23: 1}
    # The gateway let no repeat into the log.
    assert {outcome: events for outcome, events in acme.server.outcomes().items() if events} == {"counted": 5}


def its_draft_is_written(acme: Acme) -> str:
    """The id of the draft.

    Tokens cost 1,575 and 1,080 cents, of which the commit pays its 2,500, the large model's line first; five calls cost
    3 x 10 + 2 x 4.
    """
    assert net_balance(acme.server, acme.id) == 0
    draft = invoices(acme.server, acme.id)[0]
    assert (draft.status, draft.contract_id) == ("DRAFT", acme.contract)
    assert (draft.start_timestamp, draft.end_timestamp) == month_of(acme.day)
    assert lines_of(draft) == THE_LINES
    assert draft.total == 155 + 38
    return str(draft.id)


def its_month_ends_and_the_invoice_is_final(acme: Acme, draft_id: str) -> None:
    """A day after the month has ended the invoice is final, and the same."""
    _, month_end = month_of(acme.day)
    acme.server.advance_clock(month_end + timedelta(days=1, seconds=1))
    eventually(lambda: [invoice.status for invoice in invoices(acme.server, acme.id)][:1], ["FINALIZED"])
    final = acme.server.client.v1.customers.invoices.retrieve(customer_id=acme.id, invoice_id=draft_id).data
    assert lines_of(final) == THE_LINES
    assert final.total == 193
    assert final.issued_at is not None


def every_line_says_where_it_comes_from(acme: Acme, invoice_id: str, partitions: int) -> None:
    """What was used, at which price, by which override, as of which records."""
    explained = acme.server.raw.get(f"/v1/customers/{acme.id}/invoices/{invoice_id}/explain").json["data"]
    large = explained["charges"][0]
    assert (large["quantity"], large["group_values"]) == (3_500, [["model", "large"]])
    assert large["alternatives"][0]["price"]["unit_price"] == Decimal("0.0045")  # dollars
    assert large["alternatives"][0]["origin"]["override_id"]
    assert [(draw["line"], draw["amount"]) for draw in explained["draws"]] == [
        (0, Decimal("15.75")),
        (1, Decimal("9.25")),
    ]
    assert len(explained["vector"]) == partitions


def what_the_commit_went_through_is_in_its_ledger(acme: Acme) -> None:
    (commit,) = acme.server.client.v1.contracts.list_balances(
        customer_id=acme.id, include_ledgers=True, include_contract_balances=True
    )
    assert [(entry.type, entry.amount) for entry in commit.ledger or ()] == [
        ("PREPAID_COMMIT_SEGMENT_START", 2_500),
        ("PREPAID_COMMIT_AUTOMATED_INVOICE_DEDUCTION", -2_500),
    ]


# Type, model, quantity, price of one, cents.
THE_LINES = [
    ("usage", "Tokens", "large", 3_500, 0.45, 1_575),
    ("usage", "Tokens", "small", 60_000, 0.018, 1_080),
    ("usage", "Calls", None, 3, 10, 30),
    ("usage", "Calls", None, 2, 4, 8),
    ("applied_commit_or_credit", "Tokens (Prepaid tokens applied)", "large", None, None, -1_575),
    ("applied_commit_or_credit", "Tokens (Prepaid tokens applied)", "small", None, None, -925),
]


def a_call(transaction_id: str, at: Any, model: str, region: str, tokens: object) -> Any:
    properties = {"model": model, "region": region, "tokens": tokens}
    return an_event(transaction_id, customer_id="acme-prod", at=at, properties=properties)


def its_calls(day: datetime) -> list[Any]:
    return [
        a_call("call-1", day + timedelta(hours=9), "large", "eu", 1_000),
        a_call("call-2", day + timedelta(hours=10), "large", "us", "2000"),
        a_call("call-3", day + timedelta(hours=10, minutes=59), "small", "eu", 50_000),
    ]


def net_balance(server: PenstockServer, customer_id: str) -> float:
    return server.client.v1.contracts.get_net_balance(customer_id=customer_id).data.balance


def invoices(server: PenstockServer, customer_id: str) -> list[Any]:
    """The customer's invoices, the oldest period first."""
    return list(server.client.v1.customers.invoices.list(customer_id=customer_id, sort="date_asc"))


def total_of_draft(server: PenstockServer, customer_id: str) -> float:
    draft: float = invoices(server, customer_id)[0].total
    return draft


def lines_of(invoice: Any) -> list[tuple[Any, ...]]:
    return [
        (
            line.type,
            line.name,
            (line.pricing_group_values or {}).get("model"),
            line.quantity,
            line.unit_price,
            line.total,
        )
        for line in invoice.line_items
    ]
