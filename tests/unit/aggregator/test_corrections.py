"""Amend and void: what every stated answer is, and that each kind of cell follows, with the audit agreeing."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from typing import Any

import pytest

import reference_corrections
from builders import Body, rfc3339
from penstock.aggregator.auditor import Auditor
from penstock.aggregator.consume import Owner
from penstock.aggregator.store.memory import MemoryUsageStore
from penstock.kernel.cell import Cell
from penstock.kernel.control import MetricArchived, encode_control
from penstock.kernel.record import Kind
from penstock.kernel.window import to_us
from unit.aggregator.correction_world import (
    BODIES,
    START,
    KnownLog,
    amend,
    an_event_at,
    as_records,
    define,
    expected_usage,
    outcomes_now,
    plain,
    usage_of,
    void,
)

NOW_US = to_us(START) + 86_400_000_000
DEFINED: list[Any] = [define(name) for name in BODIES]


def folded(entries: list[Any]) -> MemoryUsageStore:
    """The log folded by one owner after another, a record at a time; all metrics filled."""
    store = MemoryUsageStore()

    async def play() -> None:
        log = KnownLog(1, clock_us=lambda: NOW_US)
        for kind, payload in as_records(entries):
            await log.append(0, kind, NOW_US, payload)
        owner = Owner(0, log, store, retention_us=10**15)
        await owner.restore()
        while await owner.step(0) or await owner.fill():
            pass

    asyncio.run(play())
    return store


def assert_as_the_reference(store: MemoryUsageStore, entries: list[Any], metrics_first: bool = True) -> None:
    for metric_id in BODIES:
        assert usage_of(store._cells, metric_id) == expected_usage(entries, metric_id, metrics_first), metric_id
    assert differences(store) == []


def differences(store: MemoryUsageStore) -> list[Any]:
    """What the auditor finds in every metric and in conservation."""
    auditor = Auditor(store, 1)
    span_us = (to_us(START), NOW_US + 86_400_000_000)
    found = [each for m in BODIES for each in auditor.cells("tenant-1", m, None, span_us).differences]
    return found + auditor.conservation(0, span_us).differences


def answers(store: MemoryUsageStore) -> dict[str, str | None]:
    return {each.id: each.refusal for _, each in sorted(store._corrections.items())}


EVENTS = [
    an_event_at("e1", 1, "eu", Decimal("1.5")),
    an_event_at("e2", 2, "eu", 7),
    an_event_at("e3", 3, "us", -2),
    an_event_at("e4", 20, "eu", 7),
    an_event_at("e5", 21, "eu", "text"),
    an_event_at("e6", 22, None, 10**26),  # cannot be read where units are metered
    an_event_at("e7", 23, "us", 3, event_type="nobody"),
]


@pytest.mark.parametrize("whole_events_min", [1, 100])
@pytest.mark.parametrize("metrics_first", [True, False])
@pytest.mark.parametrize(
    "corrections",
    [
        [void("c1", "e1")],
        [void("c1", "e2")],  # the maximum of its cell
        [void("c1", "e3")],  # the minimum, and all that there is of "us"
        [void(f"c{n}", f"e{n}") for n in range(1, 8)],
        [amend("c1", "e2", properties={"units": 1, "region": "us"})],  # other groups
        [amend("c1", "e2", properties={"units": 100, "region": "eu"}), void("c2", "e1")],
        [amend("c1", "e2", properties={"region": "eu"})],  # nothing metered any more
        [amend("c1", "e5", properties={"units": 9, "region": "eu"})],
        [amend("c1", "e1", properties={"units": 10**26})],  # quarantined from here on
        [amend("c1", "e6", properties={"units": 10**25, "region": "eu"})],  # and no longer
        [amend("c1", "e6", properties={"units": 10**27}), void("c2", "e6")],
        [amend("c1", "e7", event_type="upload", properties={})],  # unmatched to matched
        [amend("c1", "e1", event_type="nobody", properties={"units": 2})],
        [amend("c1", "e1", event_type="upload", properties={"units": 2}), amend("c2", "e1", properties={"units": 3})],
        [amend("c1", "e4", properties={"units": 7, "region": "eu"}), amend("c2", "e4", properties={"units": 6})],
    ],
)
def test_every_aggregation_follows(
    corrections: list[Body], metrics_first: bool, whole_events_min: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("penstock.aggregator.fold.WHOLE_EVENTS_MIN", whole_events_min)
    history = [EVENTS[:4], EVENTS[4:], *corrections]
    entries = [*DEFINED, *history] if metrics_first else [*history, *DEFINED]

    store = folded(entries)

    assert_as_the_reference(store, entries, metrics_first)
    assert set(answers(store).values()) == {None}
    assert sum(outcomes_now(store._cells).values()) == len(EVENTS)


def test_an_emptied_cell_stays_with_the_corrections_offset_as_its_version() -> None:
    entries = [define("units"), [EVENTS[2]], void("c1", "e3")]

    store = folded(entries)

    [cell] = [cell for key, cell in store._cells.items() if key.metric == "units"]
    assert cell == Cell(version=2)


def test_what_cannot_be_corrected_says_why_and_changes_nothing() -> None:
    other_time = rfc3339(START)
    entries = [
        *DEFINED,
        void("early", "e1"),
        [*EVENTS],
        amend("customer", "e1", customer_id="globex", properties={"units": 50}),
        amend("time", "e1", timestamp=other_time, properties={"units": 50}),
        amend("same", "e1", customer_id="acme", timestamp=EVENTS[0]["timestamp"], properties={"units": 5}),
        void("gone", "e2"),
        void("twice", "e2"),
        amend("late", "e2", properties={"units": 50}),
        amend("newer", "e3", properties={"units": 1}, sequence=101),
        amend("older", "e3", properties={"units": 2}, sequence=100),
        void("nobody", "e99"),
    ]

    store = folded(entries)

    expected = {
        "early": "NO_EVENT",
        "customer": "OTHER_CUSTOMER",
        "time": "OTHER_TIME",
        "same": None,
        "gone": None,
        "twice": "VOIDED",
        "late": "VOIDED",
        "newer": None,
        "older": "OVERTAKEN",
        "nobody": "NO_EVENT",
    }
    assert answers(store) == expected == reference_corrections.answers(plain(entries))
    assert_as_the_reference(store, entries)


def test_a_correction_that_comes_twice_is_applied_once() -> None:
    once = amend("c1", "e1", properties={"units": 5}, sequence=9)
    entries = [*DEFINED, [*EVENTS], once, amend("c2", "e1", properties={"units": 6}, sequence=10), once]

    store = folded(entries)

    assert answers(store) == {"c1": None, "c2": None}
    assert_as_the_reference(store, entries)


def test_a_voided_id_that_is_sent_again_is_a_duplicate_and_stays_void() -> None:
    entries = [*DEFINED, [*EVENTS], void("c1", "e1"), [EVENTS[0]], [dict(EVENTS[0], customer_id="globex")]]

    store = folded(entries)

    assert_as_the_reference(store, entries)
    found = outcomes_now(store._cells)
    assert (found["VOIDED"], found["DUPLICATE"], found["CONFLICT"]) == (1, 1, 1)


def test_outcomes_move_and_add_up() -> None:
    entries: list[Any] = [*DEFINED, [*EVENTS]]
    before = {"COUNTED": 5, "QUARANTINED": 1, "UNMATCHED": 1}
    assert outcomes_now(folded(entries)._cells) == before
    entries += [void("c1", "e6"), void("c2", "e7"), amend("c3", "e1", event_type="nobody", properties={})]

    assert outcomes_now(folded(entries)._cells) == {"COUNTED": 4, "UNMATCHED": 1, "VOIDED": 2}


def test_an_archived_metric_keeps_what_it_counted() -> None:
    store = MemoryUsageStore()
    archive = encode_control(MetricArchived("archive", "units", 1, "units"))

    async def play() -> None:
        log = KnownLog(1, clock_us=lambda: NOW_US)
        entries: list[Any] = [define("units"), define("count"), [*EVENTS], void("c1", "e1")]
        records = as_records(entries)
        for kind, payload in [*records[:-1], (Kind.CONTROL, archive), records[-1]]:
            await log.append(0, kind, NOW_US, payload)
        owner = Owner(0, log, store, retention_us=10**15)
        await owner.restore()
        while await owner.step(0) or await owner.fill():
            pass

    asyncio.run(play())

    assert usage_of(store._cells, "units") == expected_usage([[*EVENTS]], "units")
    assert usage_of(store._cells, "count") == expected_usage([[*EVENTS], void("c1", "e1")], "count")
    assert differences(store) == []


def test_a_falsified_move_between_outcomes_is_found_by_the_audit() -> None:
    store = folded([*DEFINED, [*EVENTS], void("c1", "e1")])
    [key] = [key for key in store._cells if key.groups == ("COUNTED", "VOIDED")]
    store._cells[key].events = 2

    [difference] = differences(store)

    assert (difference.key, difference.recomputed.events, difference.events) == (key, 1, 1)
