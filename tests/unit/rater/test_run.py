"""The service: definitions from a catalog, usage as of one vector, charges for the contracts service."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal

import pytest

from penstock.catalog.memory import MemoryCatalog
from penstock.kernel.meter import Aggregation
from penstock.kernel.ports.siblings import Rating
from penstock.kernel.problems import NotFound
from penstock.kernel.window import Span
from penstock.rater.definitions import Alias, Product, Rate, RateCard
from penstock.rater.run import RaterService
from penstock.rater.shelf import Shelf
from unit.rater.rating import (
    JUNE,
    LONG_AGO,
    NOW,
    FakeUsage,
    Used,
    a_metric,
    a_product,
    a_rate,
    graduated_usd,
    june,
    some_terms,
    usd,
)

NO_CUTS: frozenset[datetime] = frozenset()


class StoppedClock:
    def now(self) -> datetime:
        return NOW


def a_card(id: str = "card-1", *aliases: Alias) -> RateCard:
    return RateCard(id, id.title(), LONG_AGO, "key-1", aliases=aliases)


def a_service(
    usage: FakeUsage,
    products: Sequence[Product] = (),
    rates: Sequence[Rate] = (),
    cards: Sequence[RateCard] = (a_card(),),
) -> RaterService:
    catalog = MemoryCatalog()
    shelf = Shelf(catalog)
    for product in products:
        shelf.add_product("tenant-1", product)
    for card in cards:
        shelf.add_rate_card("tenant-1", card)
    shelf.add_rates("tenant-1", rates, LONG_AGO)
    return RaterService(catalog, usage, StoppedClock(), usage)


def test_charges_of_a_period_come_with_the_vector_they_are_as_of() -> None:
    usage = FakeUsage(a_metric(), vector=(3, 8))
    usage.events_of["metric-1"] = [Used(june(2), "100"), Used(june(3), "900", customer="somebody else")]
    service: Rating = a_service(usage, [a_product()], [a_rate()])

    found = service.charges(some_terms(), JUNE, NO_CUTS)

    assert (found.contract_id, found.period, found.vector) == ("contract-1", JUNE, (3, 8))
    assert [str(charge.list_amount) for charge in found.charges] == ["5.00"]


def test_usage_under_an_alias_of_the_customer_counts() -> None:
    usage = FakeUsage(a_metric())
    usage.events_of["metric-1"] = [Used(june(2), "1"), Used(june(2), "2", customer="acme")]

    found = a_service(usage, [a_product()], [a_rate()]).charges(
        some_terms(customer_keys=("customer-1", "acme")), JUNE, NO_CUTS
    )

    assert found.charges[0].quantity == 3


def test_products_of_one_metric_and_grouping_share_one_question() -> None:
    usage = FakeUsage(a_metric())
    usage.events_of["metric-1"] = [Used(june(2), "10"), Used(june(20), "10")]
    rates = [
        a_rate(),
        a_rate("dearer", usd("1"), starting_at=june(15)),
        a_rate("other", graduated_usd((None, "0.01")), product_id="calls"),
    ]

    found = a_service(usage, [a_product(), a_product("calls")], rates).charges(some_terms(), JUNE, frozenset([june(5)]))

    assert [query.spans for query in usage.asked] == [
        (Span(june(1), june(5)), Span(june(5), june(15)), Span(june(15), JUNE.end))
    ]
    assert [(c.product_id, str(c.list_amount)) for c in found.charges] == [
        ("tokens", "0.50"),
        ("tokens", "10.00"),
        ("calls", "0.20"),
    ]


def test_spans_of_a_query_are_disjoint_and_in_order_even_for_distinct_values() -> None:
    usage = FakeUsage(a_metric("metric-1", Aggregation.UNIQUE))
    usage.events_of["metric-1"] = [Used(june(2), "ann"), Used(june(20), "ann"), Used(june(21), "bob")]

    found = a_service(usage, [a_product()], [a_rate()]).charges(some_terms(), JUNE, frozenset([june(10), june(15)]))

    assert all(len(query.spans) == 1 for query in usage.asked)
    assert [(s.span.start, s.quantity) for s in found.charges[0].alternatives[0].slices] == [
        (june(1), Decimal(1)),
        (june(15), Decimal(1)),
    ]


def test_all_questions_of_a_charge_set_are_one_cut() -> None:
    usage = FakeUsage(a_metric(), a_metric("metric-2"), vector=(2,))
    products = [a_product(), a_product("calls", metric_id="metric-2")]
    service = a_service(usage, products, [a_rate(), a_rate("r2", product_id="calls")])

    assert service.charges(some_terms(), JUNE, NO_CUTS).vector == (2,)
    assert ([query.metric_id for query in usage.asked], usage.cuts) == (["metric-1", "metric-2"], 1)


def test_a_period_outside_the_contract_has_no_charges_and_asks_nothing() -> None:
    usage = FakeUsage(a_metric())
    service = a_service(usage, [a_product()], [a_rate()])

    found = service.charges(some_terms(end=JUNE.start), JUNE, NO_CUTS)

    assert (found.charges, found.vector, usage.asked) == ((), (), [])
    assert service.unpriced(some_terms(end=JUNE.start), JUNE) == ()


def test_an_archived_product_goes_on_being_billed() -> None:
    usage = FakeUsage(a_metric())
    usage.events_of["metric-1"] = [Used(june(2), "1")]

    found = a_service(usage, [a_product(archived_at=LONG_AGO)], [a_rate()]).charges(some_terms(), JUNE, NO_CUTS)

    assert len(found.charges) == 1


def test_unpriced_lists_groups_without_a_rate_and_products_that_are_not_entitled() -> None:
    usage = FakeUsage(a_metric("metric-1", Aggregation.SUM, "model"))
    usage.events_of["metric-1"] = [Used(june(2), "3", {"model": "small"}), Used(june(2), "4", {"model": "large"})]
    products = [a_product(pricing_group_key=("model",)), a_product("calls")]
    rates = [a_rate(group_values=(("model", "small"),)), a_rate("r2", product_id="calls", entitled=False)]

    listed = a_service(usage, products, rates).unpriced(some_terms(), JUNE)

    assert [(u.product_id, u.group_values, u.span, u.quantity) for u in listed] == [
        ("tokens", (("model", "large"),), JUNE, Decimal(4)),
        ("calls", (), JUNE, Decimal(7)),
    ]


def test_a_card_is_found_by_id_and_by_an_alias_that_is_in_force() -> None:
    past, present = Alias("past", ending_before=NOW), Alias("present", starting_at=NOW)
    service = a_service(FakeUsage(), cards=[a_card("card-1", past, present, Alias("later", starting_at=june(21)))])

    assert service.rate_card_id("tenant-1", "card-1", None) == "card-1"
    assert service.rate_card_id("tenant-1", None, "present") == "card-1"
    for id, alias in [("card-2", None), (None, "past"), (None, "later"), (None, "unknown"), (None, None)]:
        with pytest.raises(NotFound):
            service.rate_card_id("tenant-1", id, alias)


def test_an_alias_moves_to_the_card_it_was_last_given_to() -> None:
    cards = [a_card("card-1", Alias("standard"), Alias("old")), a_card("card-2", Alias("standard"))]
    service = a_service(FakeUsage(), cards=cards)

    assert service.rate_card_id("tenant-1", None, "standard") == "card-2"
    assert service.rate_card_id("tenant-1", None, "old") == "card-1"


def test_another_tenants_definitions_are_not_there() -> None:
    service = a_service(FakeUsage(), [a_product()], cards=[a_card("card-1", Alias("standard"))])

    for id, alias in [("card-1", None), (None, "standard")]:
        with pytest.raises(NotFound):
            service.rate_card_id("tenant-2", id, alias)
    with pytest.raises(NotFound):
        service.product_names("tenant-2", ["tokens"])


def test_product_names_name_the_first_product_that_does_not_exist() -> None:
    service = a_service(FakeUsage(), [a_product(tags=("llm", "beta"))])

    assert service.product_names("tenant-1", ["tokens"]) == {"tokens": "Tokens"}
    with pytest.raises(NotFound, match="no product nothing"):
        service.product_names("tenant-1", ["tokens", "nothing", "neither"])
