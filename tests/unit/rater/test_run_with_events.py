"""The shell with prices that read groups or events: what it asks, as of what, and what it refuses."""

from __future__ import annotations

import itertools
from datetime import timedelta
from decimal import Decimal

import pytest

from penstock.kernel.charge import ChargeSet
from penstock.kernel.meter import Aggregation, Metric
from penstock.kernel.metered_event import EventPage, EventPlace, EventSource
from penstock.kernel.money import USD
from penstock.kernel.price import AnyPrice, Dynamic, Matrix
from penstock.kernel.problems import StoreUnavailable, Unprocessable
from penstock.kernel.window import Span
from penstock.rater import event_pages
from unit.rater.eventful import a_bps, a_percentage
from unit.rater.grouped import REGION, cells
from unit.rater.rating import JUNE, FakeUsage, Used, a_metric, a_product, a_rate, june, some_terms, usd
from unit.rater.test_run import NO_CUTS, a_service

MATRIX = Matrix(USD, REGION, cells(("west", "2")), Decimal(3))
PERCENTAGE = a_percentage("1", "0", free_events="2")


def some_usage(*days: int, metric: Metric | None = None) -> FakeUsage:
    usage = FakeUsage(metric or a_metric("metric-1", Aggregation.SUM, "region", "model"), vector=(3, 8))
    usage.events_of["metric-1"] = [
        Used(june(day), "100", {"region": "west", "model": "small"}, id=f"e{day}", numbers={"rate": "0.5"})
        for day in days
    ]
    return usage


def charges(usage: FakeUsage, *prices: AnyPrice) -> ChargeSet:
    """A product of which a price follows another every ten days."""
    rates = [a_rate(f"r{n}", price, starting_at=june(1 + 10 * n)) for n, price in enumerate(prices)]
    return a_service(usage, [a_product()], rates).charges(some_terms(), JUNE, NO_CUTS)


def amounts(found: ChargeSet) -> list[str]:
    return [str(charge.list_amount) for charge in found.charges]


def test_groups_are_asked_for_by_the_keys_of_the_price_beside_those_of_the_product() -> None:
    usage = some_usage(2, 3)
    rates = [a_rate("r", MATRIX, group_values=(("model", "small"),))]

    found = a_service(usage, [a_product(pricing_group_key=("model",))], rates).charges(some_terms(), JUNE, NO_CUTS)

    assert [query.group_by for query in usage.asked] == [("model", "region")]
    assert (amounts(found), usage.sources) == (["400.00"], [])


@pytest.mark.parametrize(
    ("aggregation", "asked"),
    [(Aggregation.SUM, {("region",)}), (Aggregation.UNIQUE, {(), ("region",)}), (Aggregation.MAX, {(), ("region",)})],
)
def test_only_figures_that_add_up_are_read_by_the_keys_of_the_products_other_prices(
    aggregation: Aggregation, asked: set[tuple[str, ...]]
) -> None:
    usage = some_usage(2, 12, metric=a_metric("metric-1", aggregation, "region"))

    assert len(charges(usage, usd("1"), MATRIX).charges) == 2
    assert {query.group_by for query in usage.asked} == asked


def test_events_are_read_as_of_the_vector_of_usage_with_the_properties_that_prices_read() -> None:
    usage = some_usage(2, 12)

    found = charges(usage, PERCENTAGE, Dynamic(USD, default_rate=Decimal(0)))

    [source] = usage.sources
    assert (source.vector, source.customers, source.spans) == ((3, 8), ("customer-1",), (JUNE,))
    assert (source.keys, source.numbers) == ((), ("rate",))
    assert (amounts(found), found.vector) == (["0.00", "50.00"], (3, 8))


def test_a_source_without_usage_is_not_asked_for_events() -> None:
    usage = some_usage()

    assert charges(usage, PERCENTAGE).charges == ()
    assert usage.sources == []


