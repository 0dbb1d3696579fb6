"""What counts as an answer to a batch, what is worth another try, and what is not."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from penstock.client.answer import Answer, EventVerdict, Hopeless, NotAcknowledged, Receipt, Reply, Unfit, read_answer
from unit.client.fake_server import a_problem

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)
CONFLICT = {"index": 1, "transaction_id": "t", "verdict": "conflict", "reason": "another body"}


def an_answer(**fields: Any) -> bytes:
    whole = {"accepted": 0, "duplicate": 0, "conflict": 0, "rejected": 0, "receipts": [], "events": []}
    return json.dumps(whole | fields).encode()


def read(status: int, body: bytes, events: int = 2, **headers: str) -> Answer:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return read_answer(Reply(status, named, body), events, NOW)


@pytest.mark.parametrize("status", [200, 400])
def test_an_answer_tells_of_every_event(status: int) -> None:
    body = an_answer(accepted=1, conflict=1, receipts=[{"partition": 3, "offset": 7}], events=[CONFLICT])

    assert read(status, body) == Answer(
        1, 0, 1, 0, (Receipt(3, 7),), (EventVerdict(1, "conflict", "another body", "t"),)
    )


@pytest.mark.parametrize(
    "fields",
    [
        {"accepted": 1},
        {"accepted": 3},
        {"accepted": 3, "duplicate": -1},
        {"accepted": 1, "conflict": 1},
        {"accepted": 2, "events": [CONFLICT]},
        {"accepted": 1, "conflict": 1, "events": [CONFLICT | {"index": 2}]},
        {"accepted": 1, "conflict": 1, "events": [CONFLICT | {"index": -1}]},
        {"conflict": 2, "events": [CONFLICT, CONFLICT]},
        {"accepted": 1, "conflict": 1, "events": [CONFLICT | {"verdict": "odd"}]},
    ],
)
def test_an_answer_that_does_not_add_up_is_none(fields: dict[str, Any]) -> None:
    with pytest.raises(NotAcknowledged, match="does not add up"):
        read(200, an_answer(**fields))


@pytest.mark.parametrize("body", [b"", b"<html>Welcome</html>", b"{}", b"\xff", b"[" * 100_000])
def test_a_200_of_something_else_is_no_acknowledgement(body: bytes) -> None:
    with pytest.raises(NotAcknowledged, match="not one of Penstock's"):
        read(200, body)


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504])
def test_these_statuses_are_worth_another_try_after_the_time_that_is_asked_for(status: int) -> None:
    with pytest.raises(NotAcknowledged, match=f"the server answers {status}: busy") as refusal:
        read(status, a_problem("too-many", "busy"), retry_after="9")

    assert refusal.value.retry_after_s == 9


@pytest.mark.parametrize("status", [301, 401, 403, 404, 405, 409, 501])
def test_these_statuses_get_no_better(status: int) -> None:
    with pytest.raises(Hopeless, match="no such key") as refusal:
        read(status, a_problem("unauthorized", "no such key"))

    assert refusal.value.status == status


@pytest.mark.parametrize("status", [400, 413, 422])
def test_a_request_that_is_refused_as_a_whole_is_unfit(status: int) -> None:
    with pytest.raises(Unfit, match="cannot be read"):
        read(status, a_problem("bad-request", "cannot be read"))


def test_a_request_that_a_proxy_finds_too_large_is_unfit_too() -> None:
    with pytest.raises(Unfit, match="<html>Too large"):
        read(413, b"<html>Too large</html>")


def test_a_400_that_is_not_penstock_s_rejects_no_event() -> None:
    with pytest.raises(Hopeless, match="<html>Bad gateway"):
        read(400, b"<html>Bad gateway</html>")
