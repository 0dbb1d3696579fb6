"""The log of a real run: one JSON object a line, every request by its id, and nothing of what callers sent."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import msgspec
import pytest

from builders import a_sum_body, an_event
from server import API_KEY, PenstockServer, RawClient, eventually

# What a log must never hold, each as recognisable as it may be.
BODY, QUERY, PATH, HEADER = "body-secret-1", "query-secret-2", "path-secret-3", "header-secret-4"
METHOD = "SECRETMETHOD"
REQUEST_ID = "my-request-17"


@pytest.fixture(scope="module")
def lines(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What a server wrote at DEBUG while it was sent good and bad requests full of secrets."""
    env = {"PENSTOCK_LOG_FORMAT": "json", "PENSTOCK_LOG_LEVEL": "DEBUG"}
    with PenstockServer(tmp_path_factory.mktemp("logs") / "data", env=env) as server:
        play(server)
        server.stop()
        text = server.output_file.read_text()
    assert [word for word in (BODY, QUERY, PATH, HEADER, METHOD, API_KEY) if word in text] == []
    assert re.search(r"pk_[0-9a-f]{16}_", text) is None
    return [msgspec.json.decode(line) for line in text.splitlines() if line.startswith("{")]


def play(server: PenstockServer) -> None:
    raw = server.raw
    customer = raw.post("/v1/customers", {"name": BODY, "ingest_aliases": [BODY]}).json["data"]["id"]
    metric = raw.post("/v1/billable-metrics/create", a_sum_body(BODY)).json["data"]["id"]
    raw.ingest([an_event(BODY, customer_id=BODY, properties={BODY: 1, "x": BODY})])
    eventually(lambda: raw.get(f"/v1/transactions/{BODY}").status, 200)
    for body in (b'[{"transaction_id": "' + BODY.encode(), b"[" + b'{"x": "' + BODY.encode() + b'"}]', BODY.encode()):
        assert raw.post("/v1/ingest", body).status == 400
        assert raw.post("/v1/customers", body).status == 400
    assert raw.get(f"/v1/customers/{PATH}?x={QUERY}").status == 404
    assert raw.get(f"/v1/{PATH}").status == 404
    assert raw.send(METHOD, "/v1/customers").status == 405
    assert raw.get(f"/v1/usage/conservation?starting_on={QUERY}").status == 400
    question = {"billable_metric_id": metric, "customer_id": BODY, "window_size": BODY}
    assert raw.post("/v1/usage/groups", question).status == 400
    for key in (HEADER, f"pk_{HEADER}_{HEADER}", "pk_0123456789abcdef_" + HEADER):
        assert RawClient(server.port, key).get("/v1/customers").status == 401
    made = raw.post("/v1/api-keys", {"name": BODY, "scopes": ["read"], "customer_id": customer}).json["data"]
    assert raw.post(f"/v1/api-keys/{made['id']}/rotate", {}).status == 200
    assert raw.send("GET", "/v1/customers", headers={"X-Request-Id": REQUEST_ID}).headers["x-request-id"] == REQUEST_ID
    answer = raw.send("GET", "/v1/customers", headers={"X-Request-Id": f"{HEADER} and more"})
    assert re.fullmatch("[0-9a-f]{16}", answer.headers["x-request-id"])


def requests(lines: list[dict[str, Any]], **fields: object) -> list[dict[str, Any]]:
    return [line for line in lines if line["message"] == "request" and fields.items() <= line.items()]


def test_every_line_says_when_how_grave_and_who(lines: list[dict[str, Any]]) -> None:
    assert lines
    assert all({"time", "level", "logger", "message"} <= line.keys() for line in lines)


def test_a_request_is_told_by_its_id_route_status_duration_and_tenant(lines: list[dict[str, Any]]) -> None:
    [line] = requests(lines, request_id=REQUEST_ID)

    assert line.pop("duration_ms") > 0
    assert line.pop("time")
    assert line == {
        "level": "INFO",
        "logger": "penstock.access",
        "message": "request",
        "request_id": REQUEST_ID,
        "method": "GET",
        "path": "/v1/customers",
        "status": 200,
        "tenant": "default",
    }


def test_a_path_is_told_as_its_route_and_an_unknown_one_not_at_all(lines: list[dict[str, Any]]) -> None:
    assert requests(lines, path="/v1/customers/{customer_id}", status=404)
    assert requests(lines, path="-", status=404)
    assert requests(lines, path="-", method="-", status=405)


def test_a_good_answer_to_events_is_told_at_debug_and_a_bad_one_at_info(lines: list[dict[str, Any]]) -> None:
    assert {line["level"] for line in requests(lines, path="/v1/ingest", status=200)} == {"DEBUG"}
    assert {line["level"] for line in requests(lines, path="/v1/ingest", status=400)} == {"INFO"}
    assert {line["level"] for line in requests(lines, path="/readyz", status=200)} == {"DEBUG"}


def test_who_was_refused_has_no_tenant(lines: list[dict[str, Any]]) -> None:
    refused = requests(lines, status=401)

    assert len(refused) == 3
    assert not any("tenant" in line for line in refused)


def test_text_lines_carry_the_same_fields(tmp_path: Path) -> None:
    with PenstockServer(tmp_path / "data", env={"PENSTOCK_LOG_FORMAT": "text"}) as server:
        server.raw.send("GET", "/v1/customers", headers={"X-Request-Id": REQUEST_ID})
        server.stop()
        text = server.output_file.read_text()

    assert f" INFO penstock.access request request_id={REQUEST_ID} method=GET path=/v1/customers tenant=default" in text
