"""Cells of layers: every usage store reads base or layer by window and customer, in one question."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from penstock.aggregator.store.clickhouse import ClickHouseUsageStore
from penstock.aggregator.store.memory import MemoryUsageStore
from penstock.kernel.cell import Cell, CellKey, CellQuestion, LayerWindows
from penstock.kernel.meter import Aggregation
from penstock.kernel.ports.fold_store import Flush
from penstock.kernel.ports.usage_store import UsageStore
from penstock.kernel.record import Marker
from penstock.kernel.window import BASE_WINDOW_US

LAYER = "acme#l1"


@pytest.fixture(params=["memory", "clickhouse"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[UsageStore]:
    is_memory = request.param == "memory"
    with closing(MemoryUsageStore() if is_memory else ClickHouseUsageStore.embedded(tmp_path / "usage")) as made:
        cells = {}
        for scope, weight in (("acme", 1), (LAYER, 100)):
            for window in range(4):
                for customer in ("a", "b"):
                    key = CellKey(scope, "m", customer, window * BASE_WINDOW_US, ("eu",), None, window % 2)
                    value = Decimal(weight * 2**window)
                    cells[key] = Cell(1, value, window, f"{scope}-{window}", weight + window)
        made.flush(Flush((), (), (), frozenset(), cells, Marker(0, 200, "log", 2, b"x" * 16, 0)))
        yield made


def question(
    layers: tuple[LayerWindows, ...], aggregation: Aggregation = Aggregation.SUM, **fields: object
) -> CellQuestion:
    whole = {"start_us": 0, "end_us": 4 * BASE_WINDOW_US, "starts": (0,)}
    parts = {"tenant": "acme", "metric": "m", "customers": ("a", "b"), "layers": layers, **whole, **fields}
    return CellQuestion(aggregation=aggregation, **parts)  # type: ignore[arg-type]


MIDDLE = LayerWindows(LAYER, BASE_WINDOW_US, 3 * BASE_WINDOW_US, None)
OF_B = LayerWindows(LAYER, BASE_WINDOW_US, 3 * BASE_WINDOW_US, ("b", "c"))


@pytest.mark.parametrize(
    ("layers", "by_customer"),
    [
        ((), {"a": 15, "b": 15}),
        ((MIDDLE,), {"a": 609, "b": 609}),
        ((OF_B,), {"a": 15, "b": 609}),
        ((OF_B, LayerWindows(LAYER, 0, BASE_WINDOW_US, ("a",))), {"a": 114, "b": 609}),
    ],
)
def test_a_window_is_read_from_the_scope_that_has_it(
    store: UsageStore, layers: tuple[LayerWindows, ...], by_customer: dict[str, int]
) -> None:
    rows = store.read_cells(question(layers, by_customer=True)).rows

    assert {row.customer: row.cell.value for row in rows} == by_customer


def test_filters_and_versions_are_those_of_the_cells_that_are_read(store: UsageStore) -> None:
    asked: dict[str, Any] = {"filters": ((0, ("eu",)),), "excluded": ((0, ("us",)),)}

    answer = store.read_cells(question((MIDDLE,), **asked))
    versions = store.read_cells(question((MIDDLE,), versions_only=True, **asked)).versions

    assert [row.cell.value for row in answer.rows] == [1218]
    assert answer.versions == versions == {0: 102, 1: 101}


def test_the_latest_of_one_instant_and_id_is_the_greater_value(store: UsageStore) -> None:
    key = CellKey(LAYER, "m", "a", 2 * BASE_WINDOW_US, ("us",), None, 1)
    same = Cell(1, Decimal(7), 2, f"{LAYER}-2", 150)
    store.flush(Flush((), (), (), frozenset(), {key: same}, Marker(1, 200, "log", 2, b"x" * 16, 0)))
    layer = LayerWindows(LAYER, 0, 4 * BASE_WINDOW_US, None)

    [row] = store.read_cells(question((layer,), Aggregation.LATEST, end_us=3 * BASE_WINDOW_US)).rows

    assert row.cell.value == 400
