"""The contract of the usage store: the memory reference and ClickHouse, in process and served, pass one suite."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal, localcontext
from pathlib import Path

import numpy as np
import pytest

from penstock.aggregator.store.clickhouse import ClickHouseUsageStore
from penstock.kernel.cell import CONSERVATION, FILLED_US, Cell, CellKey, CellQuestion
from penstock.kernel.chunk import Chunk
from penstock.kernel.event import Outcome
from penstock.kernel.identity import hash_bodies, identify
from penstock.kernel.meter import Aggregation
from penstock.kernel.ports import Flush, UsageStore
from penstock.kernel.quantity import EXACT
from penstock.kernel.record import Marker
from penstock.kernel.stored import Dropped, DroppedIds, LogPlace, StoredEvents, StoredIds, Trace
from penstock.kernel.stored_chunk import StoredChunk
from penstock.kernel.window import BASE_WINDOW_US, Span, from_us, to_us

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
NOON_US = to_us(NOON)
KEY = b"k" * 32


def a_marker(offset: int, partition: int = 0, clock_us: int = NOON_US) -> Marker:
    return Marker(partition, offset, "log-1", 2, bytes([offset % 256] * 16), clock_us)


def a_key(window: int = 0, groups: tuple[str | None, ...] = ("eu",), **changes: object) -> CellKey:
    base = CellKey("acme", "m1", "cust", NOON_US + window * BASE_WINDOW_US, groups, None, 0)
    return base._replace(**changes)  # type: ignore[arg-type]


def a_flush(marker: Marker, cells: dict[CellKey, Cell] | None = None, **changes: object) -> Flush:
    parts = {"events": (), "ids": (), "controls": (), "touched": frozenset(), **changes}
    return Flush(cells=cells or {}, marker=marker, **parts)  # type: ignore[arg-type]


def a_question(aggregation: Aggregation = Aggregation.SUM, **changes: object) -> CellQuestion:
    whole = {"start_us": NOON_US, "end_us": NOON_US + 96 * BASE_WINDOW_US, "starts": (NOON_US,)}
    parts = {"tenant": "acme", "metric": "m1", "customers": ("cust",), **whole, **changes}
    return CellQuestion(aggregation=aggregation, **parts)  # type: ignore[arg-type]


def some_events(offset: int, count: int, outcome: Outcome = Outcome.COUNTED) -> tuple[StoredEvents, StoredIds]:
    ids = [f"tx-{offset}-{i}" for i in range(count)]
    times = NOON_US + np.arange(count, dtype=np.int64) * 60_000_000
    identities = identify(KEY, "acme", ids)
    properties = [b'{"n":%d}' % i for i in range(count)]
    names = (["cust"] * count, ["call"] * count)
    bodies = hash_bodies(*names, times, properties)
    chunk = Chunk.build(
        identities=identities,
        body_hashes=bodies,
        tenants=["acme"] * count,
        customers=names[0],
        event_types=names[1],
        times_us=times,
        transaction_ids=ids,
        properties=properties,
    )
    offsets, indices = np.full(count, offset, np.int64), np.arange(count, dtype=np.int64)
    events = StoredEvents.of_chunk(chunk, 0, offsets, indices, np.full(count, outcome, np.uint8))
    return events, StoredIds(20_000, identities, bodies, offsets, indices, times)


def test_an_empty_store_has_no_marker(store: UsageStore) -> None:
    assert store.marker(0) is None
    assert store.markers() == {}
    assert store.windows(0) == set()


def test_the_newest_marker_of_each_partition_is_kept(store: UsageStore) -> None:
    for marker in (a_marker(3), a_marker(9), a_marker(5), a_marker(1, partition=1)):
        store.flush(a_flush(marker))

    assert store.markers() == {0: a_marker(9), 1: a_marker(1, partition=1)}
    assert store.marker(0) == a_marker(9)


def test_the_greatest_version_of_a_cell_wins_whatever_the_order(store: UsageStore) -> None:
    store.flush(a_flush(a_marker(7), {a_key(): Cell(2, Decimal("5.5"), version=7)}))
    store.flush(a_flush(a_marker(4), {a_key(): Cell(1, Decimal("2.5"), version=4)}))

    assert store.load_cells([a_key(), a_key(window=1)]) == {a_key(): Cell(2, Decimal("5.5"), version=7)}


def test_a_loaded_cell_keeps_every_digit_group_and_order_of_latest(store: UsageStore) -> None:
    wide = Decimal("9" * 26 + "." + "9" * 12)
    cells = {
        a_key(groups=(None, "", "=x'\\", "ü"), member="a"): Cell(3, wide, NOON_US + 7, "tx-ü", 5),
        a_key(groups=(None, "", "=x'\\", "ü"), member=None): Cell(1, -wide, 0, "", 5),
    }
    store.flush(a_flush(a_marker(5), cells))

    assert store.load_cells(list(cells)) == cells


def test_cells_merge_over_what_is_not_asked(store: UsageStore) -> None:
    cells = {
        a_key(0, ("eu", "a")): Cell(1, Decimal(1), version=1),
        a_key(1, ("eu", "b")): Cell(2, Decimal("2.25"), version=2),
        a_key(4, ("us", "a")): Cell(3, Decimal(4), version=3),
        a_key(4, ("us", "a"), partition=1): Cell(1, Decimal(8), version=9),
        a_key(4, ("us", None)): Cell(0, Decimal(0), version=3),
        a_key(0, ("eu", "a"), customer="other"): Cell(1, Decimal(100), version=4),
    }
    store.flush(a_flush(a_marker(9), cells))
    hours = (NOON_US, NOON_US + 4 * BASE_WINDOW_US)

    answer = store.read_cells(a_question(starts=hours, group_at=(0,)))

    rows = [(r.start_us, r.groups, r.cell.events, r.cell.value) for r in sorted(answer.rows, key=lambda r: r[0])]
    assert rows == [(hours[0], ("eu",), 3, Decimal("3.25")), (hours[1], ("us",), 4, Decimal(12))]
    assert answer.versions == {0: 3, 1: 9}


def test_cells_are_filtered_by_group_values_and_told_apart_by_customer(store: UsageStore) -> None:
    cells = {
        a_key(0, ("eu",)): Cell(1, Decimal(1), version=1),
        a_key(0, (None,)): Cell(1, Decimal(2), version=1),
        a_key(0, ("us",), customer="other"): Cell(1, Decimal(4), version=1),
    }
    store.flush(a_flush(a_marker(1), cells))

    filtered = store.read_cells(a_question(filters=((0, (None, "us")),), customers=None, by_customer=True))

    assert sorted((r.customer, r.cell.value) for r in filtered.rows) == [("cust", Decimal(2)), ("other", Decimal(4))]


@pytest.mark.parametrize(
    ("aggregation", "value"),
    [(Aggregation.MAX, "7"), (Aggregation.MIN, "-3"), (Aggregation.LATEST, "2.5"), (Aggregation.SUM, "6.5")],
)
def test_extremes_and_latest_ignore_cells_without_events(
    store: UsageStore, aggregation: Aggregation, value: str
) -> None:
    cells = {
        a_key(0): Cell(1, Decimal(7), NOON_US + 1, "a", 1),
        a_key(1): Cell(1, Decimal(-3), NOON_US + 2, "a", 1),
        a_key(2): Cell(1, Decimal("2.5"), NOON_US + 2, "b", 1),
        a_key(3): Cell(0, Decimal(0), 0, "", 1),
    }
    store.flush(a_flush(a_marker(1), cells))

    [row] = store.read_cells(a_question(aggregation)).rows

    assert (row.cell.events, row.cell.value) == (3, Decimal(value))
    assert (row.cell.latest_us, row.cell.latest_id) == (NOON_US + 2, "b") or aggregation is not Aggregation.LATEST


def test_levels_of_a_stretch_merge_as_seen_from_its_start_with_every_digit(store: UsageStore) -> None:
    wide, seven_wide = Decimal("9" * 26 + "." + "9" * 12), Decimal("6" + "9" * 26 + "." + "9" * 11 + "3")
    cells = {
        a_key(0): Cell(1, Decimal(3), version=1, weighted=Decimal("1.5")),
        a_key(1): Cell(1, Decimal(-2), version=1, weighted=Decimal(-14)),
        a_key(2, partition=1): Cell(1, wide, version=1, weighted=seven_wide),
    }
    store.flush(a_flush(a_marker(1), cells))
    assert store.load_cells(list(cells)) == cells

    def rows(*starts: int) -> list[tuple[int, Decimal, Decimal]]:
        asked = a_question(Aggregation.TIME_WEIGHTED_SUM, start_us=starts[0], starts=starts)
        found = sorted(store.read_cells(asked).rows, key=lambda row: row.start_us)
        return [(row.start_us, row.cell.value, row.cell.weighted) for row in found]

    second, third = NOON_US + BASE_WINDOW_US, NOON_US + 2 * BASE_WINDOW_US
    assert rows(NOON_US, third) == [
        (NOON_US, Decimal(1), Decimal("1.5") - 14 - 2 * BASE_WINDOW_US), (third, wide, seven_wide),
    ]  # fmt: skip
    with localcontext(EXACT):
        total = Decimal("1.5") - 14 - 2 * second + 3 * NOON_US + seven_wide + wide * third
        assert rows(0) == [(0, wide + 1, total)]


def test_unique_counts_each_value_once_over_windows_and_partitions(store: UsageStore) -> None:
    cells = {
        a_key(0, member="ann"): Cell(2, version=1),
        a_key(1, member="ann"): Cell(1, version=1),
        a_key(1, member="ann", partition=1): Cell(1, version=1),
        a_key(1, member="bob"): Cell(1, version=1),
        a_key(2, member="eve"): Cell(0, version=1),
    }
    store.flush(a_flush(a_marker(1), cells))

    [row] = store.read_cells(a_question(Aggregation.UNIQUE)).rows
    members = store.read_cells(a_question(Aggregation.UNIQUE, members=True)).rows

    assert row.cell.events == 2
    assert sorted(str(r.member) for r in members) == ["ann", "bob"]


def some_grouped_cells() -> dict[CellKey, Cell]:
    """Of two customers, three keys and two group keys; each value is another power of two."""
    places = [
        (0, ("eu", "a"), "cust"),
        (0, ("us", "a"), "cust"),
        (1, ("eu", "it's"), "alias"),
        (4, ("us", None), "cust"),
        (4, ("eu", "a"), "other"),
        (5, (None, None), "other"),
    ]
    return {
        a_key(window, groups, customer=customer): Cell(1, Decimal(2**n), version=n)
        for n, (window, groups, customer) in enumerate(places)
    }


KEYS = ("cust", "alias", "other")


def figures(store: UsageStore, **changes: object) -> dict[tuple[object, ...], Decimal]:
    rows = store.read_cells(a_question(Aggregation.SUM, customers=KEYS, **changes)).rows
    return {(*row.groups, *([row.customer] if row.customer else [])): row.cell.value for row in rows}


def test_cells_are_filtered_by_keys_that_are_not_grouped_by_and_grouped_in_any_order(store: UsageStore) -> None:
    store.flush(a_flush(a_marker(9), some_grouped_cells()))

    assert figures(store, group_at=(1, 0), filters=((0, ("eu", "none")),)) == {("a", "eu"): 17, ("it's", "eu"): 4}
    assert figures(store, group_at=(0,), filters=((1, ("it's", None)),)) == {("eu",): 4, ("us",): 8, (None,): 32}
    assert figures(store, group_at=(1,), excluded=((0, ("eu", None)),)) == {("a",): 2, (None,): 8}
    assert figures(store, excluded=((1, (None,)),), filters=((0, ("us",)),)) == {(): 2}
    assert figures(store, filters=((0, ("nowhere",)),)) == {}


def test_keys_of_one_owner_merge(store: UsageStore) -> None:
    store.flush(a_flush(a_marker(9), some_grouped_cells()))
    owned = {"by_customer": True, "owners": ("c'1", "c'1", "c2")}

    assert figures(store, **owned) == {("c'1",): 15, ("c2",): 48}
    assert figures(store, group_at=(0,), **owned) == {
        ("eu", "c'1"): 5, ("us", "c'1"): 10, ("eu", "c2"): 16, (None, "c2"): 32,
    }  # fmt: skip


def test_what_is_not_kept_merges_into_the_rest(store: UsageStore) -> None:
    store.flush(a_flush(a_marker(9), some_grouped_cells()))
    owned = {"by_customer": True, "owners": ("c1", "c1", "c2")}

    assert figures(store, group_at=(1,), kept=((("it's",), None), ((None,), None))) == {
        ("it's",): 4, (None,): 40, (): 19,
    }  # fmt: skip
    assert figures(store, group_at=(0,), kept=((("eu",), "c2"),), **owned) == {("eu", "c2"): 16, (): 47}
    assert figures(store, kept=(((), "c1"),), **owned) == {("c1",): 15, (): 48}


def test_the_rest_counts_each_unique_value_once(store: UsageStore) -> None:
    seen = [("a", "x"), ("b", "x"), ("c", "x"), ("c", "y"), ("a", "z")]
    cells = {a_key(n, (group,), member=member): Cell(1, version=1) for n, (group, member) in enumerate(seen)}
    store.flush(a_flush(a_marker(1), cells))

    rows = store.read_cells(a_question(Aggregation.UNIQUE, group_at=(0,), kept=((("a",), None),))).rows

    assert sorted((row.groups, row.cell.events) for row in rows) == [((), 2), (("a",), 2)]


def test_versions_alone_are_the_greatest_of_each_partition_emptied_cells_too(store: UsageStore) -> None:
    cells = {
        a_key(0): Cell(1, Decimal(1), version=3),
        a_key(1): Cell(0, version=7),
        a_key(2, partition=1): Cell(1, Decimal(1), version=5),
        a_key(3, ("us",), partition=1): Cell(1, Decimal(1), version=8),
        a_key(0, customer="other"): Cell(1, Decimal(1), version=9),
    }
    store.flush(a_flush(a_marker(9), {a_key(0): Cell(1, Decimal(1), version=2)}))
    store.flush(a_flush(a_marker(9), cells))

    answer = store.read_cells(a_question(versions_only=True, filters=((0, ("eu",)),)))

    assert (answer.rows, answer.versions) == ((), {0: 7, 1: 5})


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


def test_ids_come_back_by_generation_up_to_the_marker(store: UsageStore) -> None:
    _, ids = some_events(1, 4)
    _, later = some_events(2, 2)
    old = StoredIds(19_000, later.identities, later.bodies, later.offsets - 2, later.indices, later.times_us)
    for part in (ids, ids, later, old):
        store.flush(a_flush(a_marker(2), ids=(part,)))

    [(day, identities, bodies)] = list(store.ids(0, through=1, since_day=19_999))

    assert day == 20_000
    back = sorted(map(tuple, np.column_stack([identities, bodies]).tolist()))
    assert back == sorted(map(tuple, np.column_stack([ids.identities, ids.bodies]).tolist()))


def test_ids_above_an_offset_of_their_first_day_come_back_alone(store: UsageStore) -> None:
    parts = [some_events(offset, 2)[1] for offset in range(4)]
    for offset, day in enumerate((20_000, 20_001, 20_001, 20_002)):
        parts[offset].day = day
    store.flush(a_flush(a_marker(3), ids=tuple(parts)))

    found = {day: len(ids) for day, ids, _ in store.ids(0, through=3, since_day=20_001, above=1)}
    [(_, identities, bodies)] = store.ids(0, through=2, since_day=20_001, above=1)

    assert found == {20_001: 2, 20_002: 2}
    rows = [np.column_stack(pair).tolist() for pair in ((identities, bodies), (parts[2].identities, parts[2].bodies))]
    assert sorted(rows[0]) == sorted(rows[1])
    assert list(store.ids(0, through=3, since_day=20_002, above=3)) == []


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


def test_controls_come_back_in_log_order_up_to_the_marker(store: UsageStore) -> None:
    for offset in (3, 8, 5, 3):
        store.flush(a_flush(a_marker(offset), controls=((offset, b'{"at":%d,"x":"\xc3\xbc"}' % offset),)))

    assert [payload for _, payload in store.controls(0, 5)] == [b'{"at":3,"x":"\xc3\xbc"}', b'{"at":5,"x":"\xc3\xbc"}']
    assert store.controls(1, 9) == []


def test_customer_keys_are_listed_once_in_order(store: UsageStore) -> None:
    touched = frozenset({("acme", "b"), ("acme", "a"), ("other", "z")})
    for offset in (1, 2):
        store.flush(a_flush(a_marker(offset), touched=touched))

    assert store.customer_keys("acme", "", 10) == ["a", "b"]
    assert store.customer_keys("acme", "a", 1) == ["b"]


def test_windows_are_those_with_stored_cells(store: UsageStore) -> None:
    store.flush(a_flush(a_marker(1), {a_key(0): Cell(1, version=1), a_key(3): Cell(1, version=1)}))

    assert store.windows(0) == {NOON_US, NOON_US + 3 * BASE_WINDOW_US}
    assert from_us(NOON_US) == NOON


def test_a_clickhouse_store_keeps_everything_over_a_restart(tmp_path: Path) -> None:
    first = ClickHouseUsageStore.embedded(tmp_path / "usage")
    first.flush(a_flush(a_marker(6), {a_key(): Cell(2, Decimal("5.5"), version=6)}))
    first.close()

    second = ClickHouseUsageStore.embedded(tmp_path / "usage")

    assert second.marker(0) == a_marker(6)
    assert second.load_cells([a_key()]) == {a_key(): Cell(2, Decimal("5.5"), version=6)}
    second.close()


def test_stored_cells_are_read_as_they_are_by_any_part_of_their_key(store: UsageStore) -> None:
    cells = {
        a_key(): Cell(2, Decimal("5.5"), version=7),
        a_key(window=4, groups=(None, "a"), member="x"): Cell(1, Decimal(3), NOON_US, "tx", 8),
        a_key(customer="other"): Cell(0, Decimal(0), version=3),
        a_key(metric="m2", partition=1): Cell(4, Decimal(1), version=2),
        a_key(tenant="globex"): Cell(5, Decimal(1), version=4),
    }
    store.flush(a_flush(a_marker(9), cells))
    store.flush(a_flush(a_marker(9), {a_key(): Cell(1, Decimal(1), version=6)}))
    first, second, other, _, last = cells

    def found(*asked: object) -> list[CellKey]:
        rows = store.stored_cells(*asked)  # type: ignore[arg-type]
        assert all(cells[key] == cell for key, cell in rows.items())
        return sorted(rows, key=repr)

    assert found(None, None, None, None, None) == sorted(cells, key=repr)
    assert found("acme", "m1", ("cust",), None, 0) == sorted([first, second], key=repr)
    assert found("acme", "m1", None, (NOON_US, NOON_US + BASE_WINDOW_US), None) == sorted([first, other], key=repr)
    assert found("globex", None, None, None, None) == [last]
    assert found("acme", None, (), None, None) == []


def test_of_cells_of_one_version_the_last_that_was_written_is_read(store: UsageStore) -> None:
    """What a rebuild writes over a cell at the marker's own version must win."""
    for events in (99, 3):
        store.flush(a_flush(a_marker(7), {a_key(): Cell(events, Decimal(events), version=7)}))

    assert store.load_cells([a_key()]) == {a_key(): Cell(3, Decimal(3), version=7)}


