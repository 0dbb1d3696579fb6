"""One batch until it is answered, over a wire that does as it is told, in virtual time."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from penstock.client.answer import NotAcknowledged, Reply
from penstock.client.backoff import Backoff
from penstock.client.delivery import Delivery
from penstock.client.errors import Refused
from penstock.client.tally import Refusal, Tally
from penstock.client.waiting import Batch
from unit.client.fake_server import a_problem

ALL_ACCEPTED = "all accepted"
UNREADABLE = Reply(400, {}, a_problem("bad-request", "cannot be read"))


class Post:
    """The other end: replies in order, then accepts everything. `reads` refuses whole requests that hold the poison."""

    def __init__(self, *replies: Reply | Exception, poison: bytes | None = None) -> None:
        self._replies, self._poison = list(replies), poison
        self.bodies: list[bytes] = []

    def request(self, method: str, path: str, body: bytes | None = None) -> Reply:
        assert (method, path) == ("POST", "/v1/ingest")
        assert body is not None
        self.bodies.append(body)
        if self._replies:
            reply = self._replies.pop(0)
            if isinstance(reply, Exception):
                raise reply
            return reply
        if self._poison is not None and self._poison in body:
            return UNREADABLE
        return accepted(len(json.loads(body)))


def accepted(events: int, **headers: str) -> Reply:
    answer: dict[str, Any] = {"accepted": events, "duplicate": 0, "conflict": 0, "rejected": 0}
    return Reply(200, headers, json.dumps(answer | {"receipts": [], "events": []}).encode())


class Desk:
    """A delivery with everything around it written down."""

    def __init__(self, post: Any, pause: Callable[[float], bool] | None = None, backoff: Backoff | None = None) -> None:
        self.settled: list[tuple[int, int]] = []
        self.pauses: list[float] = []
        self.refused: list[Refusal] = []
        self.tally = Tally(self.refused.append)
        self.delivery = Delivery(
            post, backoff or Backoff(), self.tally, lambda first, events: self.settled.append((first, events)),
            pause or self.wait,
        )  # fmt: skip

    def wait(self, seconds: float) -> bool:
        self.pauses.append(seconds)
        return True

    def deliver(self, *events: bytes, first: int = 0) -> None:
        self.delivery.deliver(Batch(first, list(events)))


def test_a_batch_is_one_json_array() -> None:
    post = Post()
    desk = Desk(post)

    desk.deliver(b'{"a":1}', b'{"b":2}', first=40)

    assert post.bodies == [b'[{"a":1},{"b":2}]']
    assert desk.settled == [(40, 2)]
    assert desk.pauses == []


def test_what_is_not_acknowledged_is_sent_again_as_it_was() -> None:
    post = Post(NotAcknowledged("gone"), Reply(503, {}, b""), Reply(500, {}, b""), accepted(3), accepted(1))
    desk = Desk(post)

    desk.deliver(b"1", b"2")

    assert post.bodies == [b"[1,2]"] * 6  # two acceptances were of other events: they do not add up
    assert desk.settled == [(0, 2)]
    assert desk.tally.stats(2, 0, 0).retries == 5
    assert desk.tally.stats(2, 0, 0).last_error is None


def test_waits_grow_until_a_batch_gets_through() -> None:
    desk = Desk(Post(*[NotAcknowledged("gone")] * 12))

    desk.deliver(b"1")

    wholes = [min(30, 0.1 * 2**n) for n in range(12)]
    assert len(desk.pauses) == 12
    assert all(whole / 2 <= wait <= whole for wait, whole in zip(desk.pauses, wholes, strict=True))


def test_retry_after_is_obeyed() -> None:
    desk = Desk(Post(Reply(429, {"retry-after": "7"}, b""), Reply(503, {"retry-after": "30"}, b"")))

    desk.deliver(b"1")

    assert [int(wait) for wait in desk.pauses] == [7, 30]


def test_a_server_that_is_away_for_ten_minutes_gets_everything_in_the_end() -> None:
    now_s = 0.0
    tries = 0

    class Away:
        def request(self, method: str, path: str, body: bytes | None = None) -> Reply:
            nonlocal tries
            tries += 1
            if now_s < 600:
                raise NotAcknowledged("connection refused")
            return accepted(2)

    def pause(seconds: float) -> bool:
        nonlocal now_s
        now_s += seconds
        return True

    desk = Desk(Away(), pause)
    desk.deliver(b"1", b"2")

    assert desk.settled == [(0, 2)]
    assert 600 <= now_s <= 630
    assert 20 <= tries <= 50


def test_delivery_ends_when_told_to_stop_and_settles_nothing() -> None:
    desk = Desk(Post(NotAcknowledged("gone")), pause=lambda _seconds: False)

    desk.deliver(b"1")

    assert desk.settled == []
    assert desk.tally.stats(1, 0, 1).last_error == "gone"


def test_an_event_that_the_server_cannot_read_sinks_no_other() -> None:
    post = Post(poison=b"poison")
    desk = Desk(post)

    desk.deliver(b"1", b"2", b'"poison"', b"4", b"5", first=10)

    assert desk.settled == [(10, 2), (12, 1), (13, 2)]
    assert desk.refused == [Refusal(12, None, "rejected", "cannot be read", b'"poison"')]
    assert desk.tally.stats(5, 0, 0).accepted == 4
    assert desk.tally.stats(5, 0, 0).rejected == 1


def test_a_refused_client_stops() -> None:
    desk = Desk(Post(Reply(401, {}, a_problem("unauthorized", "no such key"))))

    with pytest.raises(Refused, match="the server answers 401: no such key") as refusal:
        desk.deliver(b"1")

    assert refusal.value.status == 401
    assert desk.settled == []


def test_refusals_are_told_with_their_number_and_text_and_duplicates_are_not() -> None:
    events = [
        {"index": 0, "transaction_id": "a", "verdict": "rejected", "reason": "customer_id is empty"},
        {"index": 1, "transaction_id": "b", "verdict": "duplicate", "reason": "known"},
        {"index": 2, "transaction_id": "c", "verdict": "conflict", "reason": "another body"},
    ]
    answer = {"accepted": 0, "duplicate": 1, "conflict": 1, "rejected": 1, "receipts": [], "events": events}
    desk = Desk(Post(Reply(400, {"date": "Sat, 31 Jan 2026 12:00:00 GMT"}, json.dumps(answer).encode())))

    desk.deliver(b"1", b"2", b"3", first=5)

    rejected = Refusal(5, "a", "rejected", "customer_id is empty", b"1")
    conflict = Refusal(7, "c", "conflict", "another body", b"3")
    assert desk.refused == [rejected, conflict]
    assert desk.tally.refused("rejected") == [rejected]
    assert desk.tally.refused("conflict") == [conflict]
    assert desk.tally.duplicates_at() == datetime(2026, 1, 31, 12, tzinfo=UTC)
    assert desk.settled == [(5, 3)]
