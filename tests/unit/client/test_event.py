"""What `send` takes, and the text it makes of it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from penstock.client.errors import BadEvent
from penstock.client.event import EVENT_BYTES_MAX, check_text, encode_event

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)
WHOLE = {"transaction_id": "t-1", "customer_id": "acme", "event_type": "call", "timestamp": "2026-01-31T11:00:00Z"}


def test_an_event_keeps_its_fields_and_every_digit_of_a_decimal() -> None:
    properties = {"tokens": 1500, "cost": Decimal("0.100000000000"), "model": "atlas"}

    transaction_id, text = encode_event({**WHOLE, "properties": properties}, "new-id", NOW)

    assert transaction_id == "t-1"
    assert text == (
        b'{"transaction_id":"t-1","timestamp":"2026-01-31T11:00:00Z","customer_id":"acme","event_type":"call",'
        b'"properties":{"tokens":1500,"cost":0.100000000000,"model":"atlas"}}'
    )


def test_id_and_time_are_made_where_they_are_not_given() -> None:
    transaction_id, text = encode_event({"customer_id": "acme", "event_type": "call"}, "new-id", NOW)

    assert transaction_id == "new-id"
    assert text == (
        b'{"transaction_id":"new-id","timestamp":"2026-01-31T12:00:00Z","customer_id":"acme","event_type":"call"}'
    )


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"customer": "acme"}, "an event has no field 'customer'; put it into properties"),
        ({"customer_id": None}, "not an event: Expected `str`, got `null`"),
        ({"customer_id": 7}, "not an event: Expected `str`, got `int`"),
        ({"timestamp": datetime(2026, 1, 1)}, "timestamp has no time zone"),  # noqa: DTZ001  # what a caller may do
        ({"properties": {"a": float("nan")}}, "properties hold nan, which is no JSON number"),
        ({"properties": {"a": [{"b": Decimal("Infinity")}]}}, "properties hold Infinity, which is no JSON number"),
        ({"properties": {"a": object()}}, "not an event: Encoding objects of type object is unsupported"),
        ({"properties": {"a": "\ud800"}}, "not an event: 'utf-8' codec can't encode"),
    ],
)
def test_what_json_cannot_carry_exactly_is_refused(fields: Mapping[str, Any], reason: str) -> None:
    with pytest.raises(BadEvent) as refusal:
        encode_event({**WHOLE, **fields}, "new-id", NOW)

    assert str(refusal.value).startswith(reason)


def test_a_missing_field_is_named() -> None:
    with pytest.raises(BadEvent, match="missing required field `event_type`"):
        encode_event({"customer_id": "acme"}, "new-id", NOW)


@pytest.mark.parametrize("text", [b"", b"{", b'{"a":1},{"b":2}', b"[" * 100_000 + b"]" * 100_000])
def test_a_text_that_is_not_one_json_value_is_refused(text: bytes) -> None:
    with pytest.raises(BadEvent, match="not JSON"):
        check_text(text)


def test_a_text_that_no_server_takes_is_refused() -> None:
    with pytest.raises(BadEvent, match=f"the event has {EVENT_BYTES_MAX + 1} bytes"):
        check_text(b'"' + b"a" * (EVENT_BYTES_MAX - 1) + b'"')
