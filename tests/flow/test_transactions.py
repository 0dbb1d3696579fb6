"""What became of an event, asked over HTTP with the id that its sender gave it; and the SDK's search."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from builders import Body, a_metric_body, a_sum_body, an_event, rfc3339, yesterday
from penstock.aggregator.verdict import OUT_OF_RANGE
from server import Answer, PenstockServer, RawClient, eventually

NOON = rfc3339(yesterday() + timedelta(hours=12))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PenstockServer]:
    with PenstockServer(tmp_path_factory.mktemp("transactions") / "data") as server:
        yield server


@pytest.fixture(scope="module")
def ids(server: PenstockServer) -> dict[str, str]:
    api = server.client.v1
    return {
        "customer": api.customers.create(name="Acme", ingest_aliases=["acme"]).data.id,
        "units": api.billable_metrics.create(**a_sum_body("units")).data.id,
        "eu": api.billable_metrics.create(
            **a_metric_body("eu only", property_filters=[{"name": "region", "in_values": ["eu"]}])
        ).data.id,
    }


def fate(server: PenstockServer, transaction_id: str) -> Any:
    """The story once the event is folded."""
    path = f"/v1/transactions/{quote(transaction_id, safe='')}"
    eventually(lambda: is_told(server.raw.get(path)), True)
    return server.raw.get(path).json["data"]


def is_told(answer: Answer) -> bool:
    """The gateway knows of an id's copies before the fold knows of the id."""
    return answer.status == 200 and answer.json["data"]["status"] != "ACCEPTED"


def send(server: PenstockServer, *events: Body) -> Any:
    return server.raw.post("/v1/ingest", list(events)).json


def test_a_counted_event_tells_where_it_stands_and_what_it_counts_in(
    server: PenstockServer, ids: dict[str, str]
) -> None:
    event = an_event("a/b c?é", properties={"units": Decimal("1.50"), "region": "us"})
    answer = send(server, an_event("mate"), event)

    found = fate(server, "a/b c?é")

    [receipt] = answer["receipts"]
    day = found["accepted"].pop("log_clock_day")
    assert found == {
        "transaction_id": "a/b c?é",
        "status": "COUNTED",
        "accepted": {"partition": 0, "offset": receipt["offset"], "index": 1},
        "event": {
            "customer_id": "acme",
            "event_type": "llm_call",
            "timestamp": NOON,
            "properties": {"units": Decimal("1.50"), "region": "us"},
        },
        "customer": {"id": ids["customer"], "name": "Acme"},
        "metrics": [{"id": ids["units"], "name": "sum of units"}],
        "reasons": [
            {"metric_id": ids["eu"], "property": "region", "reason": "has a value that the metric does not take"}
        ],
        "dropped": {},
        "corrections": [],
        "gateway": None,
    }
    assert len(day) == len("2026-01-31")


def test_an_event_that_could_not_be_read_names_the_property(server: PenstockServer, ids: dict[str, str]) -> None:
    send(server, an_event("too large", properties={"units": Decimal("1e40")}))

    found = fate(server, "too large")

    assert (found["status"], found["metrics"]) == ("QUARANTINED", [])
    assert found["reasons"] == [{"metric_id": ids["units"], "property": "units", "reason": OUT_OF_RANGE}]


def test_an_event_of_nobody_and_of_no_metric_is_unmatched(server: PenstockServer, ids: dict[str, str]) -> None:
    send(server, an_event("nobody", customer_id="unknown", event_type="storage"))

    found = fate(server, "nobody")

    assert (found["status"], found["customer"], found["metrics"]) == ("UNMATCHED", None, [])
    assert found["reasons"] == [
        {"metric_id": None, "property": None, "reason": "no metric counts events of type storage"}
    ]


