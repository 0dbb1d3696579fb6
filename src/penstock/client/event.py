"""An event as a caller gives it, and the JSON text in which it is kept and sent."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any

import msgspec

from penstock.client.errors import BadEvent

# Above anything that the server takes (64 KiB of properties and three short texts, however escaped).
EVENT_BYTES_MAX = 512 * 1024
FIELDS = ("transaction_id", "customer_id", "event_type", "timestamp", "properties")

# Decimals are JSON numbers with all their digits.
_ENCODER = msgspec.json.Encoder(decimal_format="number")


class Envelope(msgspec.Struct, gc=False):
    """An event's five fields as text; what `properties` hold is not looked at."""

    transaction_id: str
    customer_id: str
    event_type: str
    timestamp: str
    properties: msgspec.Raw = msgspec.Raw(b"{}")


_ENVELOPE = msgspec.json.Decoder(Envelope)
_VALUE = msgspec.json.Decoder(msgspec.Raw)


def encode_event(fields: Mapping[str, Any], new_id: str, now: datetime) -> tuple[str, bytes]:
    """The transaction id and the JSON text of an event. `new_id` and `now` stand in for what `fields` lack.

    Raise `BadEvent` for an unknown or missing field, a time without zone, and whatever JSON cannot carry exactly.
    """
    unknown = [name for name in fields if name not in FIELDS]
    if unknown:
        raise BadEvent(f"an event has no field {unknown[0]!r}; put it into properties")
    event: dict[str, Any] = {"transaction_id": new_id, "timestamp": now, **fields}
    if isinstance(event["timestamp"], datetime) and event["timestamp"].tzinfo is None:
        raise BadEvent("timestamp has no time zone")
    try:
        _refuse_non_finite(event.get("properties"))
        text = _ENCODER.encode(event)
        return _ENVELOPE.decode(text).transaction_id, text
    except (msgspec.MsgspecError, TypeError, ValueError, RecursionError) as exc:
        raise BadEvent(f"not an event: {exc}") from exc


def check_text(text: bytes) -> bytes:
    """`text` again. Raise `BadEvent` for what is not one JSON value, or larger than any event that a server takes."""
    if len(text) > EVENT_BYTES_MAX:
        raise BadEvent(f"the event has {len(text)} bytes, at most {EVENT_BYTES_MAX} are taken")
    try:
        _VALUE.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        raise BadEvent(f"not JSON: {exc}") from exc
    return text


def _refuse_non_finite(value: object) -> None:
    """JSON has no NaN and no infinity: the encoder would turn one into null, and the event would count as nothing."""
    if isinstance(value, Mapping):
        for item in value.values():
            _refuse_non_finite(item)
    elif isinstance(value, list | tuple):
        for item in value:
            _refuse_non_finite(item)
    elif isinstance(value, float | Decimal) and not math.isfinite(value):
        raise BadEvent(f"properties hold {value}, which is no JSON number")
