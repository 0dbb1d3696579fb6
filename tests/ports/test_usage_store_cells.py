"""The contract of the usage store: cells, the newest of each, merged over what is not asked."""

from __future__ import annotations

from decimal import Decimal, localcontext

import pytest

from penstock.kernel.cell import CONSERVATION, FILLED_US, Cell, CellKey
from penstock.kernel.meter import Aggregation
from penstock.kernel.ports.usage_store import UsageStore
from penstock.kernel.quantity import EXACT
from penstock.kernel.window import BASE_WINDOW_US, from_us
from ports.usage_store_givens import NOON, NOON_US, a_flush, a_key, a_marker, a_question


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


def test_windows_are_those_with_stored_cells(store: UsageStore) -> None:
    store.flush(a_flush(a_marker(1), {a_key(0): Cell(1, version=1), a_key(3): Cell(1, version=1)}))

    assert store.windows(0) == {NOON_US, NOON_US + 3 * BASE_WINDOW_US}
    assert from_us(NOON_US) == NOON


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
