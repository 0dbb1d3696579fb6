"""The contract of the usage store: single events, once each and as of an offset, as rows and in whole records."""

from __future__ import annotations

from datetime import timedelta

import numpy as np

from penstock.kernel.chunk import Chunk
from penstock.kernel.event import Outcome
from penstock.kernel.identity import hash_bodies, identify
from penstock.kernel.ports.usage_store import UsageStore
from penstock.kernel.stored import Dropped, DroppedIds, LogPlace, StoredIds, Trace
from penstock.kernel.stored_chunk import StoredChunk
from penstock.kernel.window import BASE_WINDOW_US, Span
from ports.usage_store_givens import KEY, NOON, NOON_US, a_flush, a_marker, some_events


def test_events_written_twice_are_read_once_and_only_up_to_the_offset_named(store: UsageStore) -> None:
    for offset in (1, 2, 1):
        events, ids = some_events(offset, 5)
        store.flush(a_flush(a_marker(2), events=(events,), ids=(ids,)))
    quarantined, _ = some_events(0, 1, Outcome.QUARANTINED)
    store.flush(a_flush(a_marker(2), events=(quarantined,)))

    def read(as_of: tuple[int, ...], span: Span | None = None) -> list[str]:
        parts = store.read_events("acme", ("cust",), span, as_of, None)
        return sorted(i for part in parts for i in part.ids())

    assert read((2, -1)) == [f"tx-{o}-{i}" for o in (1, 2) for i in range(5)]
    assert read((1, -1)) == [f"tx-1-{i}" for i in range(5)]
    assert read((-1, 5)) == []
    minute = Span(NOON + timedelta(minutes=1), NOON + timedelta(minutes=3))
    assert read((1, -1), minute) == ["tx-1-1", "tx-1-2"]
    assert list(store.read_events("other", None, None, (2, 2), 0)) == []


def test_stored_events_come_back_as_they_were(store: UsageStore) -> None:
    events, _ = some_events(4, 3)
    store.flush(a_flush(a_marker(4), events=(events,)))

    [part] = store.read_events("acme", None, None, (4, -1), 0)

    assert sorted(part.properties) == [b'{"n":0}', b'{"n":1}', b'{"n":2}']
    assert sorted(part.times_us.tolist()) == [NOON_US, NOON_US + 60_000_000, NOON_US + 120_000_000]
    codes, names = part.codes("event_type")
    assert [names[c] for c in codes.tolist()] == ["call"] * 3
    assert np.asarray(part.table.column("offset")).tolist() == [4] * 3


def some_dropped(ids: StoredIds, offset: int, *outcomes: Outcome) -> DroppedIds:
    """Copies of the first of `ids`, in a record at `offset`."""
    count = len(outcomes)
    places = (np.full(count, offset, np.int64), np.arange(count, dtype=np.int64))
    judged = np.array(outcomes, np.uint8)
    return DroppedIds(20_001, ids.identities[:count], judged, *places, ids.times_us[:count])


def test_an_id_is_traced_to_where_it_was_kept_and_dropped_as_of_an_offset(store: UsageStore) -> None:
    events, ids = some_events(3, 4)
    copies = some_dropped(ids, 5, Outcome.DUPLICATE, Outcome.CONFLICT)
    again = some_dropped(ids, 8, Outcome.DUPLICATE)
    for _ in range(2):  # a flush that is written twice is counted once
        store.flush(a_flush(a_marker(8), events=(events,), ids=(ids,), dropped=(copies, again)))

    def traces(through: int, partition: int = 0) -> dict[bytes, Trace]:
        return {trace.identity: trace for trace in store.traces(partition, ids.identities[:3], through)}

    first, second, third = (ids.identities[row].tobytes() for row in range(3))
    kept = [LogPlace(0, 3, row, NOON_US + row * 60_000_000, 20_000) for row in range(3)]
    newest = [LogPlace(0, 8, 0, NOON_US, 20_001), LogPlace(0, 5, 1, NOON_US + 60_000_000, 20_001)]
    assert traces(8) == {
        first: Trace(first, (kept[0],), (Dropped(Outcome.DUPLICATE, 2, newest[0]),)),
        second: Trace(second, (kept[1],), (Dropped(Outcome.CONFLICT, 1, newest[1]),)),
        third: Trace(third, (kept[2],), ()),
    }
    assert traces(4) == {each: Trace(each, (kept[row],), ()) for row, each in enumerate([first, second, third])}
    assert traces(2) == traces(8, partition=1) == {}