def test_copies_are_told_by_the_gateway_that_dropped_them_and_by_the_log(
    server: PenstockServer, ids: dict[str, str]
) -> None:
    send(server, an_event("twice"), an_event("twice"))
    send(server, an_event("twice", customer_id="globex"))

    found = fate(server, "twice")

    assert (found["status"], found["accepted"]["index"]) == ("UNMATCHED", 0)
    seen = found["gateway"]
    assert (seen["duplicates"], seen["conflicts"], seen["rejected"]) == (1, 1, 0)
    assert "with another body" in seen["reason"]
    assert found["dropped"] == {}


def test_copies_that_a_restarted_gateway_let_through_are_told_by_the_log(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    with PenstockServer(folder, env={"PENSTOCK_DEDUPE_IDS_MAX": "0"}) as server:
        send(server, an_event("twice"))
        fate(server, "twice")
        server.stop()
        server.start()
        answers = [send(server, an_event("twice")), send(server, an_event("twice", customer_id="x"))]
        eventually(lambda: sum(server.outcomes().values()), 1 + sum(answer["accepted"] for answer in answers))

        found = fate(server, "twice")

    assert found["accepted"]["offset"] < answers[0]["receipts"][0]["offset"]
    assert found["dropped"]["DUPLICATE"]["events"] == 1
    assert found["dropped"]["DUPLICATE"]["newest"]["offset"] == answers[0]["receipts"][0]["offset"]
    assert found["event"]["customer_id"] == "acme"


def test_a_rejected_event_is_remembered_with_its_reason_until_it_is_sent_right(
    server: PenstockServer, ids: dict[str, str]
) -> None:
    send(server, an_event("wrong", timestamp="yesterday"))

    found = fate(server, "wrong")

    assert (found["status"], found["accepted"], found["event"]) == ("REJECTED", None, None)
    assert found["gateway"]["rejected"] == 1
    assert found["gateway"]["reason"].startswith("timestamp is not RFC 3339")
    send(server, an_event("wrong", properties={"units": 1}))
    eventually(lambda: fate(server, "wrong")["status"], "COUNTED")
    assert fate(server, "wrong")["gateway"]["rejected"] == 1


def test_an_id_that_nobody_sent_is_not_found(server: PenstockServer) -> None:
    answer = server.raw.get("/v1/transactions/never")

    assert (answer.status, answer.json["type"]) == (404, "urn:penstock:problem:not-found")


def test_the_sdk_finds_events_by_their_transaction_ids(server: PenstockServer, ids: dict[str, str]) -> None:
    send(server, an_event("s1", properties={"units": 2, "region": "eu"}), an_event("s2", customer_id="unknown"))
    fate(server, "s2")

    first, second = server.client.v1.usage.search(transaction_ids=["s1", "never", "s2", "s1"])

    assert (first.transaction_id, second.transaction_id) == ("s1", "s2")
    assert (first.customer_id, first.event_type, rfc3339(first.timestamp)) == ("acme", "llm_call", NOON)
    assert (first.properties, first.is_duplicate) == ({"units": 2, "region": "eu"}, False)
    assert [m.id for m in first.matched_billable_metrics or []] == [ids["units"], ids["eu"]]
    assert first.matched_customer is not None
    assert (first.matched_customer.id, first.matched_customer.name) == (ids["customer"], "Acme")
    assert (second.matched_customer, second.matched_billable_metrics) == (None, [])
    assert first.id != second.id
    assert server.client.v1.usage.search(transaction_ids=["s1"])[0].id == first.id


@pytest.mark.parametrize("body", [{}, {"transactionIds": "s1"}, {"transactionIds": ["x"] * 101}])
def test_a_search_that_is_wrong_is_refused(server: PenstockServer, body: Body) -> None:
    assert server.raw.post("/v1/events/search", body).status == 400


def test_another_tenant_is_not_told_of_what_the_gateway_refused(server: PenstockServer) -> None:
    send(server, an_event("secret", timestamp="never"))
    made = server.raw.post("/v1/api-keys", {"name": "x", "scopes": ["read"], "tenant": "globex"}).json["data"]

    assert server.raw.get("/v1/transactions/secret").status == 200
    assert RawClient(server.port, made["key"]).get("/v1/transactions/secret").status == 404
