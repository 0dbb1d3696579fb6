"""What became of an event, told by its id: kept, counted, unmatched, quarantined, late, and the dropped copies."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from decimal import Decimal

import msgspec
import numpy as np
import pytest

from builders import HASH_KEY, TENANT, Body, a_chunk, a_metric, a_metric_body, a_sum_body, an_event, yesterday
from penstock.aggregator.consume import Owner
from penstock.aggregator.metrics import Definition, Metrics
from penstock.aggregator.store.memory import MemoryUsageStore
from penstock.aggregator.transactions import Fate, Transactions
from penstock.aggregator.verdict import NOT_UTF_8, OUT_OF_RANGE, Reason, refusal, unreadable
from penstock.catalog.memory import MemoryCatalog
from penstock.kernel.clock import SystemClock
from penstock.kernel.control import Control, encode_control
from penstock.kernel.event import Outcome
from penstock.kernel.record import US_PER_DAY, Kind, LogIdentity, Vector
from penstock.kernel.stored import Dropped, LogPlace, StoredEvents
from penstock.kernel.window import to_us
from penstock.log.memory import MemoryLog

TODAY_US = to_us(yesterday() + timedelta(days=1))
EVENT_US = to_us(yesterday() + timedelta(hours=12))
DAY = TODAY_US // US_PER_DAY


class World:
    """One partition: a log, its owner, and the metrics that were defined through it."""

    def __init__(self) -> None:
        self.log = MemoryLog(1, clock_us=lambda: TODAY_US)
        self.store = MemoryUsageStore()
        self.metrics = Metrics(MemoryCatalog(), SystemClock(), self._send)

    def _send(self, control: Control) -> Vector:
        sent = asyncio.run(self.log.append(0, Kind.CONTROL, TODAY_US, encode_control(control)))
        return (sent.offset,)

    def define(self, body: Body) -> str:
        made = self.metrics.create(TENANT, lambda id, control, now: Definition(a_metric(id, body), now, control))
        return made.metric.id

    def send(self, *events: Body) -> int:
        """Append one record and return its offset."""
        sent = asyncio.run(self.log.append(0, Kind.CHUNK, TODAY_US, a_chunk(events).encode()))
        return sent.offset

    def fates(self, *transaction_ids: str, tenant: str = TENANT) -> list[Fate]:
        """Fold everything, then ask."""
        asyncio.run(self._fold())
        identity = LogIdentity(self.log.identity.log_id, 1, HASH_KEY)
        return Transactions(self.store, self.metrics, identity).find(tenant, transaction_ids)

    async def _fold(self) -> None:
        owner = Owner(0, self.log, self.store, retention_us=10**15)
        await owner.restore()
        while await owner.step(0) or await owner.fill():
            pass


def names(fate: Fate) -> list[str]:
    return [definition.metric.name for definition in fate.counted_in]


def test_a_counted_event_is_found_where_it_stands_with_the_metrics_that_took_it() -> None:
    world = World()
    world.define(a_sum_body("units"))
    other = world.define(a_metric_body("eu only", property_filters=[{"name": "region", "in_values": ["eu"]}]))
    world.define(a_metric_body("other type", event_type_filter={"in_values": ["storage"]}))
    offset = world.send(an_event("e0"), an_event("e1", properties={"units": 7, "region": "us"}))

    [fate] = world.fates("e1")

    assert fate.outcome is Outcome.COUNTED
    assert fate.place == LogPlace(0, offset, 1, EVENT_US, DAY)
    assert names(fate) == ["sum of units"]
    assert fate.reasons == (Reason(other, "region", "has a value that the metric does not take"),)
    assert fate.row is not None
    assert (fate.row["customer"], fate.row["properties"]) == ("acme", b'{"units":7,"region":"us"}')


def test_copies_that_were_dropped_are_counted_and_the_first_stays() -> None:
    world = World()
    world.define(a_metric_body("calls"))
    first = world.send(an_event("e1"), an_event("e1"))
    last = world.send(an_event("e1", customer_id="globex"), an_event("e1"))

    [fate] = world.fates("e1", "never-sent")

    assert fate.outcome is Outcome.COUNTED
    assert fate.place == LogPlace(0, first, 0, EVENT_US, DAY)
    assert fate.trace.dropped == (
        Dropped(Outcome.DUPLICATE, 2, LogPlace(0, last, 1, EVENT_US, DAY)),
        Dropped(Outcome.CONFLICT, 1, LogPlace(0, last, 0, EVENT_US, DAY)),
    )


def test_an_event_that_came_too_late_is_told_though_it_is_not_stored() -> None:
    world = World()
    offset = world.send(an_event("old", at=yesterday() - timedelta(days=34)))

    [fate] = world.fates("old")

    assert (fate.outcome, fate.row) == (Outcome.LATE, None)
    assert [(d.outcome, d.events, d.newest.offset) for d in fate.trace.dropped] == [(Outcome.LATE, 1, offset)]


def test_an_event_that_no_metric_counts_is_unmatched_until_one_does() -> None:
    world = World()
    world.send(an_event("e1", event_type="storage"))
    [before] = world.fates("e1")
    world.define(a_metric_body("bytes", event_type_filter={"in_values": ["storage"]}))

    [after] = world.fates("e1")

    assert (before.outcome, names(before)) == (Outcome.UNMATCHED, [])
    assert before.reasons == (Reason(None, None, "no metric counts events of type storage"),)
    assert (after.outcome, names(after)) == (Outcome.COUNTED, ["bytes"])


def test_an_archived_metric_is_named_for_what_came_before_it_ended_only() -> None:
    world = World()
    metric = world.define(a_metric_body("calls"))
    world.send(an_event("before"))
    world.metrics.archive(TENANT, metric)
    world.send(an_event("after"))

    before, after = world.fates("before", "after")

    assert (names(before), names(after)) == (["calls"], [])
    assert (before.outcome, after.outcome) == (Outcome.COUNTED, Outcome.UNMATCHED)


def test_a_quarantined_event_says_which_property_could_not_be_read() -> None:
    world = World()
    metric = world.define(a_sum_body("units"))
    world.send(an_event("e1", properties={"units": Decimal("1e40"), "region": "eu"}))
    world.define(a_sum_body("region"))  # one that came later has no part in it

    [fate] = world.fates("e1")

    assert (fate.outcome, fate.counted_in) == (Outcome.QUARANTINED, ())
    assert fate.reasons == (Reason(metric, "units", OUT_OF_RANGE),)


def test_another_tenant_finds_nothing() -> None:
    world = World()
    world.send(an_event("e1"))

    assert world.fates("e1", tenant="globex") == world.fates() == []


def stored(event: Body) -> StoredEvents:
    at = np.zeros(1, np.int64)
    return StoredEvents.of_chunk(a_chunk([event]), 0, at, at, np.array([Outcome.UNMATCHED], np.uint8))


CASES: Sequence[tuple[Body, bytes, tuple[str, str] | None]] = [
    (a_sum_body("units"), b'{"units": 1}', None),
    (a_sum_body("units"), b"{}", ("units", "is absent")),
    (a_sum_body("units"), b'{"units": "many"}', ("units", "is not a number")),
    (a_sum_body("units"), b'{"units": "1e40"}', ("units", OUT_OF_RANGE)),
    (a_sum_body("units", group_keys=[["zone"]]), b'{"units": 1, "zone": 1e-20}', ("zone", OUT_OF_RANGE)),
    (a_sum_body("units", group_keys=[["zone"]]), b'{"zone": "\xff", "units": 1}', ("zone", NOT_UTF_8)),
    (a_sum_body("units"), b'{"other": "\xff", "units": 1e40}', ("units", OUT_OF_RANGE)),
    (a_metric_body("u", "UNIQUE", aggregation_key="user"), b'{"user": null}', ("user", "is absent")),
    (a_metric_body("f", property_filters=[{"name": "x", "exists": True}]), b"{}", ("x", "is absent")),
    (
        a_metric_body("f", property_filters=[{"name": "x", "exists": False}]),
        b'{"x": 1}',
        ("x", "is present, and the metric takes events without it"),
    ),
]


@pytest.mark.parametrize(("body", "text", "expected"), CASES)
def test_a_metric_says_why_it_does_not_take_an_event(body: Body, text: bytes, expected: tuple[str, str] | None) -> None:
    event = stored(an_event("e1", properties=msgspec.Raw(text)))

    reason = refusal(a_metric("m", body), event)

    assert (None if reason is None else (reason.property, reason.reason)) == expected


def test_what_every_metric_can_read_is_not_unreadable() -> None:
    assert unreadable([a_metric("m", a_sum_body("units"))], b'{"units": 1, "other": "\xff"}') is None
