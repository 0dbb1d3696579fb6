"""What must hold: the store and every read against the oracle, and nothing that was acknowledged is missing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import level_reference
import reference
from builders import Body
from penstock.kernel.cell import COMBINATIONS, CONSERVATION, CORRECTIONS, FILLED_US, Cell, CellKey
from penstock.kernel.record import Marker
from penstock.kernel.usage import Usage, UsageQuery
from penstock.kernel.window import Span
from simulation.faulty_store import Tables
from simulation.oracle import Account, Oracle, Value
from simulation.traffic import TENANTS

Rows = dict[tuple[Any, ...], tuple[Any, int]]


class Cut(NamedTuple):
    """The questions of one consistent read, its answers, and the revisions of each metric that may have given them."""

    queries: tuple[UsageQuery, ...]
    answers: tuple[Usage, ...]
    revisions: Mapping[str, Sequence[str]]


class Falsified(AssertionError):
    """Something that must hold did not."""


def require(holds: bool, what: str) -> None:
    if not holds:
        raise Falsified(what)


def value_of(cell: Cell) -> Value:
    return Value(cell.events, cell.value, (cell.latest_us, cell.latest_id), cell.weighted)


def check_row(oracle: Oracle, key: CellKey, cell: Cell) -> None:
    """A cell, as it is written, is the value at the prefix that its version names."""
    expected = oracle.cell_at(key, cell.version)
    held = expected[1] if expected else Value()
    require(value_of(cell) == held, f"{key} was written as {cell}, but as of {cell.version} it is {held}")


def check_marker(oracle: Oracle, tables: Tables, marker: Marker) -> None:
    """Every change up to a marker is in the store when the marker is."""
    account = oracle.account(marker.partition)
    fills = tables.fills(marker.partition)
    for key in account.history:
        is_folded = key[1] in (CONSERVATION, CORRECTIONS) or (key[1] == COMBINATIONS and key[4][1:] == ())
        filled = key[2] if key[1] == COMBINATIONS else key[1]
        if not is_folded and fills.get((marker.partition, filled)) != FILLED_US:
            continue  # until it is filled, an absent cell is not zero
        change = oracle.cell_at(key, marker.offset)
        if change is not None:
            held = tables.cells.get(CellKey(*key))
            where = f"{key} changed at {change[0]} and the marker is at {marker.offset}"
            require(held is not None and held.version >= change[0], f"{where}, but the store has {held}")


def check_end(oracle: Oracle, tables: Tables) -> None:
    """After everything was folded, the store is what the oracle has, and it adds up."""
    for account in oracle.accounts():
        marker = tables.marker(account.partition)
        said = marker is not None and account.said <= marker.offset < account.folded  # a tick needs no marker
        require(said, f"{marker} of {account.folded} records, of which {account.said} is the last that says something")
        _check_cells(account, tables)
        _check_conservation(account, tables)
        _check_corrections(account, tables)
    _check_events(oracle, tables)
    _check_customers(oracle, tables)


def _check_cells(account: Account, tables: Tables) -> None:
    expected = {key: changes[-1] for key, changes in account.history.items() if changes[-1][1].events}
    mine = {key: cell for key, cell in tables.cells.items() if key.partition == account.partition and cell.events}
    require(expected.keys() == mine.keys(), f"cells that differ: {expected.keys() ^ mine.keys()}")
    for key, cell in mine.items():
        version, value = expected[tuple(key)]
        require(value_of(cell) == value, f"{key} is {cell}, not {value}")
        require(cell.version >= version, f"{key} is {cell}, and changed at {version}")


def _check_conservation(account: Account, tables: Tables) -> None:
    """Every event in the log's records has one outcome, and at most one copy of it counts."""
    mine = [(key, cell) for key, cell in tables.cells.items() if key.partition == account.partition]
    told = sum(cell.events for key, cell in mine if key.metric == "penstock.conservation")
    require(told == len(account.copies), f"{len(account.copies)} events in the log, {told} outcomes")
    kept = Counter((row.tenant, repr(row.event)) for row in account.originals)
    twice = [event for event, copies in kept.items() if copies > 1]
    require(not twice, f"the same event was kept twice, long apart: {twice}")


def _check_corrections(account: Account, tables: Tables) -> None:
    """Every correction in the log became what it must, at its first copy."""
    mine = [each for (partition, _), each in tables.held_corrections().items() if partition == account.partition]
    found = {(each.tenant, each.id): (each.offset, each.refusal) for each in mine}
    expected = account.told.refusals
    require(found == expected, f"corrections differ: {set(found.items()) ^ set(expected.items())}")


