"""Events as a metric counts them: in order, page by page, as of a vector, and together what usage says."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from datetime import timedelta
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from builders import TENANT, Body, a_metric_body, a_sum_body, an_event, decimal_sum
from penstock.aggregator import metered_events, shapes
from penstock.aggregator.metered_events import MeteredEvents
from penstock.kernel.control import EventAmended, EventVoided, encode_control
from penstock.kernel.metered_event import EventPage, EventSource, MeteredEvent
from penstock.kernel.ports.siblings import EventReader
from penstock.kernel.problems import BadRequest, NotFound
from penstock.kernel.quantity import exact
from penstock.kernel.record import Kind
from penstock.kernel.window import Span
from penstock.rpc.port import Service
from unit.aggregator.correction_world import KnownLog
from unit.aggregator.test_layered_usage import BackfilledWorld
from unit.aggregator.test_usage import DAY, NOW_US, World, ask, some_events

RAGGED = Span(DAY + timedelta(minutes=7, seconds=3), DAY + timedelta(minutes=100, microseconds=1))
LATER = Span(DAY + timedelta(minutes=110), DAY + timedelta(minutes=179))
UNITS = a_sum_body("units", group_keys=[["region"]])


def reader(world: World) -> MeteredEvents:
    layers = world.backfills.once_in_force if isinstance(world, BackfilledWorld) else lambda tenant, ids: ()
    return MeteredEvents(world.service, world.store, layers)


def a_source(world: World, metric: str, *spans: Span, **fields: Any) -> EventSource:
    values: dict[str, Any] = {"customers": ("acme", "acme-alias"), "keys": (), "numbers": ()}
    return EventSource(metric, spans=spans or (RAGGED,), vector=world.service.vector(), **(values | fields))


def all_of(world: World, source: EventSource, limit: int = 20_000) -> list[MeteredEvent]:
    found: list[MeteredEvent] = []
    page = EventPage((), "", is_last=False)
    while not page.is_last:
        page = reader(world).events(TENANT, source, found[-1].place if found else None, limit)
        assert len(page.events) <= limit
        found += page.events
    return found


def a_world(body: Body = UNITS, events: Sequence[Body] = ()) -> tuple[World, str]:
    world = World()
    world.log = KnownLog(1, clock_us=lambda: NOW_US)
    metric = world.define(body)
    for event in events:
        world.send([event])
    world.fold()
    return world, metric


@pytest.mark.parametrize("limit", [1, 7, 20_000])
@pytest.mark.parametrize("body", [UNITS, a_metric_body("count", group_keys=[["region"]])])
@exact
def test_pages_of_events_add_up_to_what_usage_says(body: Body, limit: int) -> None:
    world, metric = a_world(body)
    world.send(some_events(300))
    world.fold()

    found = all_of(world, a_source(world, metric, RAGGED, LATER, keys=("region",)), limit)

    [usage] = world.service.usage(ask(metric, RAGGED, LATER, group_by=("region",)))
    assert len({event.id for event in found}) == len(found) == sum(row.events for row in usage.rows)
    assert [event.place for event in found] == sorted(event.place for event in found)
    for region in (None, "eu", "us"):
        held = [event.quantity for event in found if event.groups == (region,)]
        assert sum(held) == decimal_sum(row.value for row in usage.rows if row.groups == (region,))


def test_events_of_one_instant_are_read_by_their_ids_however_they_came() -> None:
    names = [f"e{n}" for n in range(9)]
    at = DAY + timedelta(minutes=30)
    orders = [random.Random(seed).sample(names, 9) for seed in (1, 2)]
    worlds = [a_world(UNITS, [an_event(name, at=at, properties={"units": 1}) for name in order]) for order in orders]

    assert [[event.id for event in all_of(w, a_source(w, metric), 2)] for w, metric in worlds] == [names, names]


def test_properties_are_read_as_numbers_and_what_is_none_is_left_out() -> None:
    given = ["0.25", 3, None, "cheap", True, "1e30", Decimal("-0.000000000001")]
    events = [
        an_event(f"e{n}", at=DAY + timedelta(minutes=10 + n), properties={"units": 2, "rate": value, "region": "eu"})
        for n, value in enumerate(given)
    ]
    world, metric = a_world(UNITS, events)

    found = all_of(world, a_source(world, metric, keys=("region",), numbers=("rate", "region")))

    read = [Decimal("0.25"), Decimal(3), None, None, None, None, Decimal("-0.000000000001")]
    assert [event.numbers for event in found] == [(number, None) for number in read]
    assert {(event.quantity, event.groups) for event in found} == {(Decimal(2), ("eu",))}


def test_what_the_metric_and_the_filters_leave_out_is_not_read() -> None:
    def of(name: str, **properties: Any) -> Body:
        return an_event(name, at=DAY + timedelta(minutes=20), properties=properties)

    events = [of("eu", units=1, region="eu"), of("us", units=1, region="us"), of("none", units=1)]
    events += [of("text", units="many", region="eu"), of("absent", region="eu")]
    events += [an_event("other", customer_id="other", at=DAY + timedelta(minutes=20), properties={"units": 1})]
    world, metric = a_world(UNITS, events)

    by_filter = {
        value: [event.id for event in all_of(world, a_source(world, metric, filters=(("region", value),)))]
        for value in ("eu", None)
    }

    assert by_filter == {"eu": ["eu"], None: ["none"]}
    assert len(all_of(world, a_source(world, metric))) == 3


def test_events_are_as_corrections_leave_them_and_the_same_again_as_of_an_older_vector() -> None:
    at = DAY + timedelta(minutes=20)
    world, metric = a_world(UNITS, [an_event(name, at=at, properties={"units": 5}) for name in ("a", "b")])
    before = a_source(world, metric)
    amended = EventAmended("c1", 0, TENANT, "a", msgspec.Raw(b'{"units": 7}'))
    for control in (amended, EventVoided("c2", 1, TENANT, "b")):
        asyncio.run(world.log.append(0, Kind.CONTROL, NOW_US, encode_control(control)))
    world.fold()

    assert [(event.id, event.quantity) for event in all_of(world, a_source(world, metric))] == [("a", Decimal(7))]
    assert [event.quantity for event in all_of(world, before)] == [Decimal(5), Decimal(5)]


def test_what_came_after_an_archive_is_not_read() -> None:
    world, metric = a_world(UNITS, [an_event("a", at=DAY + timedelta(minutes=20), properties={"units": 1})])
    world.metrics.archive(TENANT, metric)
    world.send([an_event("b", at=DAY + timedelta(minutes=20), properties={"units": 1})])
    world.fold()

    assert [event.id for event in all_of(world, a_source(world, metric))] == ["a"]


def test_a_revision_that_was_read_is_read_again_when_another_is_in_force() -> None:
    events = [
        an_event(name, at=DAY + timedelta(minutes=20), properties={"units": 1, "region": name}) for name in ("eu", "us")
    ]
    world, metric = a_world(UNITS, events)
    source = a_source(world, metric)
    first = reader(world).events(TENANT, source, None, 10)
    changed = msgspec.convert(
        {"id": metric, "property_filters": [{"name": "region", "in_values": ["us"]}]}, shapes.MetricUpdateBody
    )
    world.metrics.revise(TENANT, metric, changed.applied_to)
    world.fold()

    again = reader(world).events(TENANT, msgspec.structs.replace(source, revision=first.revision), None, 10)
    now = reader(world).events(TENANT, a_source(world, metric), None, 10)

    assert again == first
    assert [event.id for event in now.events] == ["us"]


def test_a_backfill_is_read_where_it_was_in_force_even_once_it_is_reverted() -> None:
    world = BackfilledWorld()
    metric = world.define(a_sum_body("units"))
    span = Span(DAY, DAY + timedelta(hours=3))

    def units(name: str, minute: int, number: int) -> Body:
        return an_event(name, at=DAY + timedelta(minutes=minute), properties={"units": number})

    world.send([units("live", 10, 1), units("behind", 100, 10)])
    made = world.backfill([units("filled", 20, 100)])
    world.fold()
    before = a_source(world, metric, span)
    world.commit(made)
    [usage] = world.service.usage(ask(metric, span))
    during = a_source(world, metric, span, layers=usage.layers)
    world.backfills.revert(TENANT, made.layer.id)

    assert [event.id for event in all_of(world, before)] == ["live", "behind"]
    assert [event.id for event in all_of(world, during)] == ["filled", "behind"]


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"keys": ("plan",)}, NotFound),
        ({"filters": (("plan", "a"),)}, NotFound),
        ({"metric_id": "none"}, NotFound),
        ({"revision": "none"}, NotFound),
        ({"vector": (1, 2)}, BadRequest),
        ({"numbers": ('a"b',)}, BadRequest),
    ],
)
def test_what_cannot_be_read_is_refused_by_name(fields: dict[str, Any], problem: type[Exception]) -> None:
    world, metric = a_world()

    with pytest.raises(problem):
        reader(world).events(TENANT, msgspec.structs.replace(a_source(world, metric), **fields), None, 10)


@pytest.mark.parametrize("kind", ["MAX", "MIN", "LATEST", "UNIQUE", "TIME_WEIGHTED_SUM"])
def test_events_of_a_metric_that_is_no_sum_of_them_are_refused(kind: str) -> None:
    world, metric = a_world(a_metric_body("most", kind, aggregation_key="units"))

    with pytest.raises(BadRequest):
        reader(world).events(TENANT, a_source(world, metric), None, 10)


def test_of_many_events_only_the_first_ones_are_held(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metered_events, "EVENTS_PAGE_MAX", 5)
    world, metric = a_world()
    world.send(some_events(100))
    world.fold()

    page = reader(world).events(TENANT, a_source(world, metric), None, 1_000)

    assert (len(page.events), page.is_last) == (5, False)
    assert list(page.events) == all_of(world, a_source(world, metric), 5)[:5]


def test_a_page_crosses_to_another_process_as_it_is() -> None:
    events = [an_event("a", at=DAY + timedelta(minutes=20), properties={"units": "0.1", "region": "eu", "rate": 3})]
    world, metric = a_world(UNITS, events)
    source = a_source(world, metric, keys=("region",), numbers=("rate", "other"), filters=(("region", "eu"),))
    service = Service(EventReader, reads=["events"])  # type: ignore[type-abstract]
    [method] = service.methods

    asked = method.decode_arguments(method.encode_arguments(TENANT, source, (RAGGED.start, "0"), limit=5))
    page = reader(world).events(*asked)

    assert asked == (TENANT, source, (RAGGED.start, "0"), 5)
    assert len(page.events) == 1
    assert method.decode_result(msgspec.msgpack.encode(page)) == page
