"""READ FIRST: the whole way of an event, from a customer's first call to the line on the invoice, in order.

It talks to a real `penstock up` (and in test_roles.py to a service per process) with Metronome's official SDK,
unmodified but for its base URL, and strict: an answer that is not what the SDK's types promise fails the test. Prices
and invoices are in cents, as in Metronome's API.
"""

from __future__ import annotations

from datetime import timedelta
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
    api = server.client
    day = yesterday()
    month_start, month_end = month_of(day)
    next_day = day + timedelta(days=1)

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

    # Three calls of yesterday. The second is sent twice in one request.
    first = a_call("call-1", day + timedelta(hours=9), "large", "eu", 1_000)
    second = a_call("call-2", day + timedelta(hours=10), "large", "us", "2000")
    third = a_call("call-3", day + timedelta(hours=10, minutes=59), "small", "eu", 50_000)
    api.v1.usage.ingest(usage=[first, second, second, third])

    # Each counts once, whatever it was sent as, within moments.
    eventually(
        lambda: server.usage(tokens_metric, acme, day, next_day, "DAY", ["model"]),
        {(day, ("large",)): Decimal(3_000), (day, ("small",)): Decimal(50_000)},
    )
    # 3,000 large tokens at 0.45 cents and 50,000 small ones at 0.018 cents: $13.50 and $9.00 of the $25.00.
    assert net_balance(server, acme) == 2_500 - 1_350 - 900
    assert total_of_draft(server, acme) == 30

    # A retry of an old request, a different event under a known id, the day's last microsecond, and one that
    # happened first and arrives last.
    lying = a_call("call-1", day, "large", "eu", 1_000_000)
    fourth = a_call("call-4", next_day - timedelta(microseconds=1), "small", "us", 10_000)
    late = a_call("call-5", day, "large", "eu", 500)
    api.v1.usage.ingest(usage=[first, second, third])
    api.v1.usage.ingest(usage=[lying, fourth])
    api.v1.usage.ingest(usage=[late])

    eventually(
        lambda: server.usage(tokens_metric, acme, day, next_day, "DAY", ["model", "region"]),
        {
            (day, ("large", "eu")): Decimal(1_500),
            (day, ("large", "us")): Decimal(2_000),
            (day, ("small", "eu")): Decimal(50_000),
            (day, ("small", "us")): Decimal(10_000),
        },
    )
    hourly = server.usage(calls_metric, acme, day, next_day, "HOUR")
    assert {at.hour: calls for (at, _), calls in hourly.items()} == {0: 1, 9: 1, 10: 2, 23: 1}
    # The gateway let no repeat into the log.
    assert {outcome: events for outcome, events in server.outcomes().items() if events} == {"counted": 5}

    # The draft invoice. Tokens cost 1,575 and 1,080 cents, of which the commit pays its 2,500, the large model's
    # line first; five calls cost 3 x 10 + 2 x 4.
    assert net_balance(server, acme) == 0
    draft = invoices(server, acme)[0]
    assert (draft.status, draft.contract_id, draft.start_timestamp, draft.end_timestamp) == (
        "DRAFT",
        contract,
        month_start,
        month_end,
    )
    assert lines_of(draft) == THE_LINES
    assert draft.total == 155 + 38

    # A day after the month has ended the invoice is final, and the same.
    server.advance_clock(month_end + timedelta(days=1, seconds=1))
    eventually(lambda: [invoice.status for invoice in invoices(server, acme)][:1], ["FINALIZED"])
    final = api.v1.customers.invoices.retrieve(customer_id=acme, invoice_id=draft.id).data
    assert lines_of(final) == THE_LINES
    assert final.total == 193
    assert final.issued_at is not None

    # Every line says where it comes from: what was used, at which price, by which override, as of which records.
    explained = server.raw.get(f"/v1/customers/{acme}/invoices/{draft.id}/explain").json["data"]
    large = explained["charges"][0]
    assert (large["quantity"], large["group_values"]) == (3_500, [["model", "large"]])
    assert large["alternatives"][0]["price"]["unit_price"] == Decimal("0.0045")  # dollars
    assert large["alternatives"][0]["origin"]["override_id"]
    assert [(draw["line"], draw["amount"]) for draw in explained["draws"]] == [
        (0, Decimal("15.75")),
        (1, Decimal("9.25")),
    ]
    assert len(explained["vector"]) == partitions

    # What the commit went through is in its ledger.
    (commit,) = api.v1.contracts.list_balances(customer_id=acme, include_ledgers=True, include_contract_balances=True)
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
