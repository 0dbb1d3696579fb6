"""`POST /v1/ingest` as the dialect has it: any rejected event makes the answer 400, and the good ones are counted."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from penstock.gateway.http_api import ingest_http
from penstock.kernel.problems import Forbidden, UnsupportedMedia
from penstock.log.memory import MemoryLog
from penstock.web.route import Principal, Response, Scope
from unit.gateway.givens import a_body, a_gateway, an_event

SENDER = Principal("acme", "key", frozenset([Scope.INGEST]))


def ingest(*bodies: bytes, principal: Principal = SENDER, content_type: str | None = "application/json") -> Response:
    """The answer to the last of `bodies`, sent in order to a fresh gateway."""

    async def story() -> Response:
        async with a_gateway(MemoryLog()) as gateway:
            return [await ingest_http(gateway, principal, body, content_type) for body in bodies][-1]

    answer = asyncio.run(story())
    return msgspec.structs.replace(answer, body=msgspec.to_builtins(answer.body))


def test_a_request_whose_events_are_all_taken_is_200_with_receipts() -> None:
    answer = ingest(a_body(an_event("a"), an_event("b")))
    assert (answer.status, answer.content_type) == (200, "application/json")
    assert {name: answer.body[name] for name in ("accepted", "duplicate", "conflict", "rejected", "events")} == {
        "accepted": 2,
        "duplicate": 0,
        "conflict": 0,
        "rejected": 0,
        "events": [],
    }
    assert [receipt["partition"] for receipt in answer.body["receipts"]] == [0]


def test_duplicates_and_conflicts_are_200_and_named() -> None:
    answer = ingest(a_body(an_event("a")), a_body(an_event("a"), an_event("a", customer_id="other")))
    assert answer.status == 200
    assert [(e["index"], e["transaction_id"], e["verdict"]) for e in answer.body["events"]] == [
        (0, "a", "duplicate"),
        (1, "a", "conflict"),
    ]


def test_a_rejected_event_makes_the_answer_400_with_the_verdicts() -> None:
    answer = ingest(a_body(an_event("a"), an_event("b", timestamp="2026-07-01T12:00:00")))
    assert (answer.status, answer.content_type) == (400, "application/problem+json")
    assert answer.body["message"] == "1 of the events were rejected, see `events`; 1 were accepted"
    assert (answer.body["status"], answer.body["accepted"], answer.body["rejected"]) == (400, 1, 1)
    assert answer.body["events"] == [
        {
            "index": 1,
            "transaction_id": "b",
            "verdict": "rejected",
            "reason": "timestamp has no time zone: end it with Z or an offset such as +02:00",
        }
    ]


@pytest.mark.parametrize(
    "content_type", [None, "", "application/json; charset=utf-8", "application/x-www-form-urlencoded"]
)
def test_json_is_taken_under_the_names_that_clients_give_it(content_type: str | None) -> None:
    assert ingest(a_body(an_event()), content_type=content_type).status == 200


def test_another_content_type_is_refused() -> None:
    with pytest.raises(UnsupportedMedia, match=r"application/x-ndjson.*not as text/csv"):
        ingest(b"a,b", content_type="text/csv")


@pytest.mark.parametrize(("scope", "may"), [(Scope.ADMIN, True), (Scope.WRITE, False), (Scope.READ, False)])
def test_only_a_key_that_may_ingest_does(scope: Scope, may: bool) -> None:
    principal = Principal("acme", "key", frozenset([scope]))
    if may:
        assert ingest(a_body(an_event()), principal=principal).status == 200
    else:
        with pytest.raises(Forbidden):
            ingest(a_body(an_event()), principal=principal)
