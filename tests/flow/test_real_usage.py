"""Real usage, out of order and with retries, through HTTP: usage and invoices equal the reference model's to the cent.

It reads ../shared/data/azure_llm_inference_code_2023.csv and is skipped, by name, where that file is absent.
"""

from __future__ import annotations

from collections import defaultdict
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

from builders import Body, a_commit_body, a_rate_body, decimal_sum, month_of, rfc3339, yesterday
from real_usage import (
    CUSTOMER_ALIAS,
    EVENTS,
    INPUT_TOKENS,
    METRICS,
    OUTPUT_TOKENS,
    real_events,
    shuffled_with_retries,
)
from reference import Invoice, World
from server import PenstockServer, eventually

TOTALS = {"events": EVENTS, "input": INPUT_TOKENS, "output": OUTPUT_TOKENS}
BOTH = ("model", "region")
VIEWS: tuple[tuple[str, tuple[str, ...]], ...] = (
    *((size, by) for size in ("QUARTER", "HOUR", "NONE") for by in ((), BOTH)),
    *(("DAY", by) for by in ((), ("model",), ("region",), BOTH)),
)


def test_real_usage_is_counted_and_billed_exactly(tmp_path: Path) -> None:
    sent = shuffled_with_retries(real_events())
    assert len(sent) == EVENTS + 881
    with PenstockServer(tmp_path / "data") as server:
        customer_id = server.client.v1.customers.create(name="Azure", ingest_aliases=[CUSTOMER_ALIAS]).data.id
        world = sell(server, customer_id, sent)
        server.raw.ingest(sent, batch_size=500)
        day, end = yesterday(), yesterday() + timedelta(days=1)
        ids = dict(zip(TOTALS, world.metrics, strict=True))
        eventually(
            lambda: {name: server.usage(ids[name], customer_id, day, end) for name in TOTALS},
            {name: {(day, ()): Decimal(total)} for name, total in TOTALS.items()},
        )

        assert_every_window_and_group_adds_up(server, world, customer_id)
        month_start, month_end = month_of(day)
        expected = world.invoices(month_end)[0][0]
        assert expected.total > 0
        assert len({name for name, _, _ in expected.draws}) == 2, "both commits pay"
        assert_billed(server, customer_id, "DRAFT", expected)
        balance = server.client.v1.contracts.get_net_balance(customer_id=customer_id).data.balance
        assert balance == world.net_balance(datetime.now(UTC))

        server.advance_clock(month_end + timedelta(days=1, seconds=1))
        eventually(lambda: invoice_of(server, customer_id, month_start)["status"], "FINALIZED")
        assert_billed(server, customer_id, "FINALIZED", expected)

        server.stop()
        server.start()
        assert_billed(server, customer_id, "FINALIZED", expected)
        assert server.usage(ids["input"], customer_id, day, end) == {(day, ()): INPUT_TOKENS}


def sell(server: PenstockServer, customer_id: str, sent: list[Body]) -> World:
    """Metrics, products, rates and a contract, told to the API and to the reference model in the same words."""
    api = server.client.v1
    day = yesterday()
    month_start, _ = month_of(day)
    metrics = {api.billable_metrics.create(**body).data.id: body for body in METRICS.values()}
    events, inputs, outputs = metrics
    bodies: list[Body] = [
        {"name": "Calls", "billable_metric_id": events},
        {"name": "Input", "billable_metric_id": inputs, "pricing_group_key": ["model"], "tags": ["tokens"]},
        {"name": "Output", "billable_metric_id": outputs, "tags": ["tokens"]},
    ]
    products = {api.contracts.products.create(type="USAGE", **body).data.id: body for body in bodies}
    calls, tokens_in, tokens_out = products
    prices = {"large": 0.003, "medium": 0.0015, "small": 0.00025}
    rates = [
        a_rate_body(calls, month_start, price=0.017),
        *(
            a_rate_body(tokens_in, month_start, price=price, pricing_group_values={"model": model})
            for model, price in prices.items()
        ),
        a_rate_body(tokens_out, month_start, tiers=[{"size": 50_000, "price": 0.12}, {"price": 0.06}]),
        # A new price list in the middle of a window; the tier counter goes on.
        a_rate_body(tokens_out, day + timedelta(hours=18, minutes=37, seconds=11), tiers=TIERS_FROM_18_37),
    ]
    card = api.contracts.rate_cards.create(name="List prices").data.id
    server_rates = [{**rate, "starting_at": rfc3339(rate["starting_at"])} for rate in rates]
    answer = server.raw.post("/v1/contract-pricing/rate-cards/addRates", {"rate_card_id": card, "rates": server_rates})
    assert answer.status == 200, answer
    contract: Body = {"starting_at": month_start, **terms(tokens_in, tokens_out, calls)}
    api.contracts.create(customer_id=customer_id, rate_card_id=card, **contract)
    return World(sent, {customer_id, CUSTOMER_ALIAS}, metrics, products, rates, contract)


