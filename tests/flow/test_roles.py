"""Each service by itself, on Kafka, ClickHouse and PostgreSQL: the same figures, and health that tells the truth."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from deploy.dev.clickhouse import clickhouse

from builders import a_metric_body, an_event, rfc3339, yesterday
from flow.test_event_becomes_invoice_line import the_whole_way
from kafka_part import a_topic
from penstock.app.cli import main
from penstock.app.settings import AGGREGATOR, CONTRACTS, GATEWAY, RATER
from roles import Services
from server import PenstockServer, RawClient, eventually

PARTITIONS = 2
pytestmark = pytest.mark.slow


@pytest.fixture
def services(tmp_path: Path, kafka_address: str, postgres_database_dsn: str) -> Iterator[Services]:
    with clickhouse(tmp_path / "clickhouse") as url:
        kafka = f"kafka://{kafka_address}/{a_topic()}"
        with Services(tmp_path / "services", kafka, url, postgres_database_dsn, PARTITIONS) as running:
            yield running


def test_four_processes_bill_as_one_does_and_tell_who_is_away(
    services: Services, capsys: pytest.CaptureFixture[str]
) -> None:
    """One test, for the sake of one start: the walk, then each sibling away and back, then a clean end."""
    gateway = services[GATEWAY]
    the_whole_way(gateway, PARTITIONS)
    a_backfill_goes_through_all_of_them(gateway)
    a_new_key_is_good_everywhere_at_once(services)
    assert main(["keys", "list", "--tables", services.tables]) == 0
    assert "reader" in capsys.readouterr().out
    without_the_rater(services)
    without_the_aggregator(services)
    without_the_gateway(services)
    services.stop()


def a_backfill_goes_through_all_of_them(gateway: PenstockServer) -> None:
    """Known to the aggregator, sent to the gateway, in force on both partitions, given up in the end."""
    gateway.client.v1.customers.create(name="Backfilled", ingest_aliases=["backfilled"])
    metric = gateway.client.v1.billable_metrics.create(**a_metric_body("COUNT")).data.id
    start, end = yesterday(), yesterday() + timedelta(hours=1)
    body = {"starting_on": rfc3339(start), "ending_before": rfc3339(end)}
    backfill = gateway.raw.post("/v1/backfills/create", body).json["data"]["id"]
    events = [an_event(f"sent-{n}", customer_id="backfilled", at=start) for n in range(20)]

    assert gateway.raw.post(f"/v1/ingest?backfill_id={backfill}", events).json["accepted"] == 20
    assert gateway.usage(metric, "backfilled", start, end) == {}
    assert gateway.raw.post("/v1/backfills/commit", {"id": backfill}).status == 200
    eventually(lambda: gateway.usage(metric, "backfilled", start, end), {(start, ()): 20})

    refused = gateway.raw.post(f"/v1/ingest?backfill_id={backfill}", events)
    assert (refused.status, refused.headers["x-should-retry"]) == (409, "false")
    assert gateway.raw.post("/v1/backfills/revert", {"id": backfill}).status == 200
    assert gateway.usage(metric, "backfilled", start, end) == {}


def a_new_key_is_good_everywhere_at_once(services: Services) -> None:
    made = services[GATEWAY].raw.post("/v1/api-keys", {"name": "reader", "scopes": ["read"]}).json["data"]
    reads = {
        GATEWAY: ("GET", "/v1/customers"),
        AGGREGATOR: ("GET", "/v1/billable-metrics"),
        RATER: ("POST", "/v1/contract-pricing/products/list"),
        CONTRACTS: ("GET", "/v1/customers"),
    }

    for role, request in reads.items():
        port = services[role].port
        assert RawClient(port, made["key"]).send(*request).status == 200
        assert RawClient(port, made["key"] + "x").send(*request).status == 401
    assert RawClient(services[CONTRACTS].port, made["key"]).post("/v1/customers", {"name": "New"}).status == 403


def without_the_rater(services: Services) -> None:
    gateway, contracts = services[GATEWAY], services[CONTRACTS]
    customer = gateway.raw.get("/v1/customers").json["data"][0]["id"]
    balance = ("/v1/contracts/customerBalances/getNetBalance", {"customer_id": customer})
    assert gateway.raw.post(*balance).status == 200

    services[RATER].stop()

    eventually(lambda: contracts.readyz()[0], 503)
    assert contracts.readyz()[1] == {"rater": "the rater did not answer: UNAVAILABLE"}
    eventually(lambda: gateway.readyz(), (200, {"rater": "the rater is not there"}))
    assert services[AGGREGATOR].readyz() == (200, {})
    for answer in (gateway.raw.post(*balance), gateway.raw.post("/v1/contract-pricing/products/list", {})):
        assert (answer.status, answer.headers["retry-after"]) == (503, "2")
        assert answer.json["type"] == "urn:penstock:problem:service-unavailable"

    services[RATER].start()
    eventually(lambda: contracts.readyz(), (200, {}))
    assert gateway.raw.post(*balance).status == 200


def without_the_aggregator(services: Services) -> None:
    gateway = services[GATEWAY]

    services[AGGREGATOR].stop()

    eventually(lambda: [services[role].readyz()[0] for role in (RATER, CONTRACTS)], [503, 503])
    eventually(lambda: gateway.readyz(), (200, {"aggregator": "the aggregator is not there"}))
    assert gateway.raw.get("/v1/billable-metrics").status == 503
    gateway.raw.ingest([an_event("while-away")])  # taken, and counted later

    services[AGGREGATOR].start()
    eventually(lambda: [services[role].readyz()[0] for role in (RATER, CONTRACTS)], [200, 200])
    eventually(lambda: gateway.raw.get("/v1/transactions/while-away").status, 200)


def without_the_gateway(services: Services) -> None:
    """Siblings go on with the keys that they have."""
    services[GATEWAY].kill9()

    eventually(lambda: services[CONTRACTS].readyz()[1], {"gateway": "the gateway did not answer: UNAVAILABLE"})
    assert services[CONTRACTS].raw.get("/v1/customers").status == 200

    services[GATEWAY].start()
    eventually(lambda: [services[role].readyz() for role in (AGGREGATOR, RATER, CONTRACTS)], [(200, {})] * 3)
