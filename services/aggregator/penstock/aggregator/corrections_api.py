"""Corrections over HTTP: amend an event, void an event, and what became of either."""

from __future__ import annotations

import re
import uuid
from itertools import accumulate
from typing import Any

import msgspec

from penstock.aggregator.corrections import Corrections, Told
from penstock.kernel.control import EventAmended, EventVoided
from penstock.kernel.correction import Corrected, Refusal
from penstock.kernel.event import (
    CUSTOMER_KEY_CHARS_MAX,
    EVENT_TYPE_CHARS_MAX,
    NESTING_MAX,
    PROPERTIES_BYTES_MAX,
    TRANSACTION_ID_CHARS_MAX,
)
from penstock.kernel.problems import BadRequest, NotFound
from penstock.kernel.window import to_us
from penstock.web.instant import parse_instant
from penstock.web.route import Request, Route, Scope

UNIQUENESS_KEY_CHARS_MAX = 128

REASONS = {
    Refusal.NO_EVENT: "no event of this id was in the log before it, or only one that was too old to be kept",
    Refusal.VOIDED: "the event was voided before",
    Refusal.OTHER_CUSTOMER: "the event is of another customer_id: void it, and send a new one",
    Refusal.OTHER_TIME: "the event has another timestamp: void it, and send a new one",
    Refusal.OVERTAKEN: "a later correction of the event came to the log first",
    Refusal.NOT_KEPT: "the event is not stored any more",
    Refusal.SEALED: "the event is in a log that penstock repartition has sealed",
    Refusal.BACKFILLED: "the event came after the commit of a backfill of its interval, and counts in that too",
}
_TEXTS = re.compile(rb'"(?:[^"\\]|\\.)*"', re.DOTALL)
_BRACKETS = {ord("{"): 1, ord("["): 1, ord("}"): -1, ord("]"): -1}


class VoidBody(msgspec.Struct):
    """POST /v1/events/void."""

    transaction_id: str
    uniqueness_key: str | None = None


class AmendBody(msgspec.Struct):
    """POST /v1/events/amend. `customer_id` and `timestamp`, where given, must be the event's own."""

    transaction_id: str
    properties: msgspec.Raw
    event_type: str | None = None
    customer_id: str | None = None
    timestamp: str | None = None
    uniqueness_key: str | None = None


class CorrectionsApi:
    """Handlers over the corrections."""

    def __init__(self, corrections: Corrections) -> None:
        self._corrections = corrections

    def routes(self) -> list[Route]:
        one = "/v1/events/corrections/{correction_id}"
        return [
            Route("POST", "/v1/events/amend", Scope.WRITE, self.amend, "aggregator"),
            Route("POST", "/v1/events/void", Scope.WRITE, self.void, "aggregator"),
            Route("GET", one, Scope.READ, self.get, "aggregator", takes_slashes=True),
        ]

    def amend(self, request: Request) -> Any:
        body = request.json(AmendBody)
        _refuse_length("event_type", body.event_type, EVENT_TYPE_CHARS_MAX)
        _refuse_length("customer_id", body.customer_id, CUSTOMER_KEY_CHARS_MAX)
        _refuse_properties(bytes(body.properties))
        control = EventAmended(
            id=_correction_id(body),
            sequence=0,
            tenant=request.tenant,
            transaction_id=body.transaction_id,
            properties=body.properties,
            event_type=body.event_type,
            customer=body.customer_id,
            time_us=None if body.timestamp is None else to_us(parse_instant(body.timestamp, "timestamp")),
        )
        return {"data": told_view(self._corrections.order(control))}

    def void(self, request: Request) -> Any:
        body = request.json(VoidBody)
        control = EventVoided(_correction_id(body), 0, request.tenant, body.transaction_id)
        return {"data": told_view(self._corrections.order(control))}

    def get(self, request: Request) -> Any:
        id = request.path["correction_id"]
        told = self._corrections.find(request.tenant, id)
        if told is None:
            raise NotFound(f"no correction {id}")
        return {"data": told_view(told)}


def _correction_id(body: VoidBody | AmendBody) -> str:
    """The caller's key, by which a repeat is known, or a new id. Raise `BadRequest` for a text that cannot be one."""
    _refuse_length("transaction_id", body.transaction_id, TRANSACTION_ID_CHARS_MAX)
    _refuse_length("uniqueness_key", body.uniqueness_key, UNIQUENESS_KEY_CHARS_MAX)
    return str(uuid.uuid4()) if body.uniqueness_key is None else body.uniqueness_key


def _refuse_length(name: str, text: str | None, chars_max: int) -> None:
    if text is not None and not 1 <= len(text) <= chars_max:
        raise BadRequest(f"{name} must have 1 to {chars_max} characters", field=name)


def _refuse_properties(text: bytes) -> None:
    """What an event may not hold, an amendment may not make it hold."""
    if not text.startswith(b"{"):
        raise BadRequest("properties must be a JSON object", field="properties")
    if len(text) > PROPERTIES_BYTES_MAX:
        raise BadRequest(f"properties have {len(text)} bytes, at most {PROPERTIES_BYTES_MAX}", field="properties")
    steps = (_BRACKETS.get(byte, 0) for byte in _TEXTS.sub(b"", text))
    if max(accumulate(steps)) > NESTING_MAX:
        raise BadRequest(f"properties are nested more than {NESTING_MAX} levels deep", field="properties")
    try:
        text.decode()
    except UnicodeDecodeError as exc:
        raise BadRequest("properties are not UTF-8", field="properties") from exc


def told_view(told: Told) -> dict[str, Any]:
    control = told.control
    return {
        **_PENDING,
        "id": control.id,
        "type": "AMEND" if isinstance(control, EventAmended) else "VOID",
        "transaction_id": control.transaction_id,
        "created_at": told.created_at,
        **({} if told.corrected is None else corrected_view(told.corrected)),
    }


_PENDING: dict[str, Any] = {
    "status": "PENDING",
    "reason": None,
    "message": None,
    "partition": None,
    "offset": None,
    "outcome": None,
}


def corrected_view(corrected: Corrected) -> dict[str, Any]:
    """What became of a correction: where it is in the log, and what the event was and is, or why nothing changed."""
    changed = corrected.revision
    outcome = None
    if changed is not None and corrected.before is not None:
        outcome = {"before": corrected.before.name, "after": changed.outcome.name}
    return {
        "id": corrected.id,
        "status": "WITHOUT_EFFECT" if corrected.refusal else "APPLIED",
        "reason": corrected.refusal,
        "message": REASONS[corrected.refusal] if corrected.refusal else None,
        "partition": corrected.partition,
        "offset": corrected.offset,
        "outcome": outcome,
    }