TIERS_FROM_18_37 = [{"size": 60_000, "price": 0.13}, {"size": 100_000, "price": 0.05}, {"price": 0.01}]


def terms(tokens_in: str, tokens_out: str, calls: str) -> Body:
    """Overrides of two kinds, one of them for some hours only, and two commits, one of them for minutes only."""
    day = yesterday()
    month_start, _ = month_of(day)
    return {
        "overrides": [
            {
                "type": "MULTIPLIER",
                "multiplier": 0.85,
                "starting_at": month_start,
                "override_specifiers": [{"product_id": tokens_in, "pricing_group_values": {"model": "large"}}],
            },
            {
                "type": "OVERWRITE",
                "overwrite_rate": {"rate_type": "FLAT", "price": 0.011},
                "product_id": calls,
                "starting_at": day + timedelta(hours=18, minutes=30),
                "ending_before": day + timedelta(hours=19),
            },
        ],
        "commits": [
            a_commit_body(
                calls,
                50_000,
                month_start,
                month_start + timedelta(days=400),
                name="Year",
                priority=2,
                applicable_product_ids=[tokens_in, calls],
            ),
            a_commit_body(
                calls,
                7_000,
                day + timedelta(hours=18, minutes=25, seconds=30),
                day + timedelta(hours=18, minutes=50),
                name="Launch",
                priority=1,
                applicable_product_ids=[tokens_out],
            ),
        ],
    }


def assert_every_window_and_group_adds_up(server: PenstockServer, world: World, customer_id: str) -> None:
    day, end = yesterday(), yesterday() + timedelta(days=1)
    for metric_id, total in zip(world.metrics, TOTALS.values(), strict=True):
        for size, by in VIEWS:
            found = server.usage(metric_id, customer_id, day, end, size, by)

            assert found == world.usage(metric_id, day, end, size, by), (size, by)
            assert decimal_sum(found.values()) == total, (size, by)


def invoice_of(server: PenstockServer, customer_id: str, month_start: datetime) -> Any:
    """The invoice of the month, with exact numbers."""
    answer = server.raw.get(f"/v1/customers/{customer_id}/invoices")
    assert answer.status == 200, answer
    (invoice,) = (i for i in answer.json["data"] if datetime.fromisoformat(i["start_timestamp"]) == month_start)
    return invoice


def assert_billed(server: PenstockServer, customer_id: str, status: str, expected: Invoice) -> None:
    invoice = invoice_of(server, customer_id, expected.start)
    usage: dict[Any, Decimal] = defaultdict(Decimal)
    draws: dict[Any, Decimal] = defaultdict(Decimal)
    for line in invoice["line_items"]:
        model = (line["pricing_group_values"] or {}).get("model")
        if line["type"] == "usage":
            usage[line["product_id"], model, datetime.fromisoformat(line["starting_at"])] += line["total"]
        else:
            draws[line["product_id"]] -= line["total"]
    paid: dict[Any, Decimal] = defaultdict(Decimal)
    for _, product_id, cents in expected.draws:
        paid[product_id] += cents

    assert invoice["status"] == status
    assert usage == {(c.product_id, c.groups.get("model"), c.start): c.total for c in expected.charges}
    assert draws == paid
    assert invoice["total"] == expected.total
