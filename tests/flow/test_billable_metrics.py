"""Billable metrics over HTTP: every filter and aggregation, metrics that come after their events, and their changes."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

import reference
from builders import Body, a_metric_body, a_sum_body, an_event, rfc3339, yesterday
from level_reference import level_time
from server import PenstockServer, eventually

DAY = yesterday()
END = DAY + timedelta(days=1)
MODELS = ("large", "small", None, "large", "tiny", True, 1)
EVENTS: list[Body] = [
    an_event(
        f"event-{n}",
        at=DAY + timedelta(minutes=47 * n, seconds=13 * n),
        properties={"units": Decimal(n) - Decimal("4.5"), "region": ("eu", "us")[n % 2]}
        | ({} if MODELS[n % 7] is None else {"model": MODELS[n % 7]}),
    )
    for n in range(21)
]
FILTERS: dict[str, list[Body]] = {
    "present": [{"name": "model", "exists": True}],
    "absent": [{"name": "model", "exists": False}],
    "one of": [{"name": "model", "in_values": ["large", "1"]}],
    "none of": [{"name": "model", "not_in_values": ["large", "true"]}],
    "present and none of": [{"name": "model", "exists": True, "not_in_values": ["large"]}],
    "by two": [{"name": "model", "in_values": ["large"]}, {"name": "region", "not_in_values": ["us"]}],
    "nothing": [{"name": "model", "in_values": []}],
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PenstockServer]:
    """A server that has its events before any metric."""
    with PenstockServer(tmp_path_factory.mktemp("metrics") / "data") as made:
        made.client.v1.customers.create(name="Acme", ingest_aliases=["acme"])
        made.raw.ingest(EVENTS)
        yield made


def create(server: PenstockServer, body: Body) -> str:
    answer = server.raw.post("/v1/billable-metrics/create", body)
    assert answer.status == 200, answer
    return str(answer.json["data"]["id"])


def rows(server: PenstockServer, metric: str, **fields: object) -> list[Body]:
    body: Body = {
        "billable_metric_id": metric, "customer_id": "acme", "window_size": "NONE",
        "starting_on": DAY, "ending_before": END, **fields,
    }  # fmt: skip
    answer = server.raw.post("/v1/usage/groups", body)
    assert answer.status == 200, answer
    return list(answer.json["data"])


@pytest.mark.parametrize("name", FILTERS)
def test_every_filter_takes_what_the_reference_takes(server: PenstockServer, name: str) -> None:
    body = a_sum_body("units", property_filters=FILTERS[name], group_keys=[["region"]])

    found = rows(server, create(server, body), group_key=["region"])

    expected = reference.usage(body, EVENTS, DAY, END, by=["region"])
    assert {(DAY, (row["group_value"],)): row["value"] for row in found} == expected


def test_compound_group_keys_are_kept_as_declared_and_asked_for_in_any_subset(server: PenstockServer) -> None:
    body = a_sum_body("units", group_keys=[["region"], ["region", "model"]])
    metric = create(server, body)

    view = server.raw.get(f"/v1/billable-metrics/{metric}").json["data"]
    by_both = rows(server, metric, group_key=["model", "region"])
    by_region = rows(server, metric, group_key=["region"])

    assert (view["group_keys"], view["revision"]) == ([["region"], ["region", "model"]], 0)
    expected = reference.usage(body, EVENTS, DAY, END, by=["model", "region"])
    assert [row["value"] for row in by_both] == [
        expected[place] for place in sorted(expected, key=lambda p: [(t is not None, t or "") for t in p[1]])
    ]
    assert sum(row["value"] for row in by_region) == sum(row["value"] for row in by_both)


@pytest.mark.parametrize("size", ["QUARTER", "HOUR", "DAY", "MONTH", "NONE"])
@pytest.mark.parametrize("zone", ["UTC", "Asia/Kathmandu"])
def test_levels_are_areas_in_every_window_of_every_zone(server: PenstockServer, size: str, zone: str) -> None:
    body = a_metric_body("seats", "TIME_WEIGHTED_SUM", aggregation_key="units", group_keys=[["region"]])
    metric = create(server, body)
    end = DAY + timedelta(hours=20, minutes=7, seconds=30)

    found = rows(server, metric, window_size=size, time_zone=zone, ending_before=end, group_key=["region"])

    assert found
    for row in found:
        mine = [event for event in EVENTS if event["properties"]["region"] == row["group_value"]]
        window = (datetime.fromisoformat(row[name]) for name in ("starting_on", "ending_before"))
        assert row["value"] == level_time(body, mine, *window)[0], row
    for region in ("eu", "us"):
        mine = [event for event in EVENTS if event["properties"]["region"] == region]
        total = level_time(body, mine, DAY, end)[0]
        assert sum(row["value"] for row in found if row["group_value"] == region) == total


def test_a_level_is_carried_into_a_span_without_events(server: PenstockServer) -> None:
    body = a_metric_body("seats", "TIME_WEIGHTED_SUM", aggregation_key="units")
    metric = create(server, body)
    later = {"starting_on": END, "ending_before": END + timedelta(seconds=10)}

    [row] = rows(server, metric, **later)
    usage = server.raw.post("/v1/usage", {"window_size": "NONE", "billable_metrics": [{"id": metric}], **later}).json

    level = sum(event["properties"]["units"] for event in EVENTS)
    assert row["value"] == usage["data"][0]["value"] == level * 10


def test_a_group_key_is_added_while_events_flow(server: PenstockServer) -> None:
    metric = create(server, a_metric_body("calls", event_type_filter={"in_values": ["ping"]}))
    sent: list[Body] = []

    def ping(count: int) -> None:
        new = [
            an_event(f"ping-{len(sent) + n}", event_type="ping", properties={"model": "ab"[n % 2]})
            for n in range(count)
        ]
        sent.extend(new)
        server.raw.ingest(new)

    ping(7)
    update: Any = {"id": metric, "group_keys": [["model"]]}
    answer = server.raw.post("/v1/billable-metrics/update", update)
    ping(6)

    assert (answer.status, answer.json["data"]) == (200, {"id": metric, "revision": 1})
    by_model = {"a": 7, "b": 6}
    eventually(lambda: {r["group_value"]: r["value"] for r in rows(server, metric, group_key=["model"])}, by_model)
    assert [row["value"] for row in rows(server, metric)] == [13]
    [fate] = server.raw.post("/v1/events/search", {"transactionIds": ["ping-0"]}).json
    assert [each["id"] for each in fate["matched_billable_metrics"]] == [metric]


def test_a_change_names_the_field_that_it_cannot_have(server: PenstockServer) -> None:
    metric = create(server, a_sum_body("units", group_keys=[["region"]]))

    def refused(**fields: object) -> tuple[int, object]:
        answer = server.raw.post("/v1/billable-metrics/update", {"id": metric, **fields})
        return answer.status, answer.json.get("field")

    assert refused(group_keys=[["model"]]) == (400, "group_keys")
    assert refused(name="") == (400, "name")
    assert refused(id="nope") == (404, "id")
    server.raw.post("/v1/billable-metrics/archive", {"id": metric})
    assert refused(name="late")[0] == 409


def test_a_span_ends_where_it_is_asked_to(server: PenstockServer) -> None:
    """What is not over counts to its end, as if the level stayed; "so far" is a span that ends now."""
    metric = create(server, a_metric_body("seats", "TIME_WEIGHTED_SUM", aggregation_key="units"))
    ends = [rfc3339(END + timedelta(days=days)) for days in (1, 2)]

    one, two = (next(iter(rows(server, metric, ending_before=end)))["value"] for end in ends)

    assert two - one == sum(event["properties"]["units"] for event in EVENTS) * 86_400