def _check_events(oracle: Oracle, tables: Tables) -> None:
    """Stored events stay as they came, whatever corrects them."""
    rows = [(account.partition, row) for account in oracle.accounts() for row in account.originals]
    expected = {(partition, row.offset, row.place): (row.tenant, row.outcome) for partition, row in rows}
    names = ("COUNTED", "DUPLICATE", "CONFLICT", "UNMATCHED", "LATE", "QUARANTINED", "VOIDED")
    found = {}
    for stored in tables.stored_events().table.to_pylist():
        found[stored["partition"], stored["offset"], stored["place"]] = (stored["tenant"], names[stored["outcome"]])
    require(found == expected, f"stored events differ: {set(found.items()) ^ set(expected.items())}")


def _check_customers(oracle: Oracle, tables: Tables) -> None:
    for tenant in TENANTS:
        rows = [row for account in oracle.accounts() for row in account.rows if row.tenant == tenant]
        expected = sorted({row.event["customer_id"] for row in rows})
        require(tables.customer_keys(tenant, "", 100) == expected, f"touched customers of {tenant} are not {expected}")


def check_acknowledged(oracle: Oracle, acknowledged: set[tuple[str, str]], accepted: set[tuple[str, str]]) -> None:
    """What a gateway called accepted or a duplicate is in the log; what it accepted was once kept there."""
    in_log = {copy[1:3] for account in oracle.accounts() for copy in account.copies}
    require(acknowledged <= in_log, f"acknowledged, but not in the log: {acknowledged - in_log}")
    kept = {(row.tenant, row.event["transaction_id"]) for account in oracle.accounts() for row in account.rows}
    require(accepted <= kept, f"accepted, but refused behind the log: {accepted - kept}")


def check_cut(oracle: Oracle, bodies: Mapping[str, tuple[str, Body]], cut: Cut) -> None:
    """A consistent read is what the reference model says of the log up to the vector that the read names.

    One revision of each metric answers all questions of the read: one that every partition had been filled with.
    """
    require(len({usage.vector for usage in cut.answers}) == 1, "one read has several vectors")
    asked: dict[str, list[tuple[UsageQuery, Usage]]] = {}
    for query, usage in zip(cut.queries, cut.answers, strict=True):
        asked.setdefault(query.metric_id, []).append((query, usage))
    for metric_id, pairs in asked.items():
        fits = [
            revision
            for revision in cut.revisions[metric_id]
            if all(
                _rows(usage) == expected_rows(oracle, bodies, revision, query, usage.vector) for query, usage in pairs
            )
        ]
        require(bool(fits), f"{pairs} is what none of {cut.revisions[metric_id]} makes")


def _rows(usage: Usage) -> Rows:
    return {(row.span, row.groups, row.customer_key): (row.value, row.events) for row in usage.rows}


def expected_rows(
    oracle: Oracle, bodies: Mapping[str, tuple[str, Body]], revision: str, query: UsageQuery, vector: Sequence[int]
) -> Rows:
    """What the reference model makes of the events in the revision as of a vector."""
    body = bodies[revision][1]
    boxes: dict[tuple[Any, ...], list[Body]] = {}
    for event in oracle.events_of(revision, vector):
        if event["customer_id"] not in query.customers:
            continue
        if any(reference.text(reference.prop(event, name)) not in values for name, values in query.filters):
            continue
        groups = tuple(reference.text(reference.prop(event, name)) for name in query.group_by)
        boxes.setdefault((groups, event["customer_id"] if query.by_customer_key else None), []).append(event)
    found: Rows = {}
    for (groups, customer), box in boxes.items():
        for span in query.spans:
            value, events = _figure(body, box, span)
            if events or (value and body["aggregation_type"] == "TIME_WEIGHTED_SUM"):
                found[span, groups, customer] = (value, events)
    return found


def _figure(body: Body, box: Sequence[Body], span: Span) -> tuple[Any, int]:
    """The value in a span, and how many events it counts there; of distinct values, how many there are."""
    if body["aggregation_type"] == "TIME_WEIGHTED_SUM":
        return level_reference.level_time(body, box, span.start, span.end)
    inside = [event for event in box if span.start <= event["timestamp"] < span.end]
    value, counted = reference.aggregate(body, inside) if inside else (None, 0)
    return value, int(value or 0) if body["aggregation_type"] == "UNIQUE" else counted
