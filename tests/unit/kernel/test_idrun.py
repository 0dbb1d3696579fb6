"""Sorted runs and their filters: a filter never denies what is there, and a search finds exactly what is."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.kernel.idrun import Asked, Filter, IdRows, Places, Run, Words, lower_bound, newest_to_merge, rows_of

# Few first halves, some far apart and some in one block of a filter; ids that differ in their second half alone.
HALVES = st.one_of(st.sampled_from([0, 1, 2, 2**63, 2**64 - 1]), st.integers(0, 2**64 - 1))
IDS = st.tuples(HALVES, st.one_of(st.integers(0, 3), st.integers(0, 2**64 - 1)))


Ids = dict[tuple[int, int], int]


def rows(ids: Ids) -> IdRows:
    keys = np.array(list(ids), np.uint64).reshape(-1, 2)
    return rows_of(keys, np.array(list(ids.values()), np.uint64))


def asked(found: IdRows) -> Asked:
    ordered = found[np.argsort(found[:, 0])]
    return Asked(*(np.ascontiguousarray(column) for column in ordered.T))


def even(count: int, seed: int) -> IdRows:
    return np.random.default_rng(seed).integers(0, 2**64, (count, 3), np.uint64)


@given(st.dictionaries(IDS, st.integers(0, 2)), st.dictionaries(IDS, st.integers(0, 2)))
def test_a_run_finds_what_is_there_and_tells_another_body(held: Ids, others: Ids) -> None:
    run = Run.sort(5, rows(held))
    batch = asked(rows(others | {id: others.get(id, body) for id, body in held.items()}))

    found, conflict = run.find(batch)

    def ids(places: Places) -> set[tuple[int, int]]:
        return set(zip(batch.high[places].tolist(), batch.low[places].tolist(), strict=True))

    assert ids(found) == set(held)
    assert ids(conflict) == {id for id, body in held.items() if others.get(id, body) != body}
    assert len(found) == len(held)


@given(st.lists(HALVES, max_size=40), st.lists(HALVES, min_size=1, max_size=20), st.data())
def test_a_lower_bound_is_the_first_row_that_is_not_below(
    highs: list[int], wanted: list[int], data: st.DataObject
) -> None:
    column = np.sort(np.array(highs, np.uint64))
    flat = np.repeat(column, 3)
    high: Words = np.array(wanted, np.uint64)
    start = np.array([data.draw(st.integers(0, len(highs))) for _ in wanted])
    end = np.array([data.draw(st.integers(int(first), len(highs))) for first in start])

    bound = lower_bound(flat, high, start, end)

    assert bound.tolist() == np.clip(np.searchsorted(column, high), start, end).tolist()


def test_a_filter_passes_everything_that_is_there_and_little_else_in_less_than_two_bytes_an_id() -> None:
    run = even(200_000, seed=1)
    kept = Filter.of(run[np.argsort(run[:, 0])])

    assert len(kept.passing(asked(run))) == 200_000
    assert len(kept.passing(asked(even(200_000, seed=2)))) < 2_000
    assert kept.nbytes < 1.75 * 200_000


def test_a_filter_tells_where_an_id_stands() -> None:
    run = even(50_000, seed=3)
    run = run[np.argsort(run[:, 0])]
    start, end = Filter.of(run).reach(run[:, 0] >> np.uint64(32))

    assert (start <= np.arange(50_000)).all()
    assert (np.arange(50_000) < end).all()
    assert (end - start).mean() < 30


def test_a_filter_that_is_told_its_rows_in_parts_is_the_same() -> None:
    run = even(5_000, seed=4)
    run = run[np.argsort(run[:, 0])]
    whole, parted = Filter.of(run), Filter(5_000)
    for part in (run[:1], run[1:1], run[1:2_002], run[2_002:]):
        parted.add(part)
    parted.finish()

    assert (whole.first == parted.first).all()
    assert (whole.second == parted.second).all()
    assert (whole.starts == parted.starts).all()


@pytest.mark.parametrize(
    ("sizes", "count"),
    [
        ([], 0),
        ([1, 1, 1], 0),
        ([1, 1, 1, 1], 4),
        ([9, 1, 1, 1], 0),  # the large one would be written again for little
        ([6, 1, 1, 1], 4),
        ([9, 1, 1, 1, 1], 4),
        ([8, 1, 1, 1, 1], 5),
        ([1, 1, 1, 9], 4),
        ([100, 10, 10, 10, 3], 0),
    ],
)
def test_runs_are_merged_when_there_are_several_of_like_size(sizes: list[int], count: int) -> None:
    assert newest_to_merge(sizes) == count


def test_few_runs_remain_and_no_id_is_merged_often() -> None:
    sizes: list[int] = []
    written = 0
    for _ in range(1_000):
        sizes.append(1)
        while count := newest_to_merge(sizes):
            sizes[-count:] = [sum(sizes[-count:])]
            written += sizes[-1]

    assert len(sizes) < 16
    assert written < 8 * 1_000