def test_pages_are_read_to_the_last_by_one_revision() -> None:
    usage = some_usage(*range(1, 30))
    usage.page_max = 7

    found = charges(usage, a_bps("100", "0.5"))

    assert amounts(found) == ["14.50"]
    assert [source.revision for source in usage.sources] == [None, *["metric-1-1"] * 4]
    events = found.charges[0].alternatives[0].events
    assert events is not None
    assert (events.count, events.source.revision if events.source else None) == (29, "metric-1-1")


def test_many_events_are_read_in_pieces_of_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_pages, "EVENTS_PAGE_MAX", 8)
    usage = some_usage(*range(1, 30))

    found = charges(usage, a_bps("100", "0.5"))

    assert amounts(found) == ["14.50"]
    pieces = [span for source in usage.sources for span in source.spans]
    assert len(pieces) == 8
    assert (pieces[0].start, pieces[-1].end) == (JUNE.start, JUNE.end)
    assert all(earlier.end == later.start for earlier, later in itertools.pairwise(pieces))


def test_more_events_than_a_price_may_read_are_refused_before_any_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_pages, "EVENTS_READ_MAX", 3)
    usage = some_usage(2, 3, 4, 5)

    with pytest.raises(Unprocessable, match="metric-1 has counted 4 events"):
        charges(usage, PERCENTAGE)
    assert usage.sources == []
    assert amounts(charges(usage, usd("0.5"))) == ["200.00"]


class MovingUsage(FakeUsage):
    """Events that are, so many times, not those that usage has counted."""

    moves = 1

    def events(self, tenant: str, source: EventSource, after: EventPlace | None, limit: int) -> EventPage:
        page = super().events(tenant, source, after, limit)
        self.moves -= 1
        return page if self.moves < 0 else EventPage(page.events[1:], page.revision, page.is_last)


@pytest.mark.parametrize("moves", [1, 2])
def test_events_that_are_not_what_was_counted_are_read_again_with_usage(moves: int) -> None:
    usage = MovingUsage(a_metric())
    usage.events_of["metric-1"], usage.moves = some_usage(2, 3, 4).events_of["metric-1"], moves

    assert amounts(charges(usage, PERCENTAGE)) == ["1.00"]
    assert usage.cuts == moves + 1


def test_events_that_stay_other_than_what_was_counted_are_not_billed() -> None:
    usage = MovingUsage(a_metric())
    usage.events_of["metric-1"], usage.moves = some_usage(2, 3, 4).events_of["metric-1"], 9

    with pytest.raises(StoreUnavailable):
        charges(usage, PERCENTAGE)


def test_products_of_one_metric_that_read_events_and_sums_are_rated_from_one_cut() -> None:
    usage = some_usage(2, 20)
    rates = [a_rate("r1", PERCENTAGE), a_rate("r2", usd("0.5"), product_id="calls", starting_at=june(10))]

    service = a_service(usage, [a_product(), a_product("calls")], rates)
    found = service.charges(some_terms(), JUNE, frozenset([june(15)]))

    assert ([str(charge.list_amount) for charge in found.charges], usage.cuts) == (["0.00", "50.00"], 1)


def test_usage_without_a_price_is_listed_by_pricing_groups_whatever_prices_read() -> None:
    usage = some_usage(2, 20)
    rates = [a_rate("r1", MATRIX, ending_before=june(10)), a_rate("r2", PERCENTAGE, product_id="calls")]

    listed = a_service(usage, [a_product(), a_product("calls")], rates).unpriced(some_terms(), JUNE)

    assert [(each.product_id, each.group_values, each.span, each.quantity) for each in listed] == [
        ("tokens", (), Span(june(10), JUNE.end), Decimal(100))
    ]


def test_a_piece_of_time_shorter_than_its_pieces_is_read_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_pages, "EVENTS_PAGE_MAX", 1)
    usage = some_usage()
    usage.events_of["metric-1"] = [Used(june(1), "100", id=f"e{n}") for n in range(5)]
    end = june(1) + timedelta(microseconds=2)
    rates = [a_rate("r", a_bps("100"), ending_before=end)]

    found = a_service(usage, [a_product()], rates).charges(some_terms(), JUNE, NO_CUTS)

    assert [charge.quantity for charge in found.charges] == [Decimal(500)]
