"""What is taken out of a cell leaves what was there before, or says that the cell alone does not tell."""

from __future__ import annotations

import copy
from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from penstock.aggregator.audit import figure
from penstock.kernel.cell import Cell, merge, retract
from penstock.kernel.meter import Aggregation
from penstock.kernel.quantity import exact

RETRACTING = (Aggregation.COUNT, Aggregation.SUM, Aggregation.UNIQUE, Aggregation.TIME_WEIGHTED_SUM)
numbers = st.decimals(allow_nan=False, allow_infinity=False, places=12, min_value=-(10**25), max_value=10**25)


@st.composite
def cells(draw: st.DrawFn, aggregation: Aggregation, name: str) -> Cell:
    """A cell as folds leave it: what an aggregation does not use is zero. Ids of different cells differ."""
    events = draw(st.integers(0, 3))
    if not events or aggregation in (Aggregation.COUNT, Aggregation.UNIQUE):
        return Cell(events=events, version=draw(st.integers(0, 9)))
    cell = Cell(events=events, value=draw(numbers | st.integers(-2, 2).map(Decimal)))
    if aggregation is Aggregation.LATEST:
        cell.latest_us, cell.latest_id = draw(st.integers(0, 2)), f"{draw(st.integers(0, 2))}{name}"
    if aggregation is Aggregation.TIME_WEIGHTED_SUM:
        cell.weighted = cell.value * draw(st.integers(0, 900_000_000))
    return cell


@given(st.data(), st.sampled_from(Aggregation))
@exact
def test_what_is_merged_and_retracted_leaves_what_was_there(data: st.DataObject, aggregation: Aggregation) -> None:
    before, other = data.draw(cells(aggregation, "a")), data.draw(cells(aggregation, "b"))
    both = copy.copy(before)
    merge(aggregation, both, other)

    left = retract(aggregation, both, other)

    assert left is not None or aggregation not in RETRACTING
    assert left is None or figure(left) == figure(before)


@given(st.data(), st.sampled_from(Aggregation))
@exact
def test_a_cell_does_not_tell_only_where_its_extreme_or_latest_is_what_goes(
    data: st.DataObject, aggregation: Aggregation
) -> None:
    before, other = data.draw(cells(aggregation, "a")), data.draw(cells(aggregation, "b"))
    both = copy.copy(before)
    merge(aggregation, both, other)

    untold = retract(aggregation, both, other) is None

    is_its_own = (both.value, both.latest_us, both.latest_id) == (other.value, other.latest_us, other.latest_id)
    assert untold == (aggregation not in RETRACTING and bool(before.events and other.events) and is_its_own)


def test_more_than_a_cell_holds_cannot_be_retracted() -> None:
    assert retract(Aggregation.COUNT, Cell(events=1), Cell(events=2)) is None


def test_what_is_left_of_a_whole_cell_is_identity_with_its_version() -> None:
    held = Cell(events=2, value=Decimal("1.50"), version=7)

    assert retract(Aggregation.SUM, held, copy.copy(held)) == Cell(version=7)
