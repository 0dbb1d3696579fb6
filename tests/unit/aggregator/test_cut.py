"""A consistent read: the markers first, then the cells, and again while a cell is ahead of its marker."""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import Any

import msgspec
import pytest

from builders import TENANT
from penstock.aggregator.cut import read_as_one_cut
from penstock.aggregator.http_api import AggregatorApi
from penstock.aggregator.store.memory import MemoryUsageStore
from penstock.kernel.cell import CellAnswer, CellQuestion
from penstock.kernel.ports.fold_store import Flush
from penstock.kernel.problems import StoreUnavailable
from penstock.kernel.window import from_us
from penstock.web.route import Principal, Request, Scope
from unit.aggregator.audit_world import AuditWorld, some_events


def test_what_is_ahead_of_its_marker_is_read_again() -> None:
    world = AuditWorld()
    world.send(some_events(0, 5))
    world.fold()
    reads: list[int] = []

    def read() -> tuple[str, dict[int, int]]:
        if not reads:  # a flush comes between the markers and the cells
            world.send(some_events(5, 5))
            world.fold()
        newest = max(cell.version for cell in world.store.stored_cells(None, None, None, None, 0).values())
        reads.append(newest)
        return f"as of {newest}", {0: newest}

    found, markers = read_as_one_cut(world.store, read)

    assert (found, markers, reads) == ("as of 1", world.store.markers(), [1, 1])


def test_a_store_that_is_never_at_rest_is_said_to_be_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("penstock.aggregator.cut.CONSISTENT_TRIES_MAX", 3)

    with pytest.raises(StoreUnavailable, match="flushing without a pause"):
        read_as_one_cut(AuditWorld().store, lambda: ("", {0: 7}))


class HalfFlushed(MemoryUsageStore):
    """A store that shows the first reader of cells a flush of which only half of the cells are written."""

    def __init__(self) -> None:
        super().__init__()
        self.held: Flush | None = None
        self.is_first = True

    def flush(self, flush: Flush) -> None:
        if flush.marker.offset == 1:
            self.held, half = flush, dict(list(flush.cells.items())[:1])
            flush = msgspec.structs.replace(flush, cells=half, marker=self._markers[0])
        super().flush(flush)

    def read_cells(self, question: CellQuestion) -> CellAnswer:
        answer = super().read_cells(question)
        if self.is_first and self.held is not None:
            self.is_first = False
            super().flush(self.held)
        return answer


class FixedClock:
    def __init__(self, now: datetime) -> None:
        self._now = now

    def now(self) -> datetime:
        return self._now


def test_conservation_over_http_is_one_cut() -> None:
    store = HalfFlushed()
    world = AuditWorld(store=store)
    world.send(some_events(0, 5))
    world.fold()
    world.send([*some_events(5, 5), *some_events(0, 2)])
    asyncio.run(world.step())  # its owner has written half of its cells
    nothing: Any = None
    api = AggregatorApi(nothing, nothing, store, nothing, FixedClock(from_us(world.now_us)), 1)
    principal = Principal(TENANT, "key", frozenset([Scope.READ]))

    [hour] = api.conservation(Request(principal, {}, {}, b""))["data"]

    assert (hour["unmatched"], hour["duplicate"]) == (10, 2)
