"""A correction where a backfill is: of an event that counts in the layer too it is refused, else it is of the base."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from builders import TENANT, Body, a_chunk
from penstock.aggregator.auditor import WINDOWS_END_US, Auditor
from penstock.aggregator.consume import Owner
from penstock.aggregator.rebuild import from_events, from_log
from penstock.aggregator.store.memory import MemoryUsageStore
from penstock.kernel.control import LayerCommitted, LayerOpened, encode_control
from penstock.kernel.correction import Refusal
from penstock.kernel.layer import Layer
from penstock.kernel.record import Kind
from penstock.kernel.window import to_us
from unit.aggregator.correction_world import START, KnownLog, amend, an_event_at, as_records, define, void

NOW_US = to_us(START) + 86_400_000_000
HALF_HOUR_US = 1_800_000_000
LAYER = Layer("b", TENANT, to_us(START), to_us(START) + HALF_HOUR_US, ("acme",), NOW_US)
OPEN, COMMIT = LayerOpened("open", "b", 0, LAYER), LayerCommitted("commit", "b", 1, LAYER)
METRICS = ("count", "units", "most")
Entry = Body | bytes | LayerOpened | LayerCommitted


def an_entry(name: str, minute: int = 5, customer: str = "acme", units: int = 1) -> Body:
    return an_event_at(name, minute, "eu", units, customer_id=customer)


def of_layer(name: str, units: int) -> bytes:
    return a_chunk([an_entry(name, units=units)], LAYER.scope).encode()


def played(entries: Sequence[Entry], restart_at: int = -1) -> MemoryUsageStore:
    """The log folded; the owner is another one from `restart_at` on. Nothing is off, and a rebuild says the same."""
    store = MemoryUsageStore()

    async def play() -> None:
        log = KnownLog(1, clock_us=lambda: NOW_US)
        owner = Owner(0, log, store, retention_us=10**15)
        await owner.restore()
        for place, entry in enumerate([*map(define, METRICS), *entries]):
            if isinstance(entry, bytes):
                kind, payload = Kind.CHUNK, entry
            elif isinstance(entry, LayerOpened | LayerCommitted):
                kind, payload = Kind.CONTROL, encode_control(entry)
            else:
                [(kind, payload)] = as_records([entry | {"sequence": place} if "id" in entry else entry])
            await log.append(0, kind, NOW_US, payload)
            if place == restart_at:
                owner = Owner(0, log, store, retention_us=10**15)
                await owner.restore()
            while await owner.step(0) or await owner.fill():
                pass
        assert (await from_log(store, log, 0)).differences == []

    asyncio.run(play())
    auditor = Auditor(store, 1)
    for metric in METRICS:
        for scope in auditor.scopes(TENANT):
            assert auditor.cells(scope, metric, None, (0, WINDOWS_END_US)).differences == []
    assert from_events(store, 0).differences == []
    return store


def units(store: MemoryUsageStore, scope: str) -> int:
    cells = store.stored_cells(scope, "units", None, None, 0)
    return sum(int(cell.value) for cell in cells.values())


def answer(store: MemoryUsageStore) -> Refusal | None:
    [corrected] = store._corrections.values()
    return corrected.refusal


@pytest.mark.parametrize("restart_at", [-1, 7])
@pytest.mark.parametrize("correction", [void("c", "late"), amend("c", "late", properties={"units": 50})])
def test_a_correction_of_an_event_that_counts_in_a_layer_too_is_refused(correction: Body, restart_at: int) -> None:
    store = played([an_entry("e"), OPEN, of_layer("x", 10), COMMIT, an_entry("late"), correction], restart_at)

    assert answer(store) is Refusal.BACKFILLED
    assert (units(store, TENANT), units(store, LAYER.scope)) == (2, 11)


@pytest.mark.parametrize(
    "late",
    [
        pytest.param(an_entry("late", minute=30), id="behind the interval"),
        pytest.param(an_entry("late", customer="other"), id="of another customer"),
    ],
)
def test_a_correction_beside_the_layer_is_as_any_other(late: Body) -> None:
    store = played([OPEN, COMMIT, late, amend("c", "late", properties={"units": 50})])

    assert answer(store) is None
    assert (units(store, TENANT), units(store, LAYER.scope)) == (50, 0)


def test_a_correction_of_an_event_from_before_the_commit_is_of_the_base_alone() -> None:
    before: list[Entry] = [an_entry("e"), OPEN, of_layer("x", 10)]
    correction = amend("c", "e", properties={"units": 50})
    for entries in ([*before, COMMIT, correction], [*before, correction, COMMIT]):
        store = played(entries)
        assert answer(store) is None
        assert (units(store, TENANT), units(store, LAYER.scope)) == (50, 10)


def test_an_event_of_a_layer_cannot_be_corrected() -> None:
    store = played([OPEN, of_layer("x", 10), void("c", "x")])

    assert answer(store) is Refusal.NO_EVENT
    assert units(store, LAYER.scope) == 10