def test_an_id_that_was_never_kept_is_traced_to_where_it_was_late(store: UsageStore) -> None:
    _, ids = some_events(3, 1)
    store.flush(a_flush(a_marker(3), dropped=(some_dropped(ids, 3, Outcome.LATE),)))

    [trace] = store.traces(0, ids.identities, 3)

    late = Dropped(Outcome.LATE, 1, LogPlace(0, 3, 0, NOON_US, 20_001))
    assert trace == Trace(ids.identities[0].tobytes(), (), (late,))
    assert store.traces(0, ids.identities[:0], 3) == []


def test_stored_events_are_found_by_their_places_quarantined_ones_too(store: UsageStore) -> None:
    counted, _ = some_events(3, 4)
    quarantined, _ = some_events(5, 2, Outcome.QUARANTINED)
    for _ in range(2):
        store.flush(a_flush(a_marker(5), events=(counted, quarantined)))

    def ids_at(tenant: str, *places: tuple[int, int, int]) -> list[str]:
        found = store.events_at(tenant, [LogPlace(0, offset, row, us, 20_000) for offset, row, us in places])
        return sorted(found.ids())

    third, last = (3, 2, NOON_US + 120_000_000), (5, 1, NOON_US + 60_000_000)
    assert ids_at("acme", third, last) == ["tx-3-2", "tx-5-1"]
    assert ids_at("other", third, last) == ids_at("acme") == ids_at("acme", (9, 0, NOON_US)) == []
    [row] = store.events_at("acme", [LogPlace(0, *last[:2], last[2], 20_000)]).table.to_pylist()
    assert (row["outcome"], row["properties"], row["customer"]) == (Outcome.QUARANTINED, b'{"n":1}', "cust")


def test_events_are_counted_by_stretches_of_offsets_and_once_however_often_written(store: UsageStore) -> None:
    counted, ids = some_events(3, 4)
    quarantined, _ = some_events(4, 2, Outcome.QUARANTINED)
    later, _ = some_events(5, 3)
    beyond, _ = some_events(8, 3)
    at = np.array([5, 5, 2]), np.array([0, 1, 0])
    dropped = DroppedIds(20_000, ids.identities[:3], np.array([1, 1, 4], np.uint8), *at, ids.times_us[:3])
    both = [Outcome.COUNTED, Outcome.UNMATCHED]
    mixed = a_stored_chunk(6, ["acme", "globex"] * 200, both * 150 + [Outcome.LATE] * 100)
    whole = a_stored_chunk(7, ["acme"] * 300, [Outcome.COUNTED] * 200 + [Outcome.QUARANTINED] * 100)
    for _ in range(2):
        rows = (counted, quarantined, later, beyond)
        store.flush(a_flush(a_marker(8), events=rows, dropped=(dropped,), chunks=(mixed, whole)))

    assert store.outcomes(0, (2, 3, 7)) == {
        (0, "acme", Outcome.COUNTED): 4,
        (1, "acme", Outcome.QUARANTINED): 2 + 100,
        (1, "acme", Outcome.COUNTED): 3 + 200 + 150,
        (1, "globex", Outcome.UNMATCHED): 150,
        (1, None, Outcome.DUPLICATE): 2,
    }
    assert store.outcomes(1, (2, 3, 7)) == {}


def a_stored_chunk(offset: int, tenants: list[str], outcomes: list[Outcome]) -> StoredChunk:
    """A record that is stored whole, with one event of each tenant that is named."""
    ids = [f"tx-{offset}-{n}" for n in range(len(tenants))]
    times = NOON_US + np.arange(len(ids), dtype=np.int64)
    chunk = Chunk.build(
        identities=identify(KEY, "acme", ids),
        body_hashes=np.zeros(len(ids), np.uint64),
        tenants=tenants,
        customers=["cust"] * len(ids),
        event_types=["call"] * len(ids),
        times_us=times,
        transaction_ids=ids,
        properties=[b"{}"] * len(ids),
    )
    return StoredChunk.of(20_000, offset, chunk.encode(), chunk, np.array(outcomes, np.uint8))