def test_hours_are_those_of_conservation_cells_with_their_greatest_version(store: UsageStore) -> None:
    def conserved(outcome: str, **changes: object) -> CellKey:
        return a_key(0, (outcome,), metric=CONSERVATION, customer="", **changes)

    cells = {
        conserved("COUNTED"): Cell(1, version=3),
        conserved("LATE", tenant="globex"): Cell(1, version=5),
        conserved("LATE", partition=1): Cell(1, version=9),
    }
    later = {a_key(4, ("COUNTED",), metric=CONSERVATION, customer=""): Cell(1, version=8)}
    store.flush(a_flush(a_marker(9), {**cells, **later, a_key(8): Cell(1, version=9)}))

    assert store.hours(0) == [(NOON_US, 5), (NOON_US + 4 * BASE_WINDOW_US, 8)]
    assert store.hours(1) == [(NOON_US, 9)]
    assert store.hours(2) == []


def test_control_records_come_with_their_offsets_whatever_the_marker_says(store: UsageStore) -> None:
    store.flush(a_flush(a_marker(1), controls=((4, b"b\0"), (1, b"a"))))
    store.flush(a_flush(a_marker(0, partition=1), controls=((0, b"c"),)))

    assert store.control_records(0) == [(1, b"a"), (4, b"b\0")]


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


def test_a_fill_tells_how_far_it_has_come_and_replaces_no_newer_cell(store: UsageStore) -> None:
    store.flush(a_flush(a_marker(9), {a_key(): Cell(5, Decimal(5), version=9)}))
    older = {a_key(window): Cell(1, Decimal(1), version=4) for window in (0, 1)}
    for _ in range(2):
        store.write_fill(0, "m1", older, NOON_US)
    store.write_fill(1, "m1", {}, FILLED_US)
    store.write_fill(0, "m2", {}, FILLED_US)
    store.write_fill(0, "m2", {}, NOON_US)  # of a job that was late

    cells = store.load_cells(list(older))

    assert {key: cell.version for key, cell in cells.items()} == {a_key(0): 9, a_key(1): 4}
    assert store.fills(0) == {(0, "m1"): NOON_US, (0, "m2"): FILLED_US}
    assert store.fills(None) == {**store.fills(0), (1, "m1"): FILLED_US}
    assert store.fills(2) == {}
    assert store.markers() == {0: a_marker(9)}
