"""Cells of every aggregation form a commutative monoid: how a stream was cut and ordered leaves no trace."""

from __future__ import annotations

import functools
from decimal import Decimal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.kernel.cell import Cell, merge, moved
from penstock.kernel.meter import Aggregation
from penstock.kernel.quantity import exact
from penstock.kernel.window import BASE_WINDOW_US

VALUES = st.decimals(min_value=-(10**26) + 1, max_value=10**26 - 1, places=12, allow_nan=False, allow_infinity=False)
COUNTED = (Aggregation.COUNT, Aggregation.UNIQUE)
Meaning = tuple[object, ...]


@st.composite
def cells(draw: st.DrawFn, aggregation: Aggregation, id: str) -> Cell:
    """A cell as the fold makes them; `id` differs from cell to cell, as transaction ids do."""
    events = draw(st.integers(0, 3))
    cell = Cell(events=events, version=draw(st.integers(-1, 9)))
    if aggregation not in COUNTED:
        cell.value = draw(VALUES)
    if aggregation is Aggregation.LATEST:
        cell.latest_us, cell.latest_id = draw(st.integers(0, 3)), id
    if aggregation is Aggregation.TIME_WEIGHTED_SUM:
        cell.weighted = cell.value * draw(st.integers(0, BASE_WINDOW_US - 1))
    return cell


@exact
def merged(aggregation: Aggregation, *parts: Cell) -> Cell:
    into = msgspec.structs.replace(parts[0])
    for part in parts[1:]:
        merge(aggregation, into, part)
    return into


def meaning(aggregation: Aggregation, cell: Cell) -> Meaning:
    """What a reader may conclude: without events only the version means something."""
    if not cell.events:
        return (cell.version,)
    return (cell.version, cell.events, cell.value, cell.latest_us, cell.latest_id, cell.weighted)


every_aggregation = pytest.mark.parametrize("aggregation", list(Aggregation))


@every_aggregation
@given(data=st.data())
def test_merge_is_associative(aggregation: Aggregation, data: st.DataObject) -> None:
    a, b, c = (data.draw(cells(aggregation, id)) for id in "abc")
    m = functools.partial(merged, aggregation)

    assert meaning(aggregation, m(m(a, b), c)) == meaning(aggregation, m(a, m(b, c)))


@every_aggregation
@given(data=st.data())
def test_merge_is_commutative(aggregation: Aggregation, data: st.DataObject) -> None:
    a, b = (data.draw(cells(aggregation, id)) for id in "ab")
    m = functools.partial(merged, aggregation)

    assert meaning(aggregation, m(a, b)) == meaning(aggregation, m(b, a))


@every_aggregation
@given(data=st.data())
def test_a_cell_without_events_is_the_identity_whatever_value_it_carries(
    aggregation: Aggregation, data: st.DataObject
) -> None:
    a = data.draw(cells(aggregation, "a"))
    emptied = Cell(events=0, value=data.draw(VALUES), latest_us=99, latest_id="z", weighted=data.draw(VALUES))
    m = functools.partial(merged, aggregation)

    assert meaning(aggregation, m(a, emptied)) == meaning(aggregation, a)
    assert meaning(aggregation, m(emptied, a)) == meaning(aggregation, a)


@given(data=st.data(), by_us=st.integers(0, 2**51))
def test_levels_merge_before_or_after_they_are_moved_to_one_start(data: st.DataObject, by_us: int) -> None:
    kind = Aggregation.TIME_WEIGHTED_SUM
    a, b = (data.draw(cells(kind, id)) for id in "ab")
    move = exact(moved)

    assert meaning(kind, move(merged(kind, a, b), by_us)) == meaning(kind, merged(kind, move(a, by_us), move(b, by_us)))


def test_merge_leaves_the_other_cell_alone() -> None:
    into, other = Cell(events=1, value=Decimal(1), version=3), Cell(events=2, value=Decimal(5), version=4)

    merge(Aggregation.SUM, into, other)

    assert (into.events, into.value, into.version) == (3, Decimal(6), 4)
    assert (other.events, other.value, other.version) == (2, Decimal(5), 4)


@pytest.mark.parametrize(
    ("aggregation", "value"),
    [
        (Aggregation.SUM, "-2.5"),
        (Aggregation.MAX, "3"),
        (Aggregation.MIN, "-7"),
        (Aggregation.LATEST, "1.5"),
    ],
)
def test_three_events_have_one_value(aggregation: Aggregation, value: str) -> None:
    events = [
        Cell(events=1, value=Decimal(text), latest_us=at_us, latest_id=id, version=offset)
        for offset, (text, at_us, id) in enumerate([("3", 10, "a"), ("1.5", 20, "c"), ("-7", 20, "b")])
    ]

    cell = merged(aggregation, *events)

    assert (cell.events, cell.value, cell.version) == (3, Decimal(value), 2)


def test_a_sum_past_38_digits_does_not_wrap() -> None:
    widest = Cell(events=1, value=Decimal("9" * 26 + "." + "9" * 12))

    cell = merged(Aggregation.SUM, *[widest] * 1_000)

    assert cell.value == Decimal("99999999999999999999999999999.999999999000")
