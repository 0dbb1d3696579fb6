"""What the gateway remembers of events that it did not accept: the newest, by tenant and id, within bounds."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from penstock.gateway.answer import EventVerdict
from penstock.gateway.ingest import Gateway
from penstock.gateway.memory import EVENTS_PER_REQUEST_MAX, RecentVerdicts
from penstock.gateway.watch import RejectionKind, kind_of
from penstock.kernel.event import Verdict
from penstock.kernel.ports.siblings import NotAccepted
from penstock.log.memory import MemoryLog
from unit.gateway.givens import NOON, a_body, an_event, play

LATER = NOON + timedelta(minutes=1)


def verdict(transaction_id: str | None, verdict: Verdict, reason: str = "why") -> EventVerdict:
    return EventVerdict(0, transaction_id, verdict, reason)


def test_what_was_not_accepted_is_counted_by_id_with_the_newest_reason() -> None:
    memory = RecentVerdicts()
    memory.note("acme", [verdict("a", Verdict.REJECTED, "first"), verdict(None, Verdict.REJECTED)], NOON)
    memory.note("acme", [verdict("a", Verdict.DUPLICATE), verdict("a", Verdict.CONFLICT, "last")], LATER)

    assert memory.not_accepted("acme", "a") == NotAccepted(1, 1, 1, "last", LATER)
    assert memory.not_accepted("globex", "a") is None
    assert memory.not_accepted("acme", "b") is None


def test_the_oldest_ids_are_forgotten_first() -> None:
    memory = RecentVerdicts(ids_max=2)
    for transaction_id in ("a", "b", "a", "c"):
        memory.note("acme", [verdict(transaction_id, Verdict.DUPLICATE)], NOON)

    assert [id for id in "abc" if memory.not_accepted("acme", id) is not None] == ["a", "c"]


def test_of_a_large_request_only_the_last_events_are_remembered() -> None:
    memory = RecentVerdicts()
    events = [verdict(str(n), Verdict.DUPLICATE) for n in range(EVENTS_PER_REQUEST_MAX + 5)]
    memory.note("acme", events, NOON)

    assert [n for n in range(len(events)) if memory.not_accepted("acme", str(n)) is None] == [0, 1, 2, 3, 4]


BAD: list[tuple[dict[str, Any], RejectionKind]] = [
    ({"transaction_id": ""}, RejectionKind.TRANSACTION_ID),
    ({"transaction_id": "x" * 129}, RejectionKind.TRANSACTION_ID),
    ({"customer_id": ""}, RejectionKind.CUSTOMER_ID),
    ({"event_type": "x" * 257}, RejectionKind.EVENT_TYPE),
    ({"timestamp": "yesterday"}, RejectionKind.TIMESTAMP),
    ({"timestamp": "2026-07-01T12:00:00"}, RejectionKind.TIMESTAMP),
    ({"timestamp": "2026-06-30T23:59:60Z"}, RejectionKind.TIMESTAMP),
    ({"timestamp": "2026-05-01T00:00:00Z"}, RejectionKind.TOO_OLD),
    ({"timestamp": "2026-07-03T00:00:00Z"}, RejectionKind.TOO_FAR_AHEAD),
    ({"properties": []}, RejectionKind.PROPERTIES),
    ({"properties": {"x": "y" * 70_000}}, RejectionKind.OVERSIZE),
    ({"timestamp": None}, RejectionKind.UNREADABLE),
    ({"customer_id": 7}, RejectionKind.UNREADABLE),
]


@pytest.mark.parametrize(("changed", "kind"), BAD)
def test_every_reason_of_the_gateway_has_its_kind(changed: dict[str, Any], kind: RejectionKind) -> None:
    async def story(gateway: Gateway, _: MemoryLog) -> None:
        answer = await gateway.ingest("t", a_body(an_event(**changed)))
        assert [kind_of(event.reason) for event in answer.events] == [kind]

    play(story)


def test_too_deep_properties_have_their_kind() -> None:
    async def story(gateway: Gateway, _: MemoryLog) -> None:
        deep = b'{"x":' * 80 + b"1" + b"}" * 80
        answer = await gateway.ingest("t", a_body(an_event(properties="HERE")).replace(b'"HERE"', deep))
        assert [kind_of(event.reason) for event in answer.events] == [RejectionKind.NESTING]
        assert gateway.memory.not_accepted("t", "txn-1") is not None

    play(story)
