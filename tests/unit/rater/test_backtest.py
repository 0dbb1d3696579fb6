"""The book against a draft: old, new and difference of every contract and period, to the cent what `rate` makes."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.app.services import BACKTESTING
from penstock.kernel.backtest import Compared, Draft, Tried
from penstock.kernel.contract import Override, Specifier
from penstock.kernel.meter import Aggregation
from penstock.kernel.money import CURRENCIES, USD
from penstock.kernel.price import AnyPrice, Discounted, Package, PerUnit, PriceInterval, Tier, Volume
from penstock.kernel.problems import BadRequest, NotFound, Problem, Unprocessable
from penstock.kernel.quantity import ZERO
from penstock.kernel.window import Span
from penstock.rater.backtest.plan import UNDERSTOOD
from penstock.rater.definitions import Rate
from unit.rater.rating import (
    JUNE,
    LONG_AGO,
    Used,
    a_metric,
    a_multiplier,
    a_product,
    a_rate,
    a_tiered,
    an_overwrite,
    graduated_usd,
    june,
    some_terms,
    usd,
)
from unit.rater.trying import MAY, Rater, tried

DRAFT = Draft(rate_card_id="draft-card")
RATE = '{"product_id": "%s", "entitled": true, "rate_type": "%s", "price": %s, "starting_at": "%sT00:00:00Z"}'


def written(product_id: str, rate_type: str, price: int, starting_on: str = "2026-01-01") -> Draft:
    """One rate as addRates takes it, in cents."""
    rate = RATE % (product_id, rate_type, price, starting_on)
    return Draft(rates=b'{"rates": [%s]}' % rate.encode())


def drafted(id: str, price: AnyPrice, **fields: object) -> Rate:
    return a_rate(id, price, rate_card_id="draft-card", **fields)


def a_book() -> Rater:
    """Tokens for 5 cents, and in the draft for 10 cents up to 100 and 2 cents beyond."""
    tiers = graduated_usd(("100", "0.10"), (None, "0.02"))
    rater = Rater([a_product()], [a_rate(), drafted("draft", tiers)], a_metric())
    rater.usage.events_of["metric-1"] = [
        Used(june(2), "100", customer="customer-1"),
        Used(june(20), "900", customer="customer-1"),
        Used(june(3), "40", customer="customer-2"),
        Used(MAY.start + timedelta(days=9), "300", customer="customer-2"),
    ]
    return rater


def test_every_contract_and_period_says_what_it_cost_and_would_cost() -> None:
    found = a_book().amounts(DRAFT, tried(1), tried(2, MAY, JUNE), tried(3))

    assert found == [
        ("contract-1", ["50.00"], ["28.00"]),  # 1,000 x 0.05; 100 x 0.10 + 900 x 0.02
        ("contract-2", ["15.00", "2.00"], ["14.00", "4.00"]),  # 300 and 40; the tiers begin anew each period
        ("contract-3", ["0"], ["0"]),
    ]


def test_a_book_against_its_own_card_differs_nowhere() -> None:
    rows = a_book().trials.backtest("tenant-1", [tried(1), tried(2, MAY, JUNE)], Draft(rate_card_id="card-1"))

    assert [row.old for row in rows] == [row.new for row in rows] == [(50,), (15, 2)]


def test_a_contract_keeps_its_overrides_under_the_draft_unless_they_are_left_out() -> None:
    half = tried(1, overrides=(a_multiplier("half", "0.5"),))

    assert a_book().amounts(DRAFT, half) == [("contract-1", ["25.00"], ["14.00"])]
    without = Draft(rate_card_id="draft-card", keeps_overrides=False)
    assert a_book().amounts(without, half) == [("contract-1", ["25.00"], ["28.00"])]


def test_an_override_alone_is_tried_on_the_contracts_own_card() -> None:
    draft = Draft(overrides=(a_multiplier("tenth off", "0.9"),))

    assert a_book().amounts(draft, tried(1)) == [("contract-1", ["50.00"], ["45.00"])]


def test_rates_that_are_written_out_are_a_whole_card_or_are_added_to_the_named_one() -> None:
    rate = "tokens", "FLAT", 7, "2026-06-15"

    whole = a_book().amounts(written(*rate), tried(1))
    on_top = a_book().amounts(msgspec.structs.replace(written(*rate), rate_card_id="card-1"), tried(1))

    assert whole == [("contract-1", ["50.00"], ["63.00"])]  # 900 x 0.07
    assert on_top == [("contract-1", ["50.00"], ["68.00"])]  # and 100 x 0.05


def test_a_price_change_inside_a_period_goes_on_with_the_counter() -> None:
    rater = Rater(
        [a_product()],
        [
            a_rate(),
            drafted("draft", graduated_usd(("100", "0.10"), (None, "0.02"))),
            drafted("later", graduated_usd(("100", "1"), (None, "0.01")), starting_at=june(10)),
        ],
        a_metric(),
    )
    rater.usage.events_of["metric-1"] = [Used(june(2), "60"), Used(june(12), "60")]

    # 60 x 0.10; then 40 x 1 up to the hundredth unit, and 20 x 0.01
    assert rater.amounts(DRAFT, tried(1)) == [("contract-1", ["6.00"], ["46.20"])]


def test_usage_of_all_keys_of_a_customer_counts_together() -> None:
    rater = a_book()

    found = rater.amounts(DRAFT, tried(1, customer_keys=("customer-1", "customer-2")))

    assert found == [("contract-1", ["52.00"], ["28.80"])]


def test_two_contracts_of_one_customer_each_price_its_usage() -> None:
    first, second = tried(1), tried(1, contract_id="contract-9", rate_card_id="draft-card")

    found = a_book().amounts(Draft(rate_card_id="card-1"), first, second)

    assert found == [("contract-1", ["50.00"], ["50.00"]), ("contract-9", ["28.00"], ["50.00"])]


def test_the_whole_page_is_read_in_one_cut_and_few_queries() -> None:
    rater = a_book()
    months = [Span(*(datetime(2025, number + each, 1, tzinfo=UTC) for each in (0, 1))) for number in range(1, 12)]

    rater.trials.backtest("tenant-1", [tried(n, *months) for n in range(1, 1_501)], DRAFT)

    assert rater.usage.cuts == 1
    assert [(len(query.customers), len(query.spans)) for query in rater.usage.owned] == [(1_000, 11), (500, 11)]


def test_groups_each_have_their_own_counter() -> None:
    product = a_product(pricing_group_key=("region",))
    tiers = graduated_usd(("10", "1"), (None, "0.10"))
    east, west = (("region", "east"),), (("region", "west"),)
    rates = [
        a_rate("east", usd("1"), group_values=east),
        drafted("e", tiers, group_values=east),
        drafted("w", tiers, group_values=west),
    ]
    rater = Rater([product], rates, a_metric("metric-1", Aggregation.SUM, "region"))
    rater.usage.events_of["metric-1"] = [
        Used(june(2), "15", {"region": "east"}),
        Used(june(2), "20", {"region": "west"}),
        Used(june(2), "99", {"region": "north"}),
    ]

    # 15 x 1, as the west has no price yet; 10 + 5 x 0.10 and 10 + 10 x 0.10
    assert rater.amounts(DRAFT, tried(1)) == [("contract-1", ["15.00"], ["21.50"])]


def test_a_price_in_yen_and_one_in_dollars_are_rows_of_their_own() -> None:
    yen = PerUnit(CURRENCIES["JPY"], Decimal("1.5"))
    rates = [a_rate(), a_rate("yen", yen, product_id="calls"), drafted("draft", yen, product_id="calls")]
    rater = Rater([a_product(), a_product("calls")], rates, a_metric())
    rater.usage.events_of["metric-1"] = [Used(june(2), "3")]

    found = rater.trials.backtest("tenant-1", [tried(1)], DRAFT)

    assert [row.unit for row in found] == [CURRENCIES["JPY"], USD]
    assert [(str(row.old[0]), str(row.new[0])) for row in found] == [("5", "5"), ("0.15", "0")]


def test_a_draft_in_another_currency_is_refused_by_name() -> None:
    rates = [a_rate(), drafted("draft", PerUnit(CURRENCIES["EUR"], Decimal(1)))]
    rater = Rater([a_product()], rates, a_metric())

    with pytest.raises(Unprocessable, match=r"EUR.*contract-1.*USD") as of_book:
        rater.trials.backtest("tenant-1", [tried(1)], DRAFT)
    with pytest.raises(Unprocessable, match=r"EUR.*contract-1.*USD") as of_one:
        rater.trials.preview(tried(1).terms, JUNE, DRAFT)

    assert (of_book.value.field, of_one.value.field) == ("rate_card_id", "rate_card_id")


@pytest.mark.parametrize(
    ("draft", "kind", "field"),
    [
        (Draft(rate_card_id="nowhere"), NotFound, "rate_card_id"),
        (Draft(rates=b'{"rates": []}'), BadRequest, "rates"),
        (Draft(rates=b'{"rates": [{}]}'), BadRequest, "rates[0]"),
        (written("nothing", "FLAT", 1), NotFound, "rates[0].product_id"),
        (written("tokens", "FLAT", -1), BadRequest, "rates[0].price"),
        (written("tokens", "ODD", 1), Unprocessable, "rates[0].rate_type"),
    ],
)
def test_a_draft_that_cannot_be_is_refused_by_the_name_of_its_field(
    draft: Draft, kind: type[Problem], field: str
) -> None:
    with pytest.raises(kind) as refused:
        a_book().trials.backtest("tenant-1", [tried(1)], draft)

    assert refused.value.field == field


def test_a_preview_has_the_charges_of_both_terms_of_one_vector() -> None:
    rater = a_book()

    found = rater.trials.preview(some_terms(), JUNE, DRAFT)

    assert rater.usage.cuts == 1
    assert found.old == rater.rating.charges(some_terms(), JUNE, frozenset())
    assert [(part.level, str(part.amount)) for part in found.new.charges[0].alternatives[0].parts] == [
        (1, "10.00"),
        (2, "18.00"),
    ]
    assert found.new.charges[0].alternatives[0].origin["rate_card_id"] == "draft-card"


def test_a_draft_and_what_comes_of_it_cross_to_another_process_as_they_are() -> None:
    rater = a_book()
    overrides = (a_multiplier("half", "0.5"), a_tiered("tiers", ("10", "0.9"), (None, "0.8")))
    draft = Draft("draft-card", b'{"rates": []}', overrides, keeps_overrides=False)
    preview, backtest = BACKTESTING.methods

    asked = ["tenant-1", [tried(1, MAY, JUNE), tried(2, overrides=overrides)], draft]

    assert list(backtest.decode_arguments(backtest.encode_arguments(*asked))) == asked
    for method, answer in (
        (preview, rater.trials.preview(some_terms(), JUNE, DRAFT)),
        (backtest, rater.trials.backtest("tenant-1", [tried(1), tried(2)], DRAFT)),
    ):
        assert method.decode_result(msgspec.msgpack.encode(answer)) == answer


def test_all_that_an_interval_says_is_known_to_the_batch_path() -> None:
    """A field that comes new is read there too, or named as one that leaves a contract to `rate`."""
    left_to_rate = {"quantity_terms", "price_keys", "reads_events"}
    assert set(PriceInterval.__struct_fields__) == UNDERSTOOD | left_to_rate


# What follows draws whole books: cards, overrides, dates and usage of several contracts.

TURNS = [MAY.start + timedelta(days=days) for days in (0, 4, 9.5, 20, 31, 40, 45.75, 61)]
turns = st.sampled_from(TURNS)
spans = st.sampled_from(list(itertools.combinations(TURNS, 2)))
quarters = st.integers(0, 61 * 96 - 1).map(lambda n: MAY.start + timedelta(minutes=15 * n))
numbers = st.integers(-8, 400).map(lambda n: Decimal(n) / 8)
prices = st.sampled_from(
    [
        usd("0.375"),
        graduated_usd(("10", "1"), ("25.5", "0.333"), (None, "0.005")),
        Volume(USD, (Tier(Decimal(20), Decimal("0.5")), Tier(None, Decimal("0.125"), Decimal(3)))),
        Package(USD, Decimal("2.5"), Decimal("0.99"), Decimal(3)),
        Discounted(USD, usd("0.7"), percent=Decimal("12.5")),
    ]
)


@st.composite
def card(draw: st.DrawFn, card_id: str) -> list[Rate]:
    rates = []
    for number in range(draw(st.integers(0, 4))):
        start, end = draw(spans)
        rates.append(
            a_rate(
                f"{card_id}-{number}",
                draw(prices),
                rate_card_id=card_id,
                product_id=draw(st.sampled_from(["tokens", "users", "peak"])),
                starting_at=draw(st.sampled_from([LONG_AGO, start])),
                ending_before=draw(st.sampled_from([None, end])),
                entitled=draw(st.sampled_from([True, True, False])),
            )
        )
    return rates


@st.composite
def overrides(draw: st.DrawFn, id: str) -> Override:
    start, end = draw(spans)
    dates = {"start": start, "end": draw(st.sampled_from([None, end]))}
    specifiers = (Specifier(draw(st.sampled_from([None, "tokens", "users"]))),)
    kind = draw(st.sampled_from(["multiplier", "overwrite", "tiered"]))
    if kind == "multiplier":
        return a_multiplier(id, "0.75", specifiers=specifiers, **dates)
    if kind == "overwrite":
        return an_overwrite(id, "0.2", specifiers=specifiers, **dates)
    return a_tiered(id, ("12", "0.5"), (None, "0.25"), specifiers=specifiers, **dates)


@st.composite
def contracts(draw: st.DrawFn, number: int) -> Tried:
    start, end = draw(spans)
    whole = draw(st.sampled_from([Span(MAY.start, JUNE.end), Span(start, end)]))
    periods = [part for month in (MAY, JUNE) if (part := month.clip(whole)) is not None]
    held = draw(st.lists(overrides(f"override-{number}"), max_size=2))
    return tried(
        number,
        *periods,
        start=whole.start,
        end=whole.end,
        overrides=tuple(held),
        customer_id=f"customer-{(number + 1) // 2}",
        customer_keys=(f"customer-{(number + 1) // 2}", f"alias-{(number + 1) // 2}"),
    )


@st.composite
def used(draw: st.DrawFn, values: st.SearchStrategy[str]) -> list[Used]:
    customers = st.sampled_from(["customer-1", "alias-1", "customer-2", "somebody else"])
    events = range(draw(st.integers(0, 8)))
    return [Used(draw(st.one_of(turns, quarters)), draw(values), customer=draw(customers)) for _ in events]


@given(
    card("card-1"),
    card("draft-card"),
    st.tuples(contracts(1), contracts(2), contracts(3)),
    used(numbers.map(str)),
    used(st.sampled_from(["ann", "bob", "eve"])),
)
def test_any_book_comes_to_what_the_rater_charges_one_by_one(
    old: list[Rate], new: list[Rate], book: tuple[Tried, ...], values: list[Used], names: list[Used]
) -> None:
    products = [
        a_product(),
        a_product("users", metric_id="metric-2"),
        a_product("peak", metric_id="metric-3"),
    ]
    metrics = [a_metric(), a_metric("metric-2", Aggregation.UNIQUE), a_metric("metric-3", Aggregation.MAX)]
    rater = Rater(products, [*old, *new, drafted("free", usd("0"))], *metrics)
    rater.usage.events_of = {"metric-1": values, "metric-2": names, "metric-3": values}

    rows = {row.contract_id: row for row in rater.trials.backtest("tenant-1", book, DRAFT)}

    for each in book:
        of_draft = Tried(msgspec.structs.replace(each.terms, rate_card_id="draft-card"), each.periods)
        nothing = Compared(each.terms.contract_id, USD, *[(ZERO,) * len(each.periods)] * 2)  # no price, and no row
        row = rows.get(each.terms.contract_id, nothing)
        assert list(row.old) == rater.by_rate(each)
        assert list(row.new) == rater.by_rate(of_draft)
