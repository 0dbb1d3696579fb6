"""Pricing units and cards in them as Metronome's own SDK sees them; problems by name."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import metronome
import pytest

from penstock.kernel.card_units import UnitConversion
from penstock.kernel.money import CURRENCIES, USD, Unit
from penstock.kernel.price import Graduated, PerUnit
from unit.rater.rating import JUNE, Used, an_overwrite, june, some_terms
from unit.rater.serving import JANUARY, Server, a_flat_rate, a_rate_card, a_usage_product

CARDS = "/v1/contract-pricing/rate-cards"


def credits(client: metronome.Metronome, name: str = "AI credits") -> str:
    return client.v1.pricing_units.create(name=name).data.id


def worth(unit_id: str, cents: float) -> Any:
    return {"custom_credit_type_id": unit_id, "fiat_per_custom_credit": cents}


def test_units_are_listed_behind_the_currencies_until_they_are_archived(client: metronome.Metronome) -> None:
    first, second, third = (credits(client, name) for name in ("AI credits", "Tokens", "Points"))
    client.v1.pricing_units.archive(id=second)

    listed = list(client.v1.pricing_units.list(limit=100))

    assert len(listed) == len(CURRENCIES) + 2
    assert (listed[0].id, listed[0].name, listed[0].is_currency) == (USD.id, "USD (cents)", True)
    assert [(u.id, u.name, u.is_currency) for u in listed[-2:]] == [
        (first, "AI credits", False),
        (third, "Points", False),
    ]


def test_a_name_is_given_once_until_its_unit_is_archived(server: Server, client: metronome.Metronome) -> None:
    taken = credits(client)

    assert server.post("/v1/credit-types/create", {"name": "ai Credits"}).status_code == 409
    client.v1.pricing_units.archive(id=taken)
    assert credits(client) != taken
    for name in ("usd", "EUR", "USD (cents)"):
        assert server.refused("/v1/credit-types/create", {"name": name}) == (422, "name")
    assert server.refused("/v1/credit-types/create", {"name": ""}) == (400, "name")
    assert server.refused("/v1/credit-types/create", {"name": "A", "decimals": 13}) == (400, "decimals")
    assert server.refused("/v1/credit-types/archive", {"id": "unknown"}) == (404, "id")
    assert server.sdk("tenant-2").v1.pricing_units.list().data[-1].is_currency


def test_a_card_prices_in_its_currency_and_in_units_that_it_converts(
    server: Server, client: metronome.Metronome
) -> None:
    unit_id, product_id = credits(client), a_usage_product(client)
    card_id = a_rate_card(client, credit_type_conversions=[worth(unit_id, 50.5)])

    added = client.v1.contracts.rate_cards.rates.add(
        rate_card_id=card_id, **a_flat_rate(product_id, price=2, credit_type_id=unit_id)
    ).data
    shown = client.v1.contracts.rate_cards.retrieve(id=card_id).data

    assert added.credit_type is not None
    assert (added.price, added.credit_type.id, added.credit_type.name) == (2, unit_id, "AI credits")
    assert shown.credit_type_conversions is not None
    assert [(c.custom_credit_type.id, c.fiat_per_custom_credit) for c in shown.credit_type_conversions] == [
        (unit_id, "50.5")
    ]
    own = Unit(unit_id, "AI credits", 12)
    assert server.shelf.rates("tenant-1", card_id)[0].rate.price == PerUnit(own, Decimal(2))
    assert server.service.units_of("tenant-1", card_id).conversions == (UnitConversion(own, Decimal("0.505")),)


def test_a_card_in_another_currency_prices_in_whole_units_of_it(server: Server, client: metronome.Metronome) -> None:
    product_id, card_id = a_usage_product(client), a_rate_card(client, fiat_credit_type_id="JPY")
    tiers = [{"price": 200, "size": 10}, {"price": 150.5}]
    body = {"product_id": product_id, "entitled": True, "rate_type": "TIERED", "starting_at": JANUARY, "tiers": tiers}
    server.post(f"{CARDS}/addRate", body | {"rate_card_id": card_id})
    server.usage.events_of["calls"] = [Used(june(2))] * 11

    [listed] = client.v1.contracts.rate_cards.rates.list(rate_card_id=card_id, at=june(1)).data
    found = server.service.charges(some_terms(rate_card_id=card_id), JUNE, frozenset())

    assert listed.rate.tiers is not None
    assert [(tier.price, tier.size) for tier in listed.rate.tiers] == [(200, 10), (150.5, None)]
    assert listed.rate.credit_type is not None
    assert listed.rate.credit_type.id == "JPY"
    assert found.units.fiat == CURRENCIES["JPY"]
    assert str(found.charges[0].list_amount) == "2151"  # 2150.5, and yen are whole


def test_an_overwrite_prices_in_its_own_unit_and_a_multiplier_in_the_rates(
    server: Server, client: metronome.Metronome
) -> None:
    unit_id, product_id = credits(client), a_usage_product(client)
    card_id = a_rate_card(client, credit_type_conversions=[worth(unit_id, 50)])
    client.v1.contracts.rate_cards.rates.add(
        rate_card_id=card_id, **a_flat_rate(product_id, price=2, credit_type_id=unit_id)
    )
    server.usage.events_of["calls"] = [Used(june(2))] * 3

    terms = some_terms(an_overwrite("in dollars", "0.10", start=june(1)), rate_card_id=card_id)
    [charge] = server.service.charges(terms, JUNE, frozenset()).charges

    assert (charge.unit, str(charge.list_amount)) == (USD, "0.30")


def test_a_card_takes_further_conversions_and_keeps_those_it_has(server: Server, client: metronome.Metronome) -> None:
    first, second = credits(client), credits(client, "Tokens")
    card_id = a_rate_card(client, credit_type_conversions=[worth(first, 50)], aliases=[{"name": "standard"}])
    cards = client.v1.contracts.rate_cards

    cards.update(rate_card_id=card_id, name="Other", add_credit_type_conversions=[worth(second, 0.01)])
    again = {"rate_card_id": card_id, "add_credit_type_conversions": [worth(second, 1)]}
    found = cards.retrieve(id=card_id).data

    assert server.refused(f"{CARDS}/update", again) == (400, "add_credit_type_conversions[0].custom_credit_type_id")
    assert found.credit_type_conversions is not None
    assert [c.fiat_per_custom_credit for c in found.credit_type_conversions] == ["50", "0.01"]
    assert (found.name, server.service.rate_card_id("tenant-1", None, "standard")) == ("Other", card_id)
    cards.update(rate_card_id=card_id, aliases=[])
    with pytest.raises(Exception, match="no rate card with the alias"):
        server.service.rate_card_id("tenant-1", None, "standard")
    assert server.refused(f"{CARDS}/update", {"rate_card_id": "unknown"}) == (404, "rate_card_id")


@pytest.mark.parametrize(
    ("conversion", "status", "field"),
    [
        ({"custom_credit_type_id": "unknown"}, 404, "custom_credit_type_id"),
        ({"custom_credit_type_id": "EUR"}, 404, "custom_credit_type_id"),
        ({"fiat_per_custom_credit": -1}, 400, "fiat_per_custom_credit"),
        ({"fiat_per_custom_credit": "1e60"}, 400, "fiat_per_custom_credit"),
        ({"custom_credit_type_id": "the other"}, 400, "custom_credit_type_id"),
    ],
)
def test_a_conversion_that_is_none_is_refused_by_name(
    server: Server, client: metronome.Metronome, conversion: dict[str, Any], status: int, field: str
) -> None:
    good, wrong = worth(credits(client), 50), worth(credits(client, "Tokens"), 50) | conversion
    if wrong["custom_credit_type_id"] == "the other":
        wrong = good

    refused = server.refused(f"{CARDS}/create", {"name": "A", "credit_type_conversions": [good, wrong]})

    assert refused == (status, f"credit_type_conversions[1].{field}")
    assert list(client.v1.contracts.rate_cards.list(body={})) == []


def test_a_rate_in_a_unit_that_the_card_does_not_convert_is_refused_by_name(
    server: Server, client: metronome.Metronome
) -> None:
    product_id, card_id, unit_id = a_usage_product(client), a_rate_card(client), credits(client)
    bodies = [a_flat_rate(product_id), a_flat_rate(product_id, credit_type_id=unit_id)]

    refused = server.refused(f"{CARDS}/addRates", {"rate_card_id": card_id, "rates": bodies})
    client.v1.pricing_units.archive(id=unit_id)
    archived = server.refused(f"{CARDS}/create", {"name": "A", "credit_type_conversions": [worth(unit_id, 1)]})

    assert refused == (422, "rates[1].credit_type_id")
    assert archived == (400, "credit_type_conversions[0].custom_credit_type_id")
    assert server.shelf.rates("tenant-1", card_id) == []


def test_the_seeds_path_converts_in_dollars(server: Server, client: metronome.Metronome) -> None:
    unit_id, product_id = credits(client), a_usage_product(client)
    rate = {"product_id": product_id, "rate_type": "tiered", "tiers": [{"price": 2}], "credit_type_id": unit_id}
    body = {"name": "A", "credit_type_conversions": [worth(unit_id, 0.5)], "rates": [rate]}

    card_id = server.post("/v1/rate-cards/create", body).json()["id"]

    assert server.service.units_of("tenant-1", card_id).conversions[0].fiat_per_unit == Decimal("0.5")
    price = server.shelf.rates("tenant-1", card_id)[0].rate.price
    assert isinstance(price, Graduated)
    assert price.tiers[0].unit_price == 2
