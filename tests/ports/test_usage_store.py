"""The contract of the usage store: what the owner of a partition finds again, markers, ids and control records."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest

from penstock.aggregator.store import id_rows
from penstock.aggregator.store.clickhouse import ClickHouseUsageStore
from penstock.kernel.cell import Cell
from penstock.kernel.ports.fold_store import Stretch
from penstock.kernel.ports.usage_store import UsageStore
from penstock.kernel.stored import StoredIds
from ports.usage_store_givens import a_flush, a_key, a_marker, some_events


def test_an_empty_store_has_no_marker(store: UsageStore) -> None:
    assert store.marker(0) is None
    assert store.markers() == {}
    assert store.windows(0) == set()


def test_the_newest_marker_of_each_partition_is_kept(store: UsageStore) -> None:
    for marker in (a_marker(3), a_marker(9), a_marker(5), a_marker(1, partition=1)):
        store.flush(a_flush(marker))

    assert store.markers() == {0: a_marker(9), 1: a_marker(1, partition=1)}
    assert store.marker(0) == a_marker(9)


def test_ids_come_back_by_generation_up_to_the_marker(store: UsageStore) -> None:
    _, ids = some_events(1, 4)
    _, later = some_events(2, 2)
    old = StoredIds(19_000, later.identities, later.bodies, later.offsets - 2, later.indices, later.times_us)
    for part in (ids, ids, later, old):
        store.flush(a_flush(a_marker(2), ids=(part,)))

    [(day, identities, bodies)] = list(store.ids(0, Stretch(19_999, 1)))

    assert day == 20_000
    back = sorted(map(tuple, np.column_stack([identities, bodies]).tolist()))
    assert back == sorted(map(tuple, np.column_stack([ids.identities, ids.bodies]).tolist()))


def test_ids_above_an_offset_of_their_first_day_come_back_alone(store: UsageStore) -> None:
    parts = [some_events(offset, 2)[1] for offset in range(4)]
    for offset, day in enumerate((20_000, 20_001, 20_001, 20_002)):
        parts[offset].day = day
    store.flush(a_flush(a_marker(3), ids=tuple(parts)))

    found = {day: len(ids) for day, ids, _ in store.ids(0, Stretch(20_001, 3, above=1))}
    [(_, identities, bodies)] = store.ids(0, Stretch(20_001, 2, above=1))

    assert found == {20_001: 2, 20_002: 2}
    rows = [np.column_stack(pair).tolist() for pair in ((identities, bodies), (parts[2].identities, parts[2].bodies))]
    assert sorted(rows[0]) == sorted(rows[1])
    assert list(store.ids(0, Stretch(20_002, 3, above=3))) == []


def test_ids_of_a_stretch_are_counted_by_day(store: UsageStore) -> None:
    parts = [some_events(offset, 2)[1] for offset in range(4)]
    for offset, day in enumerate((20_000, 20_001, 20_001, 20_002)):
        parts[offset].day = day
    store.flush(a_flush(a_marker(3), ids=tuple(parts)))

    assert store.count_ids(0, Stretch(20_000, 3)) == {20_000: 2, 20_001: 4, 20_002: 2}
    assert store.count_ids(0, Stretch(20_001, 2, above=1)) == {20_001: 2}
    assert store.count_ids(0, Stretch(20_000, 3, until_day=20_001)) == {20_000: 2, 20_001: 4}
    assert store.count_ids(1, Stretch(20_000, 3)) == store.count_ids(0, Stretch(20_002, 2)) == {}


def test_those_of_some_ids_that_a_stretch_has_are_known_with_their_bodies(
    store: UsageStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(id_rows, "ASKED_MAX", 3)  # more than one question
    parts = [some_events(offset, 2)[1] for offset in range(4)]
    for offset, day in enumerate((20_000, 20_001, 20_001, 20_002)):
        parts[offset].day = day
    store.flush(a_flush(a_marker(3), ids=(*parts, parts[2])))
    asked = np.concatenate([part.identities[:1] for part in parts] + [some_events(9, 3)[1].identities])

    def known(partition: int, stretch: Stretch) -> set[tuple[int, ...]]:
        return {tuple(row) for row in np.column_stack(store.known(partition, stretch, asked)).tolist()}

    first = [(*part.identities[0].tolist(), int(part.bodies[0])) for part in parts]
    assert known(0, Stretch(20_000, 3)) == set(first)
    assert known(0, Stretch(20_001, 2, above=1)) == {first[2]}
    assert known(0, Stretch(20_000, 3, until_day=20_001)) == set(first[:3])
    assert known(1, Stretch(20_000, 3)) == known(0, Stretch(20_003, 3)) == set()
    assert [len(each) for each in store.known(0, Stretch(20_000, 3), asked[:0])] == [0, 0]


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


def test_a_clickhouse_store_keeps_everything_over_a_restart(tmp_path: Path) -> None:
    first = ClickHouseUsageStore.embedded(tmp_path / "usage")
    first.flush(a_flush(a_marker(6), {a_key(): Cell(2, Decimal("5.5"), version=6)}))
    first.close()

    second = ClickHouseUsageStore.embedded(tmp_path / "usage")

    assert second.marker(0) == a_marker(6)
    assert second.load_cells([a_key()]) == {a_key(): Cell(2, Decimal("5.5"), version=6)}
    second.close()


def test_control_records_come_with_their_offsets_whatever_the_marker_says(store: UsageStore) -> None:
    store.flush(a_flush(a_marker(1), controls=((4, b"b\0"), (1, b"a"))))
    store.flush(a_flush(a_marker(0, partition=1), controls=((0, b"c"),)))

    assert store.control_records(0) == [(1, b"a"), (4, b"b\0")]
