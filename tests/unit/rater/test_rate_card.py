"""The resolver: which price is in force when, for which groups, and where it comes from."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

from penstock.kernel.contract import ContractTerms, Specifier
from penstock.kernel.price import PerUnit, Price, PriceInterval
from penstock.kernel.quantity import to_text
from penstock.kernel.window import Span
from penstock.rater.definitions import Product, ProductType, Rate
from penstock.rater.rate_card import resolve
from unit.rater.rating import (
    JUNE,
    LONG_AGO,
    a_multiplier,
    a_product,
    a_rate,
    an_override,
    an_overwrite,
    june,
    some_terms,
    usd,
)


def resolved(
    rates: list[Rate], terms: ContractTerms | None = None, products: list[Product] | None = None, period: Span = JUNE
) -> tuple[PriceInterval, ...]:
    known = {product.id: product for product in products or [a_product()]}
    return resolve(terms or some_terms(), period, rates, known)


def per_unit_of(interval: PriceInterval) -> str:
    assert isinstance(interval.price, PerUnit)
    return to_text(interval.price.unit_price)


def priced(intervals: tuple[PriceInterval, ...]) -> list[tuple[Span, Price]]:
    return [(interval.span, interval.price) for interval in intervals]


def test_a_rate_without_end_prices_the_whole_period() -> None:
    (interval,) = resolved([a_rate()], products=[a_product(tags=("llm",))])

    assert (JUNE, usd("0.05")) == (interval.span, interval.price)
    assert (
        interval.contract_id,
        interval.product_id,
        interval.product_name,
        interval.metric_id,
    ) == ("contract-1", "tokens", "Tokens", "metric-1")
    assert interval.product_tags == ("llm",)
    assert interval.origin == {
        "rate_card_id": "card-1",
        "rate_id": "rate-1",
        "rate_starting_at": "2020-01-01T00:00:00+00:00",
    }


def test_a_later_rate_supersedes_from_its_start_to_the_microsecond() -> None:
    turn = june(15, microsecond=1)

    intervals = resolved([a_rate("new", usd("0.06"), starting_at=turn), a_rate("old")])

    assert [(Span(JUNE.start, turn), usd("0.05")), (Span(turn, JUNE.end), usd("0.06"))] == priced(intervals)


def test_when_a_temporary_rate_ends_the_one_beneath_is_in_force_again() -> None:
    intervals = resolved([a_rate("base"), a_rate("sale", usd("0.01"), starting_at=june(10), ending_before=june(12))])

    assert [("base", june(1), june(10)), ("sale", june(10), june(12)), ("base", june(12), JUNE.end)] == [
        (interval.origin["rate_id"], interval.span.start, interval.span.end) for interval in intervals
    ]


def test_of_two_rates_with_one_start_the_one_added_last_is_in_force() -> None:
    (interval,) = resolved([a_rate("wrong", usd("9")), a_rate("right", usd("1"))])

    assert usd("1") == interval.price


def test_a_rate_that_has_ended_or_not_begun_prices_nothing() -> None:
    assert resolved([a_rate(ending_before=JUNE.start), a_rate(starting_at=JUNE.end)]) == ()


def test_the_same_price_published_again_makes_no_new_interval() -> None:
    intervals = resolved([a_rate("old", usd("0.05")), a_rate("again", usd("0.050"), starting_at=june(15))])

    assert [(JUNE, usd("0.05"))] == priced(intervals)
    assert intervals[0].origin["rate_id"] == "old"


def test_the_contracts_start_and_end_clip_the_period() -> None:
    (interval,) = resolved([a_rate()], some_terms(start=june(3), end=june(9)))

    assert Span(june(3), june(9)) == interval.span
    assert resolved([a_rate()], some_terms(start=JUNE.end)) == ()
    assert resolved([a_rate()], some_terms(end=JUNE.start)) == ()


def test_an_override_cuts_the_period_where_it_begins_and_ends_and_is_named_in_the_origin() -> None:
    override = a_multiplier("o-1", "0.9", start=june(5), end=june(6))

    intervals = resolved([a_rate()], some_terms(override))

    assert [
        (Span(june(1), june(5)), usd("0.05")),
        (Span(june(5), june(6)), usd("0.045")),
        (Span(june(6), JUNE.end), usd("0.05")),
    ] == priced(intervals)
    assert [interval.origin.get("override_id") for interval in intervals] == [None, "o-1", None]


def test_an_override_acts_on_whatever_the_card_says_at_that_moment() -> None:
    rates = [a_rate("old", usd("1")), a_rate("new", usd("2"), starting_at=june(15))]

    intervals = resolved(rates, some_terms(a_multiplier("o", "0.5")))

    assert [usd("0.5"), usd("1")] == [interval.price for interval in intervals]


def test_a_product_that_is_not_entitled_has_no_interval() -> None:
    assert resolved([a_rate(entitled=False)]) == ()
    assert resolved([a_rate()], some_terms(a_multiplier("o", "1", entitled=False))) == ()


def test_an_override_may_entitle_what_the_card_does_not() -> None:
    intervals = resolved([a_rate(entitled=False)], some_terms(an_overwrite("o", "2", entitled=True, start=june(20))))

    assert [(Span(june(20), JUNE.end), usd("2"))] == priced(intervals)


def test_only_the_override_that_acts_has_a_say_in_entitlement() -> None:
    terms = some_terms(a_multiplier("acts", "0.5"), a_multiplier("does not", "0.9", entitled=False))

    assert [(JUNE, usd("0.025"))] == priced(resolved([a_rate()], terms))


def test_each_combination_of_group_values_has_its_own_rates() -> None:
    product = a_product(pricing_group_key=("model",))
    rates = [
        a_rate("small", usd("1"), group_values=(("model", "small"),)),
        a_rate("large", usd("2"), group_values=(("model", "large"),)),
        a_rate("absent", usd("3"), group_values=(("model", None),)),
        a_rate("larger", usd("4"), group_values=(("model", "large"),), starting_at=june(15)),
    ]
    terms = some_terms(a_multiplier("o", "0.5", specifiers=(Specifier(group_values=(("model", "small"),)),)))

    intervals = resolved(rates, terms, [product])

    assert [
        (interval.group_values[0][1], per_unit_of(interval)) for interval in intervals
    ] == [("small", "0.5"), ("large", "2"), ("large", "4"), (None, "3")]
    assert {("model",)} == {interval.group_keys for interval in intervals}


def test_overrides_by_product_by_tag_and_by_nothing_keep_the_contracts_order() -> None:
    overrides = [
        an_overwrite("by tag", "1", specifiers=(Specifier(product_tags=("llm",)),)),
        an_overwrite("by product", "2", specifiers=(Specifier(product_id="tokens"),)),
        an_overwrite("all", "3"),
    ]
    product = a_product(tags=("llm",))

    forward = resolved([a_rate()], some_terms(*overrides), [product])
    backward = resolved([a_rate()], some_terms(*reversed(overrides)), [product])

    assert (forward[0].origin["override_id"], backward[0].origin["override_id"]) == ("by tag", "all")


def test_a_product_without_a_metric_yields_no_interval() -> None:
    fixed = a_product("support", type=ProductType.FIXED, metric_id=None)

    assert resolved([a_rate(product_id="support")], products=[fixed]) == ()


def test_ten_thousand_rates_and_a_hundred_overrides_resolve_to_one_interval_each() -> None:
    products = [a_product(f"p{i}") for i in range(100)]
    rates = [
        a_rate(f"r{i}-{day}", usd(f"0.{day + 1:03}"), product_id=f"p{i}", starting_at=LONG_AGO + timedelta(days=day))
        for i in range(100)
        for day in range(100)
    ]
    overrides = [a_multiplier(f"o{i}", "0.5", specifiers=(Specifier(product_id=f"p{i}"),)) for i in range(100)]

    intervals = resolved(rates, some_terms(*overrides), products)

    assert [f"p{i}" for i in range(100)] == [interval.product_id for interval in intervals]
    assert {"0.05"} == {per_unit_of(interval) for interval in intervals}


def test_an_override_with_no_price_change_but_another_origin_merges() -> None:
    override = an_override("o", multiplier=Decimal(1), start=june(10))

    assert [(JUNE, usd("0.05"))] == priced(resolved([a_rate()], some_terms(override)))
