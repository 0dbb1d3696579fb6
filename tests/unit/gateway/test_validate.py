"""What the gateway refuses, event by event, and why; the events beside a bad one are good."""

from __future__ import annotations

import json

import pytest

from penstock.gateway.columns import Columns
from penstock.gateway.decode import decode
from penstock.gateway.timestamps import NO_ZONE, NOT_RFC_3339
from penstock.gateway.validate import validate
from penstock.kernel.window import to_us
from unit.gateway.givens import NOON, a_body, an_event

NOON_US = to_us(NOON)


def reasons_of(*events: object) -> dict[int, str]:
    events_read = decode(a_body(*events), 10_000, 1 << 25).events
    assert isinstance(events_read, list)
    return validate(Columns.of(events_read), NOON_US)


def nested(levels: int) -> object:
    value: object = 1
    for _ in range(levels - 1):
        value = [value]
    return {"deep": value}


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (an_event(""), "transaction_id is empty"),
        (an_event("x" * 300), "transaction_id has 300 characters, at most 128"),
        (an_event(customer_id=""), "customer_id is empty"),
        (an_event(customer_id="x" * 257), "customer_id has 257 characters, at most 256"),
        (an_event(event_type=""), "event_type is empty"),
        (an_event(event_type="x" * 257), "event_type has 257 characters, at most 256"),
        (an_event(timestamp="2026-07-01T12:00:00"), NO_ZONE),
        (an_event(timestamp="noon"), NOT_RFC_3339),
        (an_event(timestamp="2026-05-27T12:00:00Z"), "timestamp is more than 34 days ago"),  # 35 days
        (an_event(timestamp="2026-05-28T11:59:59.999999Z"), "timestamp is more than 34 days ago"),
        (an_event(timestamp="2026-07-02T13:00:00Z"), "timestamp is more than 24 hours ahead"),  # 25 hours
        (an_event(timestamp="2026-07-02T12:00:00.000001Z"), "timestamp is more than 24 hours ahead"),
        (an_event(properties=[1]), "properties must be a JSON object"),
        (an_event(properties="text"), "properties must be a JSON object"),
        (an_event(properties=7), "properties must be a JSON object"),
        (an_event(properties={"x": "y" * 65_536}), "properties have 65545 bytes, at most 65536"),
        (an_event(properties=nested(65)), "properties are nested more than 64 levels deep"),
        (an_event(properties=nested(200)), "properties are nested more than 64 levels deep"),
    ],
)
def test_a_bad_event_is_refused_for_its_reason_and_its_neighbours_are_good(bad: object, reason: str) -> None:
    assert reasons_of(an_event("a"), bad, an_event("b")) == {1: reason}


@pytest.mark.parametrize(
    "good",
    [
        an_event("x" * 128),
        an_event("ü" * 128),
        an_event(customer_id="x" * 256),
        an_event(timestamp="2026-05-28T12:00:00Z"),  # exactly 34 days
        an_event(timestamp="2026-07-02T12:00:00Z"),  # exactly 24 hours
        an_event(properties={}),
        an_event(properties=None),
        an_event(properties=nested(64)),
        an_event(properties={"text": "[{" * 500}),
        an_event(properties={"text": '\\"' + "[" * 500}),
        an_event(properties={"lists": [[1]] * 500}),
    ],
)
def test_an_event_at_a_limit_is_good(good: object) -> None:
    assert reasons_of(an_event("a"), good, an_event("b")) == {}


def test_of_several_faults_one_is_named() -> None:
    bad = an_event("", customer_id="", timestamp="noon", properties=[])
    assert reasons_of(bad, bad) == {0: "transaction_id is empty", 1: "transaction_id is empty"}


def test_a_deep_event_is_found_among_flat_ones_without_properties() -> None:
    flat = [an_event(str(number), properties=None) for number in range(1_000)]
    assert list(reasons_of(*flat, an_event(properties=nested(900)))) == [1_000]


def test_numbers_and_bytes_inside_properties_are_not_judged_here() -> None:
    body = json.dumps([an_event(properties={"n": 0, "text": "@"})]).replace("0,", "1e400,").encode()
    events = decode(body.replace(b"@", b"\xff"), 1, 1 << 20).events
    assert isinstance(events, list)
    assert validate(Columns.of(events), NOON_US) == {}
