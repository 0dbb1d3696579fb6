"""Amend and void over HTTP: usage, the event's story, conservation and audit follow; a repeat changes nothing."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from builders import Body, a_metric_body, a_sum_body, an_event, rfc3339, yesterday
from server import PenstockServer, RawClient, eventually

NESTED: Any = json.loads("[" * 64 + "]" * 64)
DAY, END = yesterday(), yesterday() + timedelta(days=1)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PenstockServer]:
    with PenstockServer(tmp_path_factory.mktemp("corrections") / "data") as server:
        yield server


@pytest.fixture(scope="module")
def metrics(server: PenstockServer) -> dict[str, str]:
    """A sum by region and a maximum, over three events: 5 and 2 in "eu", 9 in "us"."""
    api = server.client.v1
    api.customers.create(name="Acme", ingest_aliases=["acme"])
    made = {
        "units": api.billable_metrics.create(**a_sum_body("units", group_keys=[["region"]])).data.id,
        "most": api.billable_metrics.create(**a_metric_body("most", "MAX", aggregation_key="units")).data.id,
    }
    sent = [("e1", 5, "eu"), ("e2", 2, "eu"), ("e3", 9, "us")]
    server.raw.ingest([an_event(name, properties={"units": units, "region": to}) for name, units, to in sent])
    eventually(lambda: usage(server, made), ({"eu": 7, "us": 9}, [9]))
    return made


def usage(server: PenstockServer, metrics: dict[str, str]) -> Any:
    """Units by region, and the greatest, of the day."""
    by_region = server.usage(metrics["units"], "acme", DAY, END, by=["region"])
    most = server.usage(metrics["most"], "acme", DAY, END)
    return {groups[0]: value for (_, groups), value in by_region.items()}, list(most.values())


def became(server: PenstockServer, correction_id: str) -> Any:
    """What became of a correction once the fold has come to it."""
    path = f"/v1/events/corrections/{correction_id}"
    eventually(lambda: server.raw.get(path).json["data"]["status"] != "PENDING", True)
    return server.raw.get(path).json["data"]


def told(server: PenstockServer, answer: Any) -> Any:
    assert answer.status == 200, answer
    return became(server, answer.json["data"]["id"])


def test_amended_and_voided_events_are_followed_by_everything(
    server: PenstockServer, metrics: dict[str, str]
) -> None:
    amended = {
        "transaction_id": "e3",
        "properties": {"units": Decimal("1.5"), "region": "eu"},
        "customer_id": "acme",
        "timestamp": rfc3339(DAY + timedelta(hours=12)),
        "uniqueness_key": "mend e3/1",
    }
    ordered = server.raw.post("/v1/events/amend", amended)
    assert (ordered.json["data"]["status"], ordered.json["data"]["id"]) == ("PENDING", "mend e3/1")

    applied = became(server, "mend%20e3%2F1")

    assert applied["outcome"] == {"before": "COUNTED", "after": "COUNTED"}
    eventually(lambda: usage(server, metrics), ({"eu": Decimal("8.5")}, [5]))

    voided = told(server, server.raw.post("/v1/events/void", {"transaction_id": "e1"}))

    assert (voided["type"], voided["status"], voided["reason"]) == ("VOID", "APPLIED", None)
    assert voided["outcome"] == {"before": "COUNTED", "after": "VOIDED"}
    eventually(lambda: usage(server, metrics), ({"eu": Decimal("3.5")}, [2]))
    outcomes = server.outcomes()
    assert (outcomes["counted"], outcomes["voided"], sum(outcomes.values())) == (2, 1, 3)
    story = server.raw.get("/v1/transactions/e1").json["data"]
    assert (story["status"], story["metrics"], story["reasons"][0]["reason"]) == ("VOIDED", [], "was voided")
    assert [each["id"] for each in story["corrections"]] == [voided["id"]]
    story = server.raw.get("/v1/transactions/e3").json["data"]
    assert story["event"]["properties"] == {"units": Decimal("1.5"), "region": "eu"}
    audit = server.raw.post("/v1/audit", {"starting_on": rfc3339(DAY), "ending_before": rfc3339(END)}).json["data"]
    assert (audit["differing_cells"], audit["differences"]) == (0, [])


def test_a_half_window_is_read_as_corrected(server: PenstockServer, metrics: dict[str, str]) -> None:
    """Part of a window is answered from stored events."""
    at = DAY + timedelta(hours=20)
    server.raw.ingest([an_event("r1", at=at, properties={"units": 3, "region": "r"})])
    told(server, server.raw.post("/v1/events/amend", {"transaction_id": "r1", "properties": {"units": 4}}))

    ragged = server.usage(metrics["units"], "acme", at, at + timedelta(minutes=1))

    assert list(ragged.values()) == [4]
    told(server, server.raw.post("/v1/events/void", {"transaction_id": "r1"}))
    assert server.usage(metrics["units"], "acme", at, at + timedelta(minutes=1)) == {}


def test_the_same_correction_sent_twice_is_one(server: PenstockServer, metrics: dict[str, str]) -> None:
    server.raw.ingest([an_event("t1", customer_id="other")])
    body = {"transaction_id": "t1", "uniqueness_key": "once"}
    first = told(server, server.raw.post("/v1/events/void", body))

    again = server.raw.post("/v1/events/void", body).json["data"]
    other = server.raw.post("/v1/events/void", body | {"transaction_id": "t2"})
    twice = told(server, server.raw.post("/v1/events/void", {"transaction_id": "t1"}))

    assert again == first
    assert (other.status, other.json["field"]) == (409, "uniqueness_key")
    assert (twice["status"], twice["reason"]) == ("WITHOUT_EFFECT", "VOIDED")
    assert server.raw.post("/v1/ingest", [an_event("t1", customer_id="other")]).json["duplicate"] == 1
    assert server.raw.get("/v1/transactions/t1").json["data"]["status"] == "VOIDED"


def test_a_correction_before_its_event_is_without_effect_and_stays_so(
    server: PenstockServer, metrics: dict[str, str]
) -> None:
    early = told(server, server.raw.post("/v1/events/void", {"transaction_id": "later"}))
    server.raw.ingest([an_event("later", customer_id="other")])

    assert (early["status"], early["reason"], early["outcome"]) == ("WITHOUT_EFFECT", "NO_EVENT", None)
    path = "/v1/transactions/later"
    eventually(lambda: server.raw.get(path).json.get("data", {}).get("event") is not None, True)
    assert server.raw.get(path).json["data"]["status"] in ("COUNTED", "UNMATCHED")
    assert became(server, early["id"]) == early


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("void", {}, None),
        ("void", {"transaction_id": ""}, "transaction_id"),
        ("void", {"transaction_id": "x" * 129}, "transaction_id"),
        ("void", {"transaction_id": "x", "uniqueness_key": ""}, "uniqueness_key"),
        ("amend", {"transaction_id": "x"}, None),
        ("amend", {"transaction_id": "x", "properties": []}, "properties"),
        ("amend", {"transaction_id": "x", "properties": {"p": "x" * 70_000}}, "properties"),
        ("amend", {"transaction_id": "x", "properties": {"p": NESTED}}, "properties"),
        ("amend", {"transaction_id": "x", "properties": {}, "timestamp": "yesterday"}, "timestamp"),
        ("amend", {"transaction_id": "x", "properties": {}, "event_type": ""}, "event_type"),
        ("amend", {"transaction_id": "x", "properties": {}, "customer_id": "x" * 257}, "customer_id"),
    ],
)
def test_a_wrong_correction_is_refused(server: PenstockServer, path: str, body: Body, field: str | None) -> None:
    answer = server.raw.post(f"/v1/events/{path}", body)

    assert (answer.status, answer.json.get("field")) == (400, field)


def test_a_correction_needs_a_key_that_may_write(server: PenstockServer) -> None:
    for scope, status in (("ingest", 403), ("read", 403), ("write", 200)):
        made = server.raw.post("/v1/api-keys", {"name": scope, "scopes": [scope], "tenant": "scopes"}).json["data"]
        client = RawClient(server.port, made["key"])

        assert client.post("/v1/events/void", {"transaction_id": "x"}).status == status
    assert server.raw.get("/v1/events/corrections/never").status == 404
