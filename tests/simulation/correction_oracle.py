"""What the oracle knows of corrections: which event one addresses, and what it makes of it, the slow way."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import reference

Body = dict[str, Any]
TYPES = ("event_amended", "event_voided")
NOWHERE = ("QUARANTINED", "VOIDED")


@dataclass
class Told:
    """What became of every correction of a partition: offset and refusal by tenant and id; and the newest of events."""

    refusals: dict[tuple[str, str], tuple[int, str | None]] = field(default_factory=dict)
    newest: dict[tuple[str, str], int] = field(default_factory=dict)


def corrected(
    told: Told, rows: Sequence[Any], offset: int, control: Body, bodies: Mapping[str, Body]
) -> tuple[int, Any] | None:
    """The place in `rows` of the event that the correction changes, and the row from now on; None without effect.

    `bodies` are the metrics of its tenant.
    """
    name = (control["tenant"], control["id"])
    if name in told.refusals:
        return None
    subject = (control["tenant"], control["transaction_id"])
    found = [at for at, row in enumerate(rows) if (row.tenant, row.event["transaction_id"]) == subject]
    refusal = _refusal(told.newest.get(subject, -1), rows[found[-1]] if found else None, control)
    told.refusals[name] = (offset, refusal)
    told.newest[subject] = max(control["sequence"], told.newest.get(subject, -1))
    if refusal is not None:
        return None
    return found[-1], _revised(rows[found[-1]], control, bodies)


def _refusal(newest: int, row: Any, control: Body) -> str | None:
    if control["sequence"] < newest:
        return "OVERTAKEN"
    if row is None:
        return "NO_EVENT"
    if row.outcome == "VOIDED":
        return "VOIDED"
    if control.get("customer") not in (None, row.event["customer_id"]):
        return "OTHER_CUSTOMER"
    return "OTHER_TIME" if control.get("time_us") not in (None, row.event["time_us"]) else None


def _revised(row: Any, control: Body, bodies: Mapping[str, Body]) -> Any:
    if control["type"] == "event_voided":
        return row._replace(outcome="VOIDED")
    event = {**row.event, "properties": control["properties"]}
    event["event_type"] = control.get("event_type") or event["event_type"]
    counts = any(reference.aggregate(body, [event])[1] for body in bodies.values())
    is_bad = reference.is_quarantined(bodies.values(), event)
    return row._replace(event=event, outcome="QUARANTINED" if is_bad else "COUNTED" if counts else "UNMATCHED")
