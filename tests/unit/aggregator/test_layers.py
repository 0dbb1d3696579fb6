"""A backfill's layer in the fold: what it takes, what it leaves to the base, and that no fault changes either."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from datetime import timedelta
from decimal import Decimal

import pytest

from builders import TENANT, Body, a_chunk, a_metric, a_metric_body, an_event, yesterday
from penstock.aggregator.auditor import WINDOWS_END_US, Auditor
from penstock.aggregator.rebuild import from_events, from_log
from penstock.aggregator.store.memory import MemoryUsageStore
from penstock.kernel.cell import CONSERVATION, Cell
from penstock.kernel.chunk import Chunk
from penstock.kernel.control import Control, LayerCommitted, LayerOpened, MetricDefined, encode_control
from penstock.kernel.layer import Layer
from penstock.kernel.record import US_PER_DAY, Kind
from penstock.kernel.window import to_us
from penstock.log.memory import MemoryLog
from unit.aggregator.test_owner import METRICS, NOW_US, FaultyStore, drained, stored_cells

HOUR_US = 3_600_000_000
START_US = to_us(yesterday())
COUNT = a_metric("count", a_metric_body("count"))
WHOLE = Layer("whole", TENANT, START_US, START_US + HOUR_US, None, NOW_US)
OF_ACME = Layer("acme", TENANT, START_US, START_US + HOUR_US // 2, ("acme",), NOW_US)


def define(metric: str = "count") -> Control:
    found = next(each for each in (COUNT, *METRICS) if each.id == metric)
    return MetricDefined(f"define-{metric}", metric, 0, found)


def open_it(layer: Layer) -> Control:
    return LayerOpened(f"open-{layer.id}", layer.id, 0, layer)


def commit_it(layer: Layer) -> Control:
    return LayerCommitted(f"commit-{layer.id}", layer.id, 1, layer)


def mixed(parts: Sequence[tuple[str, list[Body]]]) -> bytes:
    """One record of several scopes, as the gateway writes it."""
    return Chunk.concat([a_chunk(events, scope) for scope, events in parts if events]).encode()


async def folded(*records: Control | bytes, clock_us: int = NOW_US) -> MemoryUsageStore:
    log, store = MemoryLog(1, clock_us=lambda: clock_us), MemoryUsageStore()
    for record in records:
        if isinstance(record, bytes):
            await log.append(0, Kind.CHUNK, clock_us, record)
        else:
            await log.append(0, Kind.CONTROL, clock_us, encode_control(record))
    await drained(log, store)
    return store


def counts(store: MemoryUsageStore, metric: str = "count") -> dict[tuple[str, str], int]:
    """Events by scope and customer."""
    found: dict[tuple[str, str], int] = {}
    for key, cell in stored_cells(store).items():
        if key.metric == metric:
            found[key.tenant, key.customer] = found.get((key.tenant, key.customer), 0) + cell.events
    return found


def test_live_events_count_in_the_layer_too_from_its_commit_on_and_only_in_its_windows() -> None:
    early, late, beside = (
        an_event(name, at=yesterday() + timedelta(minutes=minutes))
        for name, minutes in (("early", 5), ("late", 6), ("beside", 60))
    )
    store = asyncio.run(
        folded(
            define(),
            open_it(WHOLE),
            mixed([(TENANT, [early]), (WHOLE.scope, [an_event("sent", at=yesterday())])]),
            commit_it(WHOLE),
            mixed([(TENANT, [late, beside])]),
        )
    )

    assert counts(store) == {(TENANT, "acme"): 3, (WHOLE.scope, "acme"): 2}


def test_a_layer_of_some_customers_takes_no_live_event_of_another() -> None:
    live = [an_event(name, customer_id=name, at=yesterday()) for name in ("acme", "globex")]
    store = asyncio.run(folded(define(), open_it(OF_ACME), commit_it(OF_ACME), mixed([(TENANT, live)])))

    assert counts(store) == {(TENANT, "acme"): 1, (TENANT, "globex"): 1, (OF_ACME.scope, "acme"): 1}


def test_an_id_is_known_within_its_scope_alone() -> None:
    same = an_event("same", at=yesterday())
    both, again = mixed([(TENANT, [same]), (WHOLE.scope, [same])]), mixed([(WHOLE.scope, [same])])
    store = asyncio.run(folded(define(), open_it(WHOLE), both, again))

    assert counts(store) == {(TENANT, "acme"): 1, (WHOLE.scope, "acme"): 1}
    outcomes = {(k.tenant, k.groups): c.events for k, c in stored_cells(store).items() if k.metric == CONSERVATION}
    assert outcomes == {(TENANT, ("COUNTED",)): 1, (WHOLE.scope, ("COUNTED",)): 1, (WHOLE.scope, ("DUPLICATE",)): 1}


@pytest.mark.parametrize(("days", "counted"), [(34, 1), (35, 0)])
def test_the_age_of_a_layer_counts_from_when_it_was_opened_whenever_its_events_were(days: int, counted: int) -> None:
    old = Layer("old", TENANT, 0, HOUR_US, None, NOW_US)
    event = an_event("1970", at=yesterday().replace(year=1970, month=1, day=1))
    store = asyncio.run(
        folded(define(), open_it(old), mixed([(old.scope, [event])]), clock_us=NOW_US + days * US_PER_DAY)
    )

    assert counts(store) == ({(old.scope, "acme"): 1} if counted else {})


def test_an_event_of_a_layer_names_its_customer_under_the_tenant() -> None:
    store = asyncio.run(folded(open_it(WHOLE), mixed([(WHOLE.scope, [an_event("sent", at=yesterday())])])))

    assert store.customer_keys(TENANT, "", 10) == ["acme"]


@pytest.mark.parametrize("place", range(5))
def test_a_metric_defined_later_has_the_cells_of_layers_too(place: int) -> None:
    records: list[Control | bytes] = [
        open_it(WHOLE),
        mixed([(TENANT, [an_event("a", at=yesterday())]), (WHOLE.scope, [an_event("b", at=yesterday())])]),
        commit_it(WHOLE),
        mixed([(TENANT, [an_event("c", at=yesterday())])]),
    ]
    records.insert(place, define())

    store = asyncio.run(folded(*records))

    assert counts(store) == {(TENANT, "acme"): 2, (WHOLE.scope, "acme"): 2}


async def a_log(chance: random.Random, records: int) -> MemoryLog:
    """Live events and those of two layers in one record, and everything that is defined, somewhere on the way."""
    log = MemoryLog(1, clock_us=lambda: NOW_US)
    at: dict[int, list[Control]] = {}
    for metric in METRICS:
        at.setdefault(chance.randrange(records), []).append(define(metric.id))
    for layer in (WHOLE, OF_ACME):
        opened = chance.randrange(records // 2)
        at.setdefault(opened, []).append(open_it(layer))
        at.setdefault(chance.randrange(opened + 1, records), []).append(commit_it(layer))
    opened_by_now: list[str] = []
    for n in range(records):
        for control in at.get(n, []):
            for _ in range(chance.randrange(1, 3)):  # an outbox may send twice
                await log.append(0, Kind.CONTROL, NOW_US, encode_control(control))
            if isinstance(control, LayerOpened):
                opened_by_now.append(control.layer.scope)
        parts = [(scope, some_events(chance, records)) for scope in (TENANT, *opened_by_now)]
        if any(events for _, events in parts):
            await log.append(0, Kind.CHUNK, NOW_US, mixed(parts))
    return log


def some_events(chance: random.Random, ids: int) -> list[Body]:
    return [
        an_event(
            f"e{chance.randrange(ids * 2)}",
            customer_id=chance.choice(["acme", "globex"]),
            at=yesterday() + timedelta(minutes=5 * chance.randrange(15)),
            properties={"units": Decimal(chance.randrange(-50, 50)) / 4, "region": chance.choice(["eu", "us"])},
        )
        for _ in range(chance.randrange(4))
    ]


@pytest.mark.parametrize("step", ["step", "step_ahead"])
@pytest.mark.parametrize("seed", range(15))
def test_whatever_fails_the_cells_of_layers_are_those_of_an_undisturbed_fold(
    seed: int, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    chance = random.Random(seed)
    monkeypatch.setattr("penstock.aggregator.fold.WHOLE_EVENTS_MIN", chance.choice([1, 3, 100]))
    monkeypatch.setattr("penstock.aggregator.consume.CELLS_MAX", chance.choice([1, 1_000]))

    def disturb() -> bool:
        monkeypatch.setattr("penstock.aggregator.consume.READ_BYTES_MAX", chance.choice([1, 3_000, 6_000, 20_000]))
        return chance.random() < 0.05

    async def play() -> tuple[MemoryLog, MemoryUsageStore, FaultyStore]:
        log = await a_log(chance, records=24)
        calm, faulty = MemoryUsageStore(), FaultyStore(chance)
        await drained(log, calm)
        await drained(log, faulty, disturb, step)
        faulty.arrive_late()
        return log, calm, faulty

    log, calm, faulty = asyncio.run(play())

    assert faulty.faults > 0
    assert stored_cells(faulty) == stored_cells(calm)
    assert {key.tenant for key in stored_cells(calm)} == {TENANT, WHOLE.scope, OF_ACME.scope}
    assert from_events(calm, 0).differences == []
    assert asyncio.run(from_log(calm, log, 0)).differences == []


def test_the_auditor_finds_a_wrong_cell_of_a_layer() -> None:
    store = asyncio.run(folded(define(), open_it(WHOLE), mixed([(WHOLE.scope, [an_event("b", at=yesterday())])])))
    [key] = [key for key in stored_cells(store) if key.tenant == WHOLE.scope and key.metric == "count"]
    store._cells[key] = Cell(events=2, version=store._cells[key].version)

    found = Auditor(store, 1).cells(WHOLE.scope, "count", None, (0, WINDOWS_END_US))

    assert [(each.key, each.recomputed.events) for each in found.differences] == [(key, 1)]


def test_without_layers_a_fold_looks_for_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """The hot path: whatever asks for layers event by event is not called."""

    def never(*_: object) -> None:
        raise AssertionError("asked for layers where there is none")

    monkeypatch.setattr("penstock.aggregator.fold.age_limits", never)
    monkeypatch.setattr("penstock.aggregator.fold.followed", never)

    store = asyncio.run(folded(define(), mixed([(TENANT, [an_event("a", at=yesterday())])])))

    assert counts(store) == {(TENANT, "acme"): 1}


