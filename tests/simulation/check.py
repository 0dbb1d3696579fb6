"""What must hold: the store and every read against the oracle, and nothing that was acknowledged is missing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import reference
from builders import Body
from penstock.kernel.cell import CONSERVATION, CORRECTIONS, FILLED_US, Cell, CellKey
from penstock.kernel.record import Marker
from penstock.kernel.usage import Usage, UsageQuery
from simulation.faulty_store import Tables
from simulation.oracle import Account, Oracle, Value
from simulation.traffic import TENANTS

Rows = dict[tuple[Any, ...], tuple[Any, int]]


class Falsified(AssertionError):
    """Something that must hold did not."""


def require(holds: bool, what: str) -> None:
    if not holds:
        raise Falsified(what)


def value_of(cell: Cell) -> Value:
    return Value(cell.events, cell.value, (cell.latest_us, cell.latest_id))


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
        if key[1] not in (CONSERVATION, CORRECTIONS) and fills.get((marker.partition, key[1])) != FILLED_US:
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
    names = ("COUNTED", "DUPLICATE", "CONFLICT", "UNMATCHED", "LATE", "QUARANTINED")
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


def check_cut(
    oracle: Oracle, bodies: dict[str, tuple[str, Body]], queries: Sequence[UsageQuery], answers: Sequence[Usage]
) -> None:
    """A consistent read is what the reference model says of the log up to the vector that the read names."""
    require(len({usage.vector for usage in answers}) == 1, "one read has several vectors")
    for query, usage in zip(queries, answers, strict=True):
        _, body = bodies[query.metric_id]
        expected = expected_rows(body, oracle.events_of(query.metric_id, usage.vector), query)
        found = {(row.span, row.groups, row.customer_key): (row.value, row.events) for row in usage.rows}
        require(found == expected, f"{query} at {usage.vector} was answered {found}, not {expected}")


def expected_rows(body: Body, events: Sequence[Body], query: UsageQuery) -> Rows:
    boxes: dict[tuple[Any, ...], list[Body]] = {}
    for event in events:
        if event["customer_id"] not in query.customers:
            continue
        if any(reference.text(reference.prop(event, name)) not in values for name, values in query.filters):
            continue
        groups = tuple(reference.text(reference.prop(event, name)) for name in query.group_by)
        customer = event["customer_id"] if query.by_customer_key else None
        for span in query.spans:
            if span.start <= event["timestamp"] < span.end:
                boxes.setdefault((span, groups, customer), []).append(event)
    found: Rows = {}
    for place, box in boxes.items():
        value, counted = reference.aggregate(body, box)
        if counted:
            found[place] = (value, int(value or 0) if body["aggregation_type"] == "UNIQUE" else counted)
    return found
