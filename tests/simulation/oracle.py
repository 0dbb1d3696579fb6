"""The oracle: every record of the log folded the slow way, event by event, with the whole history of every cell kept.

What it knows of metrics are the plain bodies that the reference model takes. It imports of the product only what reads
a record's bytes. The constants are written out, so that a wrong one in the product shows.
"""

from __future__ import annotations

import bisect
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal, localcontext
from operator import itemgetter
from typing import Any, NamedTuple

import reference
from penstock.kernel.chunk import Chunk
from penstock.kernel.record import Kind, LogRecord
from simulation.correction_oracle import NOWHERE, TYPES, Told, corrected

Body = dict[str, Any]
Key = tuple[Any, ...]  # tenant, metric, customer, window, groups, member, partition
DAY_US, HOUR_US, QUARTER_US = 86_400_000_000, 3_600_000_000, 900_000_000
LATE_US = 34 * DAY_US + 12 * HOUR_US
DAYS_KEPT = 37
FAR = 2**40  # an offset that no log reaches
STAMP_SLACK_US = 300_000_000
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Value(NamedTuple):
    """A cell as of an offset."""

    events: int = 0
    value: Decimal = Decimal(0)
    latest: tuple[int, str] = (0, "")
    weighted: Decimal = Decimal(0)  # of a level's changes: each x microseconds from the start of the window


class Row(NamedTuple):
    """An event that was not dropped: where it stands, and whether it counts at all."""

    offset: int
    place: int
    tenant: str
    event: Body
    outcome: str


@dataclass
class Account:
    """What the oracle knows of one partition."""

    partition: int
    clock_us: int = 0
    folded: int = 0  # how many records
    said: int = -1  # the last record that is no tick
    known: dict[tuple[str, str], tuple[str, int]] = field(default_factory=dict)  # body and day, by tenant and id
    metrics: dict[str, tuple[str, Body]] = field(default_factory=dict)  # tenant and body, by id of the revision
    until: dict[str, int] = field(default_factory=dict)  # where a metric was archived
    sequences: dict[str, int] = field(default_factory=dict)
    rows: list[Row] = field(default_factory=list)  # as they are now
    originals: list[Row] = field(default_factory=list)  # as they came
    older: dict[int, list[tuple[int, Row]]] = field(default_factory=dict)  # by place in rows: until when it was what
    told: Told = field(default_factory=Told)
    hours: list[int] = field(default_factory=list)  # of the log clock, by offset
    copies: list[tuple[int, str, str, str]] = field(default_factory=list)  # offset, tenant, id, outcome: of every copy
    history: dict[Key, list[tuple[int, Value]]] = field(default_factory=dict)


