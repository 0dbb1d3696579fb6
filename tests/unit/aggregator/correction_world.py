"""A log of events and corrections as the reference model takes it, folded by an owner, for the tests of corrections."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any

import msgspec

import reference
import reference_corrections
from builders import HASH_KEY, TENANT, Body, a_chunk, a_metric, a_metric_body, a_sum_body, an_event, to_json, yesterday
from penstock.kernel.cell import CONSERVATION, CORRECTIONS, Cell, CellKey, merge
from penstock.kernel.control import Correction, EventAmended, EventVoided, MetricDefined, encode_control
from penstock.kernel.meter import Aggregation
from penstock.kernel.quantity import exact
from penstock.kernel.record import Kind, LogIdentity
from penstock.kernel.window import from_us, to_us
from penstock.log.memory import MemoryLog

START = yesterday()
GROUPS = [["region"]]
BODIES: dict[str, Body] = {
    "count": a_metric_body("count", group_keys=GROUPS),
    "units": a_sum_body("units", group_keys=GROUPS),
    "level": a_metric_body("level", "TIME_WEIGHTED_SUM", aggregation_key="units"),
    "most": a_metric_body("most", "MAX", aggregation_key="units", group_keys=GROUPS),
    "least": a_metric_body("least", "MIN", aggregation_key="units"),
    "last": a_metric_body("last", "LATEST", aggregation_key="units", group_keys=GROUPS),
    "regions": a_metric_body("regions", "UNIQUE", aggregation_key="region"),
    "uploads": a_metric_body("uploads", event_type_filter={"in_values": ["upload"]}),
    "eu": a_sum_body("units", property_filters=[{"name": "region", "in_values": ["eu"]}]),
}
METRICS = {name: a_metric(name, body) for name, body in BODIES.items()}


class KnownLog(MemoryLog):
    """A log of the key under which the builders know events."""

    @property
    def identity(self) -> LogIdentity:
        return LogIdentity(super().identity.log_id, 1, HASH_KEY)


def amend(id: str, transaction_id: str, **fields: Any) -> Body:
    return {"id": id, "amend": transaction_id, **fields}


def void(id: str, transaction_id: str, **fields: Any) -> Body:
    return {"id": id, "void": transaction_id, **fields}


def define(name: str) -> Body:
    return {"define": name}


def an_event_at(transaction_id: str, minute: int, region: str | None, units: Any, **fields: Any) -> Body:
    properties = {"units": units, "region": region}
    return an_event(transaction_id, at=START + timedelta(minutes=minute), properties=properties, **fields)


def control_of(correction: Body, sequence: int) -> Correction:
    if "void" in correction:
        return EventVoided(correction["id"], sequence, TENANT, correction["void"])
    at = correction.get("timestamp")
    return EventAmended(
        id=correction["id"],
        sequence=sequence,
        tenant=TENANT,
        transaction_id=correction["amend"],
        properties=msgspec.Raw(to_json(correction["properties"])),
        event_type=correction.get("event_type"),
        customer=correction.get("customer_id"),
        time_us=None if at is None else to_us(datetime.fromisoformat(at)),
    )


def as_records(entries: Sequence[Body]) -> list[tuple[Kind, bytes]]:
    """The log's records: each entry is one of its own, a list of events a chunk."""
    records = []
    for place, entry in enumerate(entries):
        if isinstance(entry, list):
            records.append((Kind.CHUNK, a_chunk(entry).encode()))
        elif "define" in entry:
            metric = METRICS[entry["define"]]
            records.append((Kind.CONTROL, encode_control(MetricDefined(f"define-{metric.id}", metric.id, 0, metric))))
        elif "transaction_id" in entry:
            records.append((Kind.CHUNK, a_chunk([entry]).encode()))
        else:
            control = control_of(entry, entry.get("sequence", place))
            records.append((Kind.CONTROL, encode_control(control)))
    return records


def plain(entries: Iterable[Any]) -> list[Body]:
    """The log as the reference model takes it."""
    flat = [each for entry in entries for each in (entry if isinstance(entry, list) else [entry])]
    return [entry for entry in flat if "define" not in entry]


@exact
def usage_of(cells: dict[CellKey, Cell], metric_id: str) -> dict[Any, Any]:
    """Cells of one metric in the shape of the reference's table: by quarter of an hour and groups."""
    aggregation = METRICS[metric_id].aggregation
    merged: dict[Any, Cell] = {}
    for key, cell in cells.items():
        if key.metric == metric_id and cell.events:
            one = Cell(events=1) if aggregation is Aggregation.UNIQUE else cell
            merge(aggregation, merged.setdefault((from_us(key.window_us), key.groups), Cell()), one)
    counts = aggregation in (Aggregation.COUNT, Aggregation.UNIQUE)
    return {place: cell.events if counts else cell.value for place, cell in merged.items()}


def expected_usage(entries: Iterable[Any], metric_id: str, metrics_first: bool = True) -> dict[Any, Any]:
    """What the reference model says. A number that some metric cannot read sinks an event only if that was there."""
    body = BODIES[metric_id]
    reading = BODIES.values() if metrics_first else [body]
    events = reference_corrections.as_corrected(plain(entries))
    good = [event for event in events if not reference.is_quarantined(reading, event)]
    end = START + timedelta(days=1)
    return reference.usage(body, good, START, end, "QUARTER", reference.group_names(body))


def outcomes_now(cells: dict[CellKey, Cell]) -> dict[str, int]:
    """How many events have which outcome, corrections taken into account."""
    found: dict[str, int] = {}
    for key, cell in cells.items():
        if key.metric == CONSERVATION:
            [outcome] = map(str, key.groups)
            found[outcome] = found.get(outcome, 0) + cell.events
        elif key.metric == CORRECTIONS:
            before, after = map(str, key.groups)
            found[before] = found.get(before, 0) - cell.events
            found[after] = found.get(after, 0) + cell.events
    return {outcome: events for outcome, events in found.items() if events}
