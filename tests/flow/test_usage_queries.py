"""Usage over HTTP: Metronome's SDK as it is, and what Penstock answers beside it, on the same two routes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from builders import Body, a_sum_body, an_event, rfc3339, yesterday
from server import Answer, PenstockServer, RawClient, eventually

DAY = yesterday()
END = DAY + timedelta(days=1)
DAYS: Any = {"starting_on": DAY, "ending_before": END}
# Hour, customer, model, region, units. In New York all of it is the day before, up to hour 4 or 5.
USED: list[tuple[int, str, str | None, str, int]] = [
    (1, "acme", "large", "eu", 1),
    (1, "acme", "small", "eu", 2),
    (1, "acme-eu", "small", "us", 4),
    (8, "acme", None, "us", 8),
    (8, "globex", "large", "eu", 16),
]


@dataclass(frozen=True)
class Shop:
    """A server with two customers and a metric by model and region."""

    server: PenstockServer
    metric: str
    acme: str
    globex: str

    def groups(self, fields: Body, query: str = "") -> Answer:
        body: Body = {"billable_metric_id": self.metric, "window_size": "NONE", **DAYS, **fields}
        return self.server.raw.post("/v1/usage/groups" + query, body)

    def rows(self, **fields: object) -> list[Body]:
        answer = self.groups(fields)
        assert answer.status == 200, answer
        return list(answer.json["data"])


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    with PenstockServer(tmp_path_factory.mktemp("usage") / "data") as server:
        api = server.client.v1
        metric = api.billable_metrics.create(**a_sum_body("units", group_keys=[["model", "region"]])).data.id
        acme = api.customers.create(name="Acme", ingest_aliases=["acme", "acme-eu"]).data.id
        globex = api.customers.create(name="Globex", ingest_aliases=["globex"]).data.id
        server.raw.ingest(
            an_event(
                f"event-{n}",
                customer_id=customer,
                at=DAY + timedelta(hours=hour),
                properties={"units": units, "model": model, "region": region},
            )
            for n, (hour, customer, model, region, units) in enumerate(USED)
        )
        made = Shop(server, metric, acme, globex)
        eventually(lambda: [row["value"] for row in made.rows(customer_ids=[acme, globex], by_customer=False)], [31])
        yield made


def test_the_sdk_lists_figures_over_pages(shop: Shop) -> None:
    usage = shop.server.client.v1.usage
    page = usage.list(window_size="HOUR", extra_query={"limit": 7}, **DAYS)
    rows = [*page.data]
    while page.next_page is not None:
        page = usage.list(window_size="HOUR", next_page=page.next_page, extra_query={"limit": 7}, **DAYS)
        rows += page.data

    assert [row.customer_id for row in rows] == [id for id in sorted([shop.acme, shop.globex]) for _ in range(24)]
    used = {(row.customer_id, row.start_timestamp.hour): row.value for row in rows if row.value}
    assert used == {(shop.acme, 1): 7, (shop.acme, 8): 8, (shop.globex, 8): 16}


def test_the_sdk_lists_groups_over_pages(shop: Shop) -> None:
    rows = shop.server.client.v1.usage.list_with_groups(
        billable_metric_id=shop.metric,
        customer_id=shop.acme,
        window_size="DAY",
        group_key=["model", "region"],
        limit=1,
        **DAYS,
    )

    assert [(row.group, row.value) for row in rows] == [
        ({"region": "us"}, 8),
        ({"model": "large", "region": "eu"}, 1),
        ({"model": "small", "region": "eu"}, 2),
        ({"model": "small", "region": "us"}, 4),
    ]


def test_the_sdk_takes_penstocks_own_fields_as_extra_ones(shop: Shop) -> None:
    rows = shop.server.client.v1.usage.list_with_groups(
        billable_metric_id=shop.metric,
        customer_id=shop.acme,
        window_size="NONE",
        group_key=["model"],
        group_filters={"region": ["eu", "us"]},
        extra_body={"top": 1, "other": True},
        **DAYS,
    )

    assert [(row.group, row.value) for row in rows] == [({}, 8), ({}, 7)]


def test_several_customers_are_one_question(shop: Shop) -> None:
    rows = shop.rows(customer_ids=["acme", shop.globex], group_key=["model"], group_filters_not_in={"region": ["us"]})

    found = {(row["customer_id"], row["group_value"]): row["value"] for row in rows}
    assert found == {(shop.acme, "large"): 1, (shop.acme, "small"): 2, (shop.globex, "large"): 16}


def test_a_key_of_one_customer_asks_for_that_one_alone(shop: Shop) -> None:
    made = shop.server.raw.post("/v1/api-keys", {"name": "own", "scopes": ["read"], "customer_id": shop.acme})
    own = RawClient(shop.server.port, made.json["data"]["key"])
    body: Body = {"billable_metric_id": shop.metric, **DAYS}

    def status(**named: object) -> int:
        return own.post("/v1/usage/groups", {**body, **named}).status

    assert status(customer_ids=[shop.acme]) == status(customer_id=shop.acme) == 200
    assert status(customer_ids=[shop.acme, shop.globex]) == status(customer_ids=[]) == status() == 403
    assert status(customer_id=shop.acme, customer_ids=[shop.globex]) == 403


@pytest.mark.parametrize("zone", ["UTC", "America/New_York", "Asia/Kolkata"])
def test_days_and_months_are_those_of_the_zone(shop: Shop, zone: str) -> None:
    wide = {"starting_on": DAY - timedelta(days=1), "ending_before": END + timedelta(days=1), "time_zone": zone}

    days = shop.rows(customer_id=shop.acme, window_size="DAY", **wide)
    months = shop.rows(customer_id=shop.acme, window_size="month", **wide)

    parts = [1 + 2 + 4, 8] if zone == "America/New_York" else [15]
    assert [row["value"] for row in days] == parts
    assert sum(row["value"] for row in months) == 15
    quarters = shop.rows(customer_id=shop.acme, window_size="QUARTER", **wide)
    assert {datetime.fromisoformat(row["starting_on"]): row["value"] for row in quarters} == {
        DAY + timedelta(hours=1): Decimal(7),
        DAY + timedelta(hours=8): Decimal(8),
    }


def test_an_error_names_its_field(shop: Shop) -> None:
    wrong: dict[str, Body] = {
        "time_zone": {"time_zone": "Mars/Olympus"},
        "top": {"top": 0, "group_key": ["model"]},
        "group_filters_not_in": {"group_filters_not_in": {"color": ["red"]}},
        "customer_ids": {"customer_id": None, "customer_ids": []},
    }
    for field, fields in wrong.items():
        answer = shop.groups({"customer_id": shop.acme, **fields})
        assert (answer.status in (400, 404), answer.json["field"]) == (True, field), answer
    cursor = shop.groups({"customer_id": shop.acme}, "?next_page=bm90IGpzb24")
    assert (cursor.status, cursor.json["field"]) == (400, "next_page")


def test_a_repeated_question_is_answered_from_the_cache(shop: Shop) -> None:
    def hits() -> float:
        lines = shop.server.raw.get("/metrics").body.decode().splitlines()
        found = [line for line in lines if line.startswith('penstock_usage_cache_lookups_total{result="hit"}')]
        return sum(float(line.split()[-1]) for line in found)

    before = hits()
    asked = {"customer_id": shop.acme, "ending_before": rfc3339(DAY + timedelta(hours=9)), "group_key": ["region"]}
    first, second = shop.rows(**asked), shop.rows(**asked)

    assert first == second
    assert hits() > before