class Oracle:
    """Folds the log on demand. `bodies` are the metrics' definitions by revision, which the scenario adds to."""

    def __init__(self, history: Sequence[Sequence[LogRecord]], bodies: Mapping[str, tuple[str, Body]]) -> None:
        self._log, self._bodies = history, bodies
        self._accounts = [Account(partition) for partition in range(len(history))]

    def account(self, partition: int) -> Account:
        """The partition, folded to the log's end."""
        account = self._accounts[partition]
        for record in self._log[partition][account.folded :]:
            self._fold(account, record)
        return account

    def accounts(self) -> list[Account]:
        return [self.account(partition) for partition in range(len(self._log))]

    def cell_at(self, key: Key, offset: int) -> tuple[int, Value] | None:
        """The last change of the cell at or below the offset, and its value then."""
        changes = self.account(key[-1]).history.get(key, [])
        at = bisect.bisect_right(changes, offset, key=itemgetter(0))
        return changes[at - 1] if at else None

    def events_of(self, metric_id: str, vector: Sequence[int]) -> list[Body]:
        """The events that may count in the metric as of a vector."""
        tenant, body = self._bodies[metric_id]
        return [
            row.event
            for account in self.accounts()
            for row in rows_at(account, min(vector[account.partition], account.until.get(metric_id, FAR)))
            if row.tenant == tenant
            and row.outcome not in NOWHERE
            and not reference.is_quarantined([body], row.event)
        ]

    def _fold(self, account: Account, record: LogRecord) -> None:
        account.clock_us = max(account.clock_us, min(record.appended_at_us, record.stamped_at_us + STAMP_SLACK_US))
        account.hours.append(account.clock_us // HOUR_US * HOUR_US)
        account.folded += 1
        if record.kind is not Kind.TICK:
            account.said = record.offset
        if record.kind is Kind.CONTROL:
            _control(account, record, self._bodies)
        elif record.kind is Kind.CHUNK:
            for place, (tenant, event) in enumerate(events_in(record)):
                _event(account, record.offset, place, tenant, event)


def events_in(record: LogRecord) -> Iterable[tuple[str, Body]]:
    """The events of a chunk, each with its tenant."""
    chunk = Chunk.decode(record.payload)
    names = ("tenant", "customer", "event_type")
    texts = [[values[code] for code in codes] for codes, values in map(chunk.codes, names)]
    rows = zip(chunk.ids(), *texts, chunk.times_us.tolist(), chunk.properties, strict=True)
    for transaction_id, tenant, customer, event_type, time_us, properties in rows:
        event = {
            "transaction_id": transaction_id,
            "customer_id": customer,
            "event_type": event_type,
            "timestamp": EPOCH + timedelta(microseconds=time_us),
            "time_us": time_us,
            "properties": json.loads(properties, parse_float=Decimal),
        }
        yield tenant, event


def _event(account: Account, offset: int, place: int, tenant: str, event: Body) -> None:
    outcome = _judged(account, tenant, event)
    if outcome == "KEPT":
        mine = {name: body for name, (owner, body) in account.metrics.items() if owner == tenant}
        outcome = "UNMATCHED"
        if reference.is_quarantined(mine.values(), event):
            outcome = "QUARANTINED"
        else:
            for metric_id, body in mine.items():
                key = _key(account.partition, tenant, metric_id, body, event)
                if key is not None:
                    _change(account, key, offset, _plus(body, _last(account, key), event))
                    _combine(account, key, offset)
                    outcome = "COUNTED"
        account.rows.append(Row(offset, place, tenant, event, outcome))
        account.originals.append(account.rows[-1])
    hour = account.clock_us // HOUR_US * HOUR_US
    key = (tenant, "penstock.conservation", "", hour, (outcome,), None, account.partition)
    held = _last(account, key)
    _change(account, key, offset, held._replace(events=held.events + 1))
    account.copies.append((offset, tenant, event["transaction_id"], outcome))


def _judged(account: Account, tenant: str, event: Body) -> str:
    """Late, duplicate, conflict, or kept; remembers what is kept."""
    if event["time_us"] < account.clock_us - LATE_US:
        return "LATE"
    today = account.clock_us // DAY_US
    name = (tenant, event["transaction_id"])
    body, day = account.known.get(name, ("", -DAYS_KEPT))
    if day > today - DAYS_KEPT:
        return "DUPLICATE" if body == repr(event) else "CONFLICT"
    account.known[name] = (repr(event), today)
    return "KEPT"


def _control(account: Account, record: LogRecord, bodies: Mapping[str, tuple[str, Body]]) -> None:
    """Only the first copy of a control says anything, and none that a later one has overtaken."""
    control = json.loads(record.payload, parse_float=Decimal)
    if control["type"] in TYPES:
        _correct(account, record.offset, control)
        return
    if control["sequence"] <= account.sequences.get(control["subject"], -1):
        return
    account.sequences[control["subject"]] = control["sequence"]
    if control["type"] == "metric_archived":
        account.metrics.pop(control["metric_id"], None)
        account.until[control["metric_id"]] = record.offset
        return
    metric_id = control["metric"]["id"]
    tenant, body = account.metrics[metric_id] = bodies[metric_id]
    filled: dict[Key, Value] = {}
    for row in account.rows:
        if row.tenant == tenant and row.outcome not in NOWHERE and not reference.is_quarantined([body], row.event):
            key = _key(account.partition, tenant, metric_id, body, row.event)
            if key is not None:
                filled[key] = _plus(body, filled.get(key, Value()), row.event)
    for key, value in filled.items():
        _change(account, key, record.offset, value)
        _combine(account, key, record.offset, "filled")


def _correct(account: Account, offset: int, control: Body) -> None:
    """Apply a correction; what it touches is counted again from all rows."""
    mine = {name: body for name, (owner, body) in account.metrics.items() if owner == control["tenant"]}
    change = corrected(account.told, account.rows, offset, control, mine)
    if change is None:
        return
    at, row = change
    before = account.rows[at]
    account.older.setdefault(at, []).append((offset, before))
    account.rows[at] = row
    for metric_id, body in mine.items():
        for key in {_key_of(account.partition, metric_id, body, each) for each in (before, row)}:
            if key is None:
                continue
            value = Value()
            for each in account.rows:
                if _key_of(account.partition, metric_id, body, each) == key:
                    value = _plus(body, value, each.event)
            _change(account, key, offset, value)
            _combine(account, key, offset)
    if before.outcome != row.outcome:
        hour, moved = account.hours[row.offset], (before.outcome, row.outcome)
        key = (row.tenant, "penstock.corrections", "", hour, moved, None, account.partition)
        held = _last(account, key)
        _change(account, key, offset, held._replace(events=held.events + 1))


def _key_of(partition: int, metric_id: str, body: Body, row: Row) -> Key | None:
    """The cell of the metric that the row is in, or None."""
    if row.outcome in NOWHERE or reference.is_quarantined([body], row.event):
        return None
    return _key(partition, row.tenant, metric_id, body, row.event)


def rows_at(account: Account, offset: int) -> Iterable[Row]:
    """The rows of records at or below the offset, as they were then."""
    for at, row in enumerate(account.rows):
        if row.offset <= offset:
            yield next((older for until, older in account.older.get(at, ()) if offset < until), row)


def _key(partition: int, tenant: str, metric_id: str, body: Body, event: Body) -> Key | None:
    """The cell that the event goes into, or None where the metric does not take it."""
    if not reference.aggregate(body, [event])[1]:
        return None
    groups = tuple(reference.text(reference.prop(event, name)) for name in reference.group_names(body))
    is_unique = body["aggregation_type"] == "UNIQUE"
    member = reference.text(reference.prop(event, body["aggregation_key"])) if is_unique else None
    window = event["time_us"] // QUARTER_US * QUARTER_US
    return tenant, metric_id, event["customer_id"], window, groups, member, partition


def _combine(account: Account, key: Key, offset: int, *marks: str) -> None:
    """The first record that brings a group combination to a day; what is filled is told apart."""
    tenant, metric_id, _, window, groups, _, partition = key
    if groups:
        day = window // DAY_US * DAY_US
        date = (EPOCH + timedelta(microseconds=day)).date().isoformat()
        text = json.dumps(groups, ensure_ascii=False, separators=(",", ":")).encode()
        member = hashlib.blake2b(text, digest_size=16).hexdigest()
        place = (tenant, "penstock.combinations", metric_id, day, (date, *marks), member, partition)
        if place not in account.history:
            _change(account, place, offset, Value(1))


def _plus(body: Body, held: Value, event: Body) -> Value:
    kind, events = body["aggregation_type"], held.events + 1
    if kind in ("COUNT", "UNIQUE"):
        return held._replace(events=events)
    number = reference.number(reference.prop(event, body["aggregation_key"]))
    assert number is not None
    latest = (event["time_us"], event["transaction_id"])
    if kind == "LATEST":
        return Value(events, number, latest) if not held.events or latest > held.latest else Value(events, *held[1:])
    with localcontext(prec=200):
        if kind in ("SUM", "TIME_WEIGHTED_SUM"):
            weight = event["time_us"] % QUARTER_US if kind == "TIME_WEIGHTED_SUM" else 0
            return Value(events, held.value + number, weighted=held.weighted + number * weight)
    is_greater = number > held.value if kind == "MAX" else number < held.value
    return Value(events, number if not held.events or is_greater else held.value)


def _last(account: Account, key: Key) -> Value:
    changes = account.history.get(key)
    return changes[-1][1] if changes else Value()


def _change(account: Account, key: Key, offset: int, value: Value) -> None:
    """A record goes into a cell as a whole: the change of an offset is the last one made at it."""
    changes = account.history.setdefault(key, [])
    if changes and changes[-1][0] == offset:
        changes.pop()
    changes.append((offset, value))
