"""Ten thousand rates in one call: all of them or none, and none that stands in another's way."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import metronome
import pytest

from penstock.rater.rate_cache import RateCache, Shelved
from unit.rater.rating import JUNE, Used, a_rate, june, some_terms
from unit.rater.serving import JANUARY, Server, a_flat_rate, a_rate_card, a_usage_product

ADD = "/v1/contract-pricing/rate-cards/addRates"
MANY = 10_000


def many(product_id: str, **fields: Any) -> list[dict[str, Any]]:
    return [
        a_flat_rate(product_id, price=n, pricing_group_values={"model": f"model-{n}"}, **fields) for n in range(MANY)
    ]


def test_ten_thousand_rates_are_added_in_one_call_and_price(server: Server, client: metronome.Metronome) -> None:
    product_id = a_usage_product(client, "tokens", pricing_group_key=["model"])
    card_id = a_rate_card(client)

    added = server.post(ADD, {"rate_card_id": card_id, "rates": many(product_id)})
    server.usage.events_of["tokens"] = [Used(june(2), "3", {"model": f"model-{n}"}) for n in (7, 9_999)]
    charges = server.service.charges(some_terms(rate_card_id=card_id), JUNE, frozenset()).charges

    assert added.status_code == 200
    assert [str(charge.list_amount) for charge in charges] == ["0.21", "299.97"]
    assert len(list(client.v1.contracts.rate_cards.rates.list(rate_card_id=card_id, at=june(1)))) == MANY


@pytest.mark.parametrize(
    ("last", "status", "field"),
    [
        ({"price": Decimal("1" * 60)}, 400, "price"),
        ({"product_id": "unknown"}, 404, "product_id"),
        ({"credit_type_id": "EUR"}, 422, "credit_type_id"),
        ({"price": "dear"}, 400, "price"),
        ({"pricing_group_values": {"model": "model-0"}}, 422, "starting_at"),
    ],
)
def test_the_last_of_ten_thousand_rates_is_refused_by_name_and_none_is_there(
    server: Server, client: metronome.Metronome, last: dict[str, Any], status: int, field: str
) -> None:
    product_id = a_usage_product(client, "tokens", pricing_group_key=["model"])
    card_id, rates = a_rate_card(client), many(product_id)
    rates[-1] |= last

    refused = server.refused(ADD, {"rate_card_id": card_id, "rates": rates})

    assert refused == (status, f"rates[{MANY - 1}].{field}")
    assert server.shelf.rates("tenant-1", card_id) == []
    assert server.catalog.list("tenant-1", "rate") == []


JULY, MAY = "2026-07-01T00:00:00Z", "2026-05-01T00:00:00Z"


@pytest.mark.parametrize(
    ("rates", "field"),
    [
        ([{}, {}], "rates[1].starting_at"),
        ([{}, {"ending_before": JULY}], "rates[1].starting_at"),
        ([{"ending_before": JULY}, {"starting_at": MAY}], "rates[1].starting_at"),
        ([{"starting_at": MAY}, {"ending_before": JULY}], "rates[0].starting_at"),
        ([{}, {"starting_at": MAY}], None),
        ([{"ending_before": MAY}, {"starting_at": MAY, "ending_before": JULY}], None),
        ([{"starting_at": JULY}, {}, {"starting_at": MAY, "ending_before": JULY}], None),
    ],
)
def test_rates_that_cannot_both_be_meant_are_refused_by_name(
    server: Server, client: metronome.Metronome, rates: list[dict[str, Any]], field: str | None
) -> None:
    product_id, card_id = a_usage_product(client), a_rate_card(client)
    bodies = [a_flat_rate(product_id) | fields for fields in rates]

    refused = server.refused(ADD, {"rate_card_id": card_id, "rates": bodies})

    assert refused == ((200, None) if field is None else (422, field))
    assert len(server.shelf.rates("tenant-1", card_id)) == (0 if field else len(rates))


def test_a_rate_added_later_takes_the_place_of_one_from_the_same_instant(
    server: Server, client: metronome.Metronome
) -> None:
    product_id, card_id = a_usage_product(client), a_rate_card(client)
    for price in (5, 6):
        server.post(ADD, {"rate_card_id": card_id, "rates": [a_flat_rate(product_id, price=price)]})

    [listed] = client.v1.contracts.rate_cards.rates.list(rate_card_id=card_id, at=JANUARY)

    assert listed.rate.price == 6


class Shop:
    """Rates of cards, and what was asked for."""

    def __init__(self) -> None:
        self.rates: dict[str, list[Shelved]] = {}
        self.asked: list[tuple[str, int]] = []

    def read(self, tenant: str, rate_card_id: str, after: int) -> list[Shelved]:
        self.asked.append((rate_card_id, after))
        return [shelved for shelved in self.rates.get(rate_card_id, []) if shelved.sequence > after]

    def add(self, rate_card_id: str, *sequences: int) -> None:
        self.rates.setdefault(rate_card_id, []).extend(Shelved(n, a_rate(f"rate-{n}")) for n in sequences)


def test_only_what_was_added_since_is_read_and_the_cards_asked_for_last_stay() -> None:
    shop = Shop()
    cache = RateCache(shop.read, rates_max=5)
    shop.add("A", 1, 2)
    shop.add("B", 3, 4, 5)

    for card in "ABA":
        assert list(cache.rates("tenant-1", card)) == shop.rates[card]
    shop.add("A", 6)  # with it there is no room for the other
    for card in "AB":
        assert list(cache.rates("tenant-1", card)) == shop.rates[card]

    assert shop.asked == [("A", 0), ("B", 0), ("A", 2), ("A", 2), ("B", 0)]
    assert cache.rates("tenant-2", "C") == ()
