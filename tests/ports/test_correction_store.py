"""Corrections in the usage store: the memory reference and ClickHouse, in process and served, pass one suite."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

import numpy as np
import pytest

from penstock.kernel.chunk import Chunk
from penstock.kernel.correction import Corrected, Refusal, Revision
from penstock.kernel.event import Outcome
from penstock.kernel.identity import hash_bodies, identify
from penstock.kernel.ports.fold_store import Flush
from penstock.kernel.ports.usage_store import UsageStore
from penstock.kernel.record import Marker
from penstock.kernel.stored import LogPlace, StoredEvents
from penstock.kernel.stored_chunk import StoredChunk
from penstock.kernel.window import Span, from_us, to_us

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
NOON_US = to_us(NOON)
MINUTE_US = 60_000_000
COUNTED, VOIDED, QUARANTINED = Outcome.COUNTED, Outcome.VOIDED, Outcome.QUARANTINED
ALL = Span(NOON, from_us(NOON_US + 60 * MINUTE_US))


def a_flush(offset: int, corrections: Sequence[Corrected] = (), **changes: object) -> Flush:
    parts = {"events": (), "ids": (), "controls": (), "touched": frozenset(), "cells": {}, **changes}
    marker = Marker(0, offset, "log-1", 2, bytes(16), NOON_US)
    return Flush(marker=marker, corrections=tuple(corrections), **parts)  # type: ignore[arg-type]


def events_at(offset: int, outcomes: Sequence[Outcome]) -> tuple[StoredEvents, StoredChunk]:
    """One record's events, a minute apart, of `cust` and `other` in turn: as rows, and whole."""
    count = len(outcomes)
    ids = [f"tx-{offset}-{n}" for n in range(count)]
    times = NOON_US + np.arange(count, dtype=np.int64) * MINUTE_US
    customers = [("cust", "other")[n % 2] for n in range(count)]
    properties = [b'{"n":1}'] * count
    chunk = Chunk.build(
        identities=identify(b"k" * 32, "acme", ids),
        body_hashes=hash_bodies(customers, ["call"] * count, times, properties),
        tenants=["acme"] * count,
        customers=customers,
        event_types=["call"] * count,
        times_us=times,
        transaction_ids=ids,
        properties=properties,
    )
    became = np.array(outcomes, np.uint8)
    rows = StoredEvents.of_chunk(chunk, 0, np.full(count, offset, np.int64), np.arange(count), became)
    return rows, StoredChunk.of(20_000, offset, chunk.encode(), chunk, became)


def a_correction(
    since: int, offset: int, index: int, outcome: Outcome = COUNTED, before: Outcome = COUNTED, **changes: object
) -> Corrected:
    parts = {"event_type": "call", "properties": b'{"n":%d}' % since, **changes}
    revision = Revision(
        partition=0,
        offset=offset,
        index=index,
        tenant="acme",
        customer=("cust", "other")[index % 2],
        time_us=NOON_US + index * MINUTE_US,
        transaction_id=f"tx-{offset}-{index}",
        outcome=outcome,
        since=since,
        **parts,  # type: ignore[arg-type]
    )
    return Corrected(0, since, f"c{since}", since * 10, "acme", revision.transaction_id, None, before, revision)


def read(
    store: UsageStore, through: int, customers: tuple[str, ...] | None = None, span: Span | None = ALL
) -> dict[str, bytes]:
    parts = list(store.read_events("acme", customers, span, (through, -1), None))
    pairs = [pair for part in parts for pair in zip(part.ids(), part.properties, strict=True)]
    assert len(dict(pairs)) == len(pairs), "an event is read once"
    return dict(pairs)


@pytest.fixture(params=["rows", "whole"])
def filled(request: pytest.FixtureRequest, store: UsageStore) -> UsageStore:
    """Two records, of which the second has an event in quarantine; then corrections, each flushed twice."""
    for offset, outcomes in ((1, [COUNTED] * 3), (2, [COUNTED, QUARANTINED])):
        rows, whole = events_at(offset, outcomes)
        form = {"events": (rows,)} if request.param == "rows" else {"chunks": (whole,)}
        store.flush(a_flush(offset, (), **form))
    for corrected in (
        a_correction(5, 1, 0),
        a_correction(6, 1, 0),
        a_correction(7, 1, 1, VOIDED),
        a_correction(8, 2, 1, before=QUARANTINED),
        a_correction(9, 1, 2, QUARANTINED),
        a_correction(10, 1, 0, VOIDED),
    ):
        for _ in range(2):
            store.flush(a_flush(corrected.offset, [corrected]))
    return store


