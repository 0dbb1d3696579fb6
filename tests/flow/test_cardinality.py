"""Too many groups on a day: usage and invoice refuse by name, no event is lost, and a higher limit answers again."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from builders import a_rate_body, a_sum_body, an_event, month_of, rfc3339, yesterday
from server import Answer, PenstockServer, eventually

DAY = yesterday()
NEXT_DAY = DAY + timedelta(days=1)
SETTING = "PENSTOCK_GROUP_COMBINATIONS_MAX"
REGIONS = ("eu", "us", "asia", "africa")


@pytest.mark.slow
def test_a_metric_beyond_its_group_combinations_has_no_figures_until_its_limit_is_raised(tmp_path: Path) -> None:
    _, month_end = month_of(DAY)
    with PenstockServer(tmp_path / "data", env={SETTING: "3"}) as server:
        customer, metric = a_priced_metric(server)
        events = [
            an_event(f"e-{region}", customer_id="acme", at=DAY, properties={"units": 2, "region": region})
            for region in REGIONS
        ]
        server.raw.ingest(events[:3])
        eventually(lambda: server.usage(metric, customer, DAY, NEXT_DAY), {(DAY, ()): Decimal(6)})
        server.raw.ingest(events[3:])
        eventually(lambda: asked(server, metric, customer), (422, "urn:penstock:problem:cardinality-exceeded"))
        named = f"billable metric {metric} has more than 3 group combinations on {DAY.date()}"
        assert named in usage_answer(server, metric, customer).json["detail"]
        assert server.outcomes()["counted"] == 4
        eventually(lambda: f'metric="{metric}"' in server.raw.get("/metrics").body.decode(), True)

        server.advance_clock(month_end + timedelta(days=1, seconds=1))
        eventually(lambda: f"stays open: {named}" in server.output_file.read_text(), True)
        assert invoices(server, customer).status == 422
        too_high = server.raw.post("/v1/billable-metrics/update", {"id": metric, "group_combinations_max": 4})
        assert (too_high.status, too_high.json["field"]) == (400, "group_combinations_max")
        server.stop()

        server.start({SETTING: "4"})
        assert asked(server, metric, customer)[0] == 422
        raised = server.raw.post("/v1/billable-metrics/update", {"id": metric, "group_combinations_max": 4})
        assert raised.json["data"]["revision"] == 1
        eventually(lambda: asked(server, metric, customer)[0], 200)
        assert server.usage(metric, customer, DAY, NEXT_DAY, by=["region"]) == {(DAY, (r,)): 2 for r in REGIONS}
        eventually(lambda: first_of(invoices(server, customer)), ("FINALIZED", 8))


def first_of(answer: Answer) -> tuple[str, Decimal]:
    """Status and total, in cents, of the first invoice."""
    invoice = answer.json["data"][0]
    return invoice["status"], invoice["total"]


def a_priced_metric(server: PenstockServer) -> tuple[str, str]:
    """A customer whose contract prices a unit at a cent; the ids of the customer and the metric."""
    api, month_start = server.client, month_of(DAY)[0]
    customer = api.v1.customers.create(name="Acme", ingest_aliases=["acme"]).data.id
    metric = api.v1.billable_metrics.create(**a_sum_body("units", group_keys=[["region"]])).data.id
    product = api.v1.contracts.products.create(name="Units", type="USAGE", billable_metric_id=metric).data.id
    card = api.v1.contracts.rate_cards.create(name="List prices").data.id
    api.v1.contracts.rate_cards.rates.add(rate_card_id=card, **a_rate_body(product, month_start, price=1))
    api.v1.contracts.create(customer_id=customer, rate_card_id=card, starting_at=month_start)
    return customer, metric


def usage_answer(server: PenstockServer, metric: str, customer: str) -> Answer:
    return server.raw.post(
        "/v1/usage/groups",
        {
            "billable_metric_id": metric,
            "customer_id": customer,
            "window_size": "NONE",
            "starting_on": rfc3339(DAY),
            "ending_before": rfc3339(NEXT_DAY),
        },
    )


def asked(server: PenstockServer, metric: str, customer: str) -> tuple[int, str]:
    answer = usage_answer(server, metric, customer)
    return answer.status, answer.json.get("type", "")


def invoices(server: PenstockServer, customer: str) -> Answer:
    return server.raw.get(f"/v1/customers/{customer}/invoices?sort=date_asc")