def a_whole_record(offset: int, outcomes: list[Outcome]) -> StoredChunk:
    """A record with one event a minute from noon on, for `cust` and `other` in turn."""
    count = len(outcomes)
    ids = [f"tx-{offset}-{i}" for i in range(count)]
    times = NOON_US + np.arange(count, dtype=np.int64) * 60_000_000
    customers = [("cust", "other")[i % 2] for i in range(count)]
    properties = [b'{"n":%d}' % i for i in range(count)]
    chunk = Chunk.build(
        identities=identify(KEY, "acme", ids),
        body_hashes=hash_bodies(customers, ["call"] * count, times, properties),
        tenants=["acme"] * count,
        customers=customers,
        event_types=["call"] * count,
        times_us=times,
        transaction_ids=ids,
        properties=properties,
    )
    return StoredChunk.of(20_000, offset, chunk.encode(), chunk, np.array(outcomes, np.uint8))


def read_ids(store: UsageStore, customers: tuple[str, ...] | None, span: Span | None, as_of: int) -> list[str]:
    return [i for events in store.read_events("acme", customers, span, (as_of, -1), None) for i in events.ids()]


def test_events_of_whole_records_are_read_beside_rows(store: UsageStore) -> None:
    events, _ = some_events(1, 2)
    kept, dropped, bad = Outcome.COUNTED, Outcome.DUPLICATE, Outcome.QUARANTINED
    whole = a_whole_record(2, [kept, Outcome.UNMATCHED, dropped, kept, bad])
    for _ in range(2):  # a replay writes the same again
        store.flush(a_flush(a_marker(2), events=(events,), chunks=(whole,)))
    store.flush(a_flush(a_marker(3), chunks=(a_whole_record(3, [kept]),)))

    everything = sorted(read_ids(store, None, None, 3))
    of_one_customer = sorted(read_ids(store, ("cust", "nobody"), None, 2))
    two_minutes = Span(NOON + timedelta(minutes=1), NOON + timedelta(minutes=4))

    assert everything == ["tx-1-0", "tx-1-1", "tx-2-0", "tx-2-1", "tx-2-3", "tx-3-0"]
    assert of_one_customer == ["tx-1-0", "tx-1-1", "tx-2-0"]
    assert sorted(read_ids(store, None, two_minutes, 3)) == ["tx-1-1", "tx-2-1", "tx-2-3"]
    assert read_ids(store, None, Span(NOON + timedelta(days=1), NOON + timedelta(days=2)), 3) == []
    assert [len(e) for e in store.read_events("someone", None, None, (3, -1), None)] == []


def test_an_event_of_a_whole_record_is_found_at_its_place(store: UsageStore) -> None:
    whole = a_whole_record(2, [Outcome.COUNTED, Outcome.QUARANTINED, Outcome.DUPLICATE])
    store.flush(a_flush(a_marker(2), chunks=(whole,)))
    places = [LogPlace(0, 2, index, NOON_US + index * 60_000_000, 20_000) for index in (1, 2)]

    found = store.events_at("acme", places)

    assert found.ids() == ["tx-2-1"]  # a duplicate is not kept
    assert found.table.column("outcome").to_pylist() == [Outcome.QUARANTINED]
    assert len(store.events_at("someone", places)) == 0


def test_hours_hold_the_events_of_a_tenant_and_partition_up_to_an_offset(store: UsageStore) -> None:
    events, _ = some_events(1, 90)  # a minute apart: the last thirty are an hour later
    later, _ = some_events(5, 3)
    whole = a_whole_record(2, [Outcome.COUNTED] * 20)
    for _ in range(2):
        store.flush(a_flush(a_marker(5), events=(events, later), chunks=(whole,)))
    hour_us = 4 * BASE_WINDOW_US

    before, through = (store.event_hours("acme", 0, offset) for offset in (1, 2))

    assert before == [(NOON_US, 60), (NOON_US + hour_us, 30)]
    assert [hour for hour, _ in through] == [NOON_US, NOON_US + hour_us]
    assert through[0][1] >= 80  # a copy of a whole record may be counted twice
    assert store.event_hours("acme", 0, 0) == store.event_hours("acme", 1, 9) == store.event_hours("other", 0, 9) == []
