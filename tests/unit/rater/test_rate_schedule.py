"""Which rate of a card is in force when, over time."""

from __future__ import annotations

from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

import metronome
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.rater.rate_card import rate_in_force
from penstock.rater.rate_schedule import schedule
from unit.rater.rating import a_rate, june
from unit.rater.serving import JANUARY, Server, a_flat_rate, a_rate_card, a_usage_product

DAYS = st.integers(1, 29)
RATES = st.lists(st.tuples(DAYS, st.none() | st.integers(1, 9)), min_size=1, max_size=6).map(
    lambda found: [
        a_rate(f"rate-{n}", starting_at=june(day), ending_before=days and june(day) + timedelta(days=days))
        for n, (day, days) in enumerate(found)
    ]
)


@given(RATES, DAYS)
def test_at_every_instant_the_schedule_has_the_rate_in_force_and_no_other(rates: list[Any], day: int) -> None:
    stretches = schedule(rates)

    for instant in (june(day), june(day) - timedelta(microseconds=1)):
        held = [s.rate for s in stretches if s.meets(instant, instant + timedelta(microseconds=1))]
        in_force = rate_in_force(rates, instant)
        assert held == ([] if in_force is None else [in_force])


@given(RATES)
def test_neighbours_are_of_different_rates(rates: list[Any]) -> None:
    stretches = schedule(rates)

    for before, behind in pairwise(stretches):
        assert before.end is not None
        assert before.end <= behind.start
        assert before.end < behind.start or before.rate is not behind.rate


def stretches_of(
    client: metronome.Metronome, card_id: str, **asked: Any
) -> list[tuple[Any, datetime, datetime | None]]:
    answer = client.v1.contracts.rate_cards.retrieve_rate_schedule(rate_card_id=card_id, **asked)
    return [(each.rate.price, each.starting_at, each.ending_before) for each in answer.data]


def test_a_schedule_tells_when_a_rate_gives_way_and_when_it_holds_again(
    server: Server, client: metronome.Metronome
) -> None:
    calls, tokens = a_usage_product(client), a_usage_product(client, "tokens")
    card_id, start = a_rate_card(client), datetime.fromisoformat(JANUARY)
    rates: Any = [
        a_flat_rate(calls),
        a_flat_rate(tokens, price=7, commit_rate={"rate_type": "FLAT", "price": 6}),
        a_flat_rate(calls, price=3, starting_at=june(10), ending_before=june(20)),
    ]
    client.v1.contracts.rate_cards.rates.add_many(rate_card_id=card_id, rates=rates)

    assert stretches_of(client, card_id, starting_at=JANUARY) == [
        (5, start, june(10)),
        (5, june(20), None),
        (7, start, None),
        (3, june(10), june(20)),
    ]
    assert stretches_of(client, card_id, starting_at=june(10), ending_before=june(15)) == [
        (7, start, None),
        (3, june(10), june(20)),
    ]
    assert stretches_of(client, card_id, starting_at=june(20), selectors=[{"product_id": calls}]) == [
        (5, june(20), None)
    ]
    subscriptions: Any = [{"billing_frequency": "MONTHLY"}]
    assert stretches_of(client, card_id, starting_at=june(20), selectors=subscriptions) == []


def test_a_schedule_is_read_in_pages(server: Server, client: metronome.Metronome) -> None:
    product_id, card_id = a_usage_product(client), a_rate_card(client)
    for day in range(1, 6):
        body = a_flat_rate(product_id, rate_card_id=card_id, price=day, starting_at=june(day))
        server.post("/v1/contract-pricing/rate-cards/addRate", body)
    prices, cursor = [], None
    while True:
        pages: dict[str, Any] = {} if cursor is None else {"next_page": cursor}
        answer = client.v1.contracts.rate_cards.retrieve_rate_schedule(
            rate_card_id=card_id, starting_at=june(2), limit=2, **pages
        )
        prices.append([each.rate.price for each in answer.data])
        cursor = answer.next_page
        if cursor is None:
            break

    assert prices == [[2, 3], [4, 5]]


@pytest.mark.parametrize(
    ("fields", "status", "field"),
    [
        ({"rate_card_id": "unknown"}, 404, "rate_card_id"),
        ({"starting_at": "2026-01-01T00:00:00"}, 400, "starting_at"),
        ({"ending_before": JANUARY}, 400, "ending_before"),
    ],
)
def test_a_schedule_that_cannot_be_is_refused_by_name(
    server: Server, client: metronome.Metronome, fields: dict[str, Any], status: int, field: str
) -> None:
    asked = {"rate_card_id": a_rate_card(client), "starting_at": JANUARY} | fields

    assert server.refused("/v1/contract-pricing/rate-cards/getRateSchedule", asked) == (status, field)
