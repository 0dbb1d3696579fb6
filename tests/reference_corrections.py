"""The reference model's corrections: what is left of a log of events, amendments and voids, the slow and obvious way.

An entry of the log is an event's body, or a correction: `{"id": ..., "void": transaction_id}` or `{"id": ..., "amend":
transaction_id, "properties": ...}` with `event_type`, `customer_id` and `timestamp` where they are given. `sequence` is
the order in which corrections were ordered; without it, that of the log.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

Body = Mapping[str, Any]


def as_corrected(log: Iterable[Body]) -> list[Body]:
    """The events that count, as they are in the end."""
    return [event for event in _walked(log)[0].values() if event is not None]


def answers(log: Iterable[Body]) -> dict[str, str | None]:
    """By the id of each correction why it is without effect, None where it has one."""
    return _walked(log)[1]


def _walked(log: Iterable[Body]) -> tuple[dict[str, Body | None], dict[str, str | None]]:
    """By transaction id the event, None where it was voided; and the answers."""
    events: dict[str, Body | None] = {}
    told: dict[str, str | None] = {}
    newest: dict[str, int] = {}
    for place, entry in enumerate(log):
        target = entry.get("void") or entry.get("amend")
        if target is None:
            events.setdefault(entry["transaction_id"], entry)  # a voided id stays known
        elif entry["id"] not in told:
            sequence = entry.get("sequence", place)
            is_overtaken = sequence < newest.get(target, -1)
            newest[target] = max(sequence, newest.get(target, -1))
            told[entry["id"]] = "OVERTAKEN" if is_overtaken else _why_not(events, target, entry)
            if told[entry["id"]] is None:
                events[target] = None if "void" in entry else _amended(events[target], entry)
    return events, told


def _why_not(events: Mapping[str, Body | None], target: str, correction: Body) -> str | None:
    if target not in events:
        return "NO_EVENT"
    event = events[target]
    if event is None:
        return "VOIDED"
    if correction.get("customer_id", event["customer_id"]) != event["customer_id"]:
        return "OTHER_CUSTOMER"
    return "OTHER_TIME" if correction.get("timestamp", event["timestamp"]) != event["timestamp"] else None


def _amended(event: Body | None, correction: Body) -> Body:
    assert event is not None, "a voided event is not amended"
    event_type = correction.get("event_type", event["event_type"])
    return {**event, "event_type": event_type, "properties": correction["properties"]}
