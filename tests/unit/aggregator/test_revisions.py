"""A metric's definition changes while events flow: no figure has a gap or counts twice, and readers switch at once."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from decimal import Decimal
from typing import Any

import msgspec
import pytest

import reference
from builders import TENANT, a_sum_body, an_event
from penstock.aggregator import shapes
from penstock.aggregator.consume import Owner
from penstock.aggregator.first_copies import FirstCopies
from penstock.aggregator.metrics import Definition
from penstock.kernel.problems import BadRequest, Conflict, NotFound, StoreUnavailable
from penstock.kernel.usage import UsageQuery
from penstock.kernel.window import Span
from unit.aggregator.test_usage import DAY, World

WHOLE = Span(DAY, DAY + timedelta(hours=3))
RAGGED = (Span(DAY, DAY + timedelta(minutes=50)), Span(DAY + timedelta(minutes=50), DAY + timedelta(hours=3)))
REGION_AND_MODEL = [["region"], ["region", "model"]]


class Shop(World):
    """One metric of units by region; `update` is what the API takes."""

    def __init__(self) -> None:
        super().__init__()
        self.id = self.define(a_sum_body("units", group_keys=[["region"]]))
        self.sent: list[Any] = []

    def use(self, count: int) -> None:
        events = [
            an_event(
                f"e{len(self.sent) + n}",
                at=DAY + timedelta(minutes=7 * (n % 25)),
                properties={
                    "units": n + Decimal("0.5"),
                    "region": ("eu", "us")[n % 2],
                    "model": ("a", "b", None)[n % 3],
                },
            )
            for n in range(count)
        ]
        self.sent += events
        self.send(events)

    def update(self, **fields: Any) -> Definition:
        body = msgspec.convert({"id": self.id, **fields}, shapes.MetricUpdateBody)
        return self.metrics.revise(TENANT, self.id, body.applied_to)

    def fold_only(self) -> None:
        """Fold, and fill nothing."""

        async def play() -> None:
            owner = Owner(0, self.log, self.store, retention_us=10**15)
            await owner.restore()
            while await owner.step(0):
                pass

        asyncio.run(play())

    def figures(self, *by: str, spans: tuple[Span, ...] = (WHOLE,), **fields: Any) -> dict[Any, Decimal | None]:
        [found] = self.service.usage(UsageQuery(TENANT, self.id, ("acme",), spans, group_by=by, **fields))
        return {(row.span.start, row.groups): row.value for row in found.rows}

    def expected(self, *by: str, spans: tuple[Span, ...] = (WHOLE,), **changes: Any) -> dict[Any, Decimal | None]:
        body = a_sum_body("units", group_keys=REGION_AND_MODEL, **changes)
        found: dict[Any, Decimal | None] = {}
        for span in spans:
            found |= reference.usage(body, self.sent, span.start, span.end, by=by)
        return found


def test_a_group_key_added_later_groups_all_that_ever_came() -> None:
    shop = Shop()
    shop.use(40)
    shop.fold()
    shop.update(group_keys=REGION_AND_MODEL)
    shop.use(30)
    shop.fold()

    assert shop.figures("model", "region") == shop.expected("model", "region")
    assert shop.figures("model", spans=RAGGED) == shop.expected("model", spans=RAGGED)


def test_the_older_revision_answers_with_all_events_until_the_newer_is_filled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("penstock.aggregator.usage.FILL_WAIT_MS", 0)
    shop = Shop()
    shop.use(40)
    shop.fold()
    shop.update(group_keys=REGION_AND_MODEL)
    shop.use(30)
    shop.fold_only()

    assert shop.figures("region") == shop.expected("region")
    with pytest.raises(StoreUnavailable, match="still being filled"):
        shop.figures("model")
    with pytest.raises(NotFound, match="no group key color"):
        shop.figures("color")

    shop.fold()
    assert shop.figures("model") == shop.expected("model")


def test_a_changed_filter_counts_history_as_it_is_now() -> None:
    shop = Shop()
    shop.use(40)
    shop.fold()
    shop.update(property_filters=[{"name": "model", "not_in_values": ["a"]}])
    shop.fold()
    shop.use(10)
    shop.fold()

    filtered = [{"name": "model", "not_in_values": ["a"]}]
    assert shop.figures("region") == shop.expected("region", property_filters=filtered) != shop.expected("region")
    shop.update(property_filters=[])
    shop.fold()
    assert shop.figures("region") == shop.expected("region")


def test_what_was_replaced_is_folded_no_longer_and_a_reader_that_began_with_it_reads_again() -> None:
    shop = Shop()
    shop.use(20)
    shop.fold()
    shop.update(group_keys=REGION_AND_MODEL)
    shop.service.retire_replaced()  # not before it is filled
    shop.use(20)
    shop.fold()
    first = shop.store.stored_cells(None, shop.id, None, None, None)
    shop.service.retire_replaced()
    shop.service.retire_replaced()  # there is nothing to retire any more
    shop.use(20)
    shop.fold()

    assert shop.metrics.revised() == []
    assert shop.store.stored_cells(None, shop.id, None, None, None) == first
    assert shop.figures("region") == shop.expected("region")

    newest = shop.service._newest_filled
    answers = [shop.metrics.find(TENANT, shop.id).history[0].metric]  # type: ignore[union-attr]
    shop.service._newest_filled = (  # type: ignore[method-assign]
        lambda definition: answers.pop() if answers else newest(definition)
    )
    assert shop.figures("region") == shop.expected("region")


def test_an_archive_ends_every_revision_that_is_folded() -> None:
    shop = Shop()
    shop.use(20)
    shop.update(group_keys=REGION_AND_MODEL)
    shop.fold_only()
    shop.metrics.archive(TENANT, shop.id)
    counted = list(shop.sent)
    shop.use(20)
    shop.fold()
    shop.sent = counted

    assert shop.figures("model") == shop.expected("model")
    assert shop.figures("model", spans=RAGGED) == shop.expected("model", spans=RAGGED)
    assert shop.metrics.revised() == []
    with pytest.raises(Conflict):
        shop.update(name="again")


def test_a_new_name_is_no_revision_and_a_lost_group_key_is_refused() -> None:
    shop = Shop()

    assert len(shop.update(name="renamed").history) == 1
    assert len(shop.update(group_keys=REGION_AND_MODEL).history) == 2
    with pytest.raises(BadRequest, match="group_keys has lost region"):
        shop.update(group_keys=[["model"]])
    found = shop.metrics.find(TENANT, shop.id)
    assert found is not None
    view = shapes.metric_view(found)
    assert (view["id"], view["name"], view["revision"]) == (shop.id, "renamed", 1)
    assert view["group_keys"] == (("region",), ("region", "model"))


def test_every_revision_tells_from_where_to_where_it_was_folded() -> None:
    shop = Shop()
    shop.use(1)
    shop.update(group_keys=REGION_AND_MODEL)
    shop.fold()
    shop.service.retire_replaced()
    shop.fold()
    found = shop.metrics.find(TENANT, shop.id)
    assert found is not None

    lives = FirstCopies(shop.store, 1).lifetimes(found, as_of=(9,))

    assert [(life.since, life.until, life.is_newest) for life in lives] == [((0,), (3,), False), ((2,), None, True)]
    assert {life.definition.metric.id for life in lives} == {shop.id}