def test_events_are_read_as_corrected_up_to_the_offset_named(filled: UsageStore) -> None:
    plain, first, second, fourth = b'{"n":1}', b'{"n":5}', b'{"n":6}', b'{"n":8}'

    assert read(filled, 4) == {"tx-1-0": plain, "tx-1-1": plain, "tx-1-2": plain, "tx-2-0": plain}
    assert read(filled, 5) == {"tx-1-0": first, "tx-1-1": plain, "tx-1-2": plain, "tx-2-0": plain}
    assert read(filled, 7) == {"tx-1-0": second, "tx-1-2": plain, "tx-2-0": plain}
    assert read(filled, 8) == {"tx-1-0": second, "tx-1-2": plain, "tx-2-0": plain, "tx-2-1": fourth}
    assert read(filled, 9) == {"tx-1-0": second, "tx-2-0": plain, "tx-2-1": fourth}
    assert read(filled, 10) == {"tx-2-0": plain, "tx-2-1": fourth}


def test_corrected_events_are_of_their_customer_and_time(filled: UsageStore) -> None:
    assert read(filled, 9, ("cust",)) == {"tx-1-0": b'{"n":6}', "tx-2-0": b'{"n":1}'}
    second_minute = Span(from_us(NOON_US + MINUTE_US), from_us(NOON_US + 2 * MINUTE_US))
    assert read(filled, 9, None, second_minute) == {"tx-2-1": b'{"n":8}'}
    assert read(filled, 9, ("nobody",)) == {}
    assert list(filled.read_events("other", None, None, (10, 10), None)) == []
    assert list(filled.read_events("acme", None, None, (10, 10), 1)) == []


def test_stored_events_themselves_stay_as_they_came(filled: UsageStore) -> None:
    [row] = filled.events_at("acme", [LogPlace(0, 1, 1, NOON_US + MINUTE_US, 20_000)]).table.to_pylist()

    assert (row["outcome"], row["properties"]) == (COUNTED, b'{"n":1}')


def test_corrections_of_ids_come_back_in_order_with_and_without_effect(store: UsageStore) -> None:
    amended = a_correction(5, 1, 0, properties=b'{"n": "\\u00e9\xc3\xa9"}', event_type="caf\u00e9")
    refused = Corrected(0, 6, "c6/x", 4, "acme", "tx-1-0", Refusal.OVERTAKEN)
    in_vain = Corrected(0, 7, "c7", 80, "acme", "tx-1-0", Refusal.OTHER_TIME, COUNTED)
    voided = a_correction(9, 1, 1, VOIDED)
    for corrected in (voided, amended, in_vain, refused, amended):
        store.flush(a_flush(corrected.offset, [corrected]))

    assert store.corrections("acme", ["tx-1-0"], 0, 9) == [amended, refused, in_vain]
    assert store.corrections("acme", ["tx-1-1", "tx-1-0", "none"], 0, 9) == [amended, refused, in_vain, voided]
    assert store.corrections("acme", ["tx-1-0"], 0, 6) == [amended, refused]
    assert store.corrections("acme", ["tx-1-0"], 0, 4) == store.corrections("acme", ["tx-1-0"], 1, 9) == []
    assert store.corrections("other", ["tx-1-0"], 0, 9) == store.corrections("acme", [], 0, 9) == []


def test_moves_between_outcomes_are_counted_by_stretches_of_the_events(filled: UsageStore) -> None:
    assert filled.moves(0, (0, 1, 2), 10) == {
        (0, "acme", COUNTED, VOIDED): 2,
        (0, "acme", COUNTED, QUARANTINED): 1,
        (1, "acme", QUARANTINED, COUNTED): 1,
    }
    assert filled.moves(0, (0, 1), 7) == {(0, "acme", COUNTED, VOIDED): 1}
    assert filled.moves(0, (1, 2), 7) == filled.moves(1, (0, 2), 10) == {}
