"""Rates as Metronome's own SDK sees them: cents outside, dollars inside, all or nothing, problems by name."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import metronome
import pytest

from penstock.kernel.money import USD
from penstock.kernel.price import Bounded, PerUnit, Volume
from unit.rater.rating import JUNE, NOW, Used, graduated_usd, june, some_terms, tiers, usd
from unit.rater.serving import JANUARY, Server, a_flat_rate, a_rate_card, a_usage_product


def test_a_flat_rate_is_taken_and_answered_in_cents_and_kept_in_dollars(
    server: Server, client: metronome.Metronome
) -> None:
    product_id, card_id = a_usage_product(client), a_rate_card(client)

    added = client.v1.contracts.rate_cards.rates.add(
        rate_card_id=card_id, product_id=product_id, entitled=True, rate_type="FLAT", price=0.2, starting_at=JANUARY
    )

    assert (added.data.rate_type, added.data.price) == ("FLAT", 0.2)
    assert added.data.credit_type is not None
    assert added.data.credit_type.id == USD.id
    (shelved,) = server.shelf.rates("tenant-1", card_id)
    assert shelved.rate.price == usd("0.002")


def test_tiers_are_widths_in_the_api_and_ends_inside(server: Server, client: metronome.Metronome) -> None:
    """Example 75: 1M at 0.2 cents, 10M at 0.15, the rest at 0.1."""
    product_id, card_id = a_usage_product(client), a_rate_card(client)

    added = client.v1.contracts.rate_cards.rates.add(
        rate_card_id=card_id,
        product_id=product_id,
        entitled=True,
        rate_type="TIERED",
        tiers=[{"price": 0.2, "size": 1_000_000}, {"price": 0.15, "size": 10_000_000}, {"price": 0.1}],
        starting_at=JANUARY,
    )

    assert added.data.tiers is not None
    assert [(t.price, t.size) for t in added.data.tiers] == [(0.2, 1_000_000), (0.15, 10_000_000), (0.1, None)]
    (shelved,) = server.shelf.rates("tenant-1", card_id)
    assert shelved.rate.price == graduated_usd(("1000000", "0.002"), ("11000000", "0.0015"), (None, "0.001"))


def test_a_price_keeps_every_digit_of_its_text(server: Server, client: metronome.Metronome) -> None:
    product_id, card_id = a_usage_product(client), a_rate_card(client)
    body = a_flat_rate(product_id, rate_card_id=card_id, price=Decimal("12345678901234567890123456.123456789012"))

    answer = server.post("/v1/contract-pricing/rate-cards/addRate", body)

    assert '"price":12345678901234567890123456.123456789012' in answer.text
    (shelved,) = server.shelf.rates("tenant-1", card_id)
    assert shelved.rate.price == PerUnit(USD, Decimal("123456789012345678901234.56123456789012"))


def test_a_custom_rate_is_any_price_in_major_units(server: Server, client: metronome.Metronome) -> None:
    product_id, card_id = a_usage_product(client), a_rate_card(client)
    tier_list = [{"up_to": "100", "unit_price": "0.15"}, {"up_to": None, "unit_price": "0.1"}]
    volume = {"model": "VOLUME", "tiers": tier_list}
    price: dict[str, object] = {"model": "BOUNDED", "price": volume, "minimum": "5", "maximum": None}

    added = client.v1.contracts.rate_cards.rates.add(
        rate_card_id=card_id,
        product_id=product_id,
        entitled=True,
        rate_type="CUSTOM",
        custom_rate=price,
        starting_at=JANUARY,
    )

    assert (added.data.rate_type, added.data.price, added.data.custom_rate) == ("CUSTOM", None, price)
    (shelved,) = server.shelf.rates("tenant-1", card_id)
    assert shelved.rate.price == Bounded(USD, Volume(USD, tiers(("100", "0.15"), (None, "0.1"))), Decimal(5))


@pytest.mark.parametrize(
    ("price", "status", "field"),
    [
        (None, 400, "custom_rate"),
        (5, 400, "custom_rate"),
        ({"model": "PER_UNIT"}, 400, "custom_rate.unit_price"),
        ({"model": "PACKAGE", "size": -5, "package_price": 1}, 422, "custom_rate.size"),
        ({"model": "PACKAGE", "size": 0, "package_price": 1}, 422, "custom_rate.size"),
        ({"model": "PER_UNIT", "unit_price": "0." + "1" * 60}, 400, "custom_rate.unit_price"),
        ({"model": "NONE"}, 422, "custom_rate.model"),
    ],
)
def test_what_is_no_price_is_refused_by_name(
    server: Server, client: metronome.Metronome, price: Any, status: int, field: str
) -> None:
    product_id, card_id = a_usage_product(client), a_rate_card(client)
    body = a_flat_rate(product_id, rate_card_id=card_id, rate_type="CUSTOM", price=None, custom_rate=price)

    answer = server.post("/v1/contract-pricing/rate-cards/addRate", body)

    assert (answer.status_code, answer.json()["field"]) == (status, field)
    assert list(server.shelf.rates("tenant-1", card_id)) == []


@pytest.mark.parametrize("depth", [9, 400, 50_000])
def test_a_price_nested_too_deeply_is_refused_by_name(server: Server, client: metronome.Metronome, depth: int) -> None:
    product_id, card_id = a_usage_product(client), a_rate_card(client)
    rate = a_flat_rate(product_id, rate_card_id=card_id, rate_type="CUSTOM", price=None, custom_rate="HERE")
    body = json.dumps(rate, default=str)
    price = '{"model":"BOUNDED","price":' * depth + '{"model":"PER_UNIT","unit_price":1}' + "}" * depth

    answer = server.http.post("/v1/contract-pricing/rate-cards/addRate", content=body.replace('"HERE"', price))

    assert answer.status_code in (400, 422), answer.text
    assert "nested" in answer.json()["detail"]


def test_many_rates_are_added_at_once_and_those_in_force_are_listed(client: metronome.Metronome) -> None:
    tokens, calls = (
        a_usage_product(client, "tokens", pricing_group_key=["model"], tags=["llm"]),
        a_usage_product(client),
    )
    card_id = a_rate_card(client)
    rates: Any = [
        a_flat_rate(tokens, pricing_group_values={"model": "small"}),
        a_flat_rate(tokens, pricing_group_values={"model": "large"}, price=9),
        a_flat_rate(calls, price=1),
        a_flat_rate(calls, price=2, starting_at="2026-06-01T02:00:00+02:00"),
        a_flat_rate(calls, price=3, starting_at="2027-01-01T00:00:00Z"),
    ]

    assert client.v1.contracts.rate_cards.rates.add_many(rate_card_id=card_id, rates=rates).data.id == card_id
    found = list(client.v1.contracts.rate_cards.rates.list(rate_card_id=card_id, at=june(1), limit=2))

    assert [(r.product_id, r.rate.price, r.pricing_group_values) for r in found] == [
        (tokens, 5, {"model": "small"}),
        (tokens, 9, {"model": "large"}),
        (calls, 2, None),
    ]
    assert (found[0].entitled, found[0].product_name, found[0].product_tags) == (True, "Calls", ["llm"])
    assert (found[2].starting_at, found[2].ending_before) == (june(1), None)


@pytest.mark.parametrize(
    ("selector", "prices"),
    [
        ({"product_tags": ["llm", "other"]}, [5, 9]),
        ({"product_tags": ["other"]}, []),
        ({"pricing_group_values": {"model": "small"}}, []),
        ({"pricing_group_values": {"model": "small", "region": "eu"}}, [5]),
        ({"partial_pricing_group_values": {"region": "eu"}}, [5, 9]),
        ({"product_id": "unknown"}, []),
    ],
)
def test_rates_are_selected(client: metronome.Metronome, selector: Any, prices: list[float]) -> None:
    tokens = a_usage_product(client, "tokens", pricing_group_key=["model", "region"], tags=["llm"])
    calls, card_id = a_usage_product(client), a_rate_card(client)
    rates: Any = [
        a_flat_rate(tokens, pricing_group_values={"region": "eu", "model": "small"}),
        a_flat_rate(tokens, pricing_group_values={"region": "eu", "model": "large"}, price=9),
        a_flat_rate(calls, price=1),
    ]
    client.v1.contracts.rate_cards.rates.add_many(rate_card_id=card_id, rates=rates)

    listed = client.v1.contracts.rate_cards.rates.list(rate_card_id=card_id, at=NOW, selectors=[selector])

    assert [rate.rate.price for rate in listed] == prices


def test_a_commit_rate_stands_beside_the_list_rate(server: Server, client: metronome.Metronome) -> None:
    product_id, card_id = a_usage_product(client), a_rate_card(client)
    rates = client.v1.contracts.rate_cards.rates

    flat = rates.add(
        rate_card_id=card_id, **a_flat_rate(product_id, commit_rate={"rate_type": "FLAT", "price": 3})
    ).data
    tiers_of_it = [{"price": 4, "size": 10}, {"price": 2}]
    tiered = a_flat_rate(product_id, commit_rate={"rate_type": "TIERED", "tiers": tiers_of_it}, starting_at=june(1))
    rates.add_many(rate_card_id=card_id, rates=[tiered])  # type: ignore[list-item]
    [before], [after] = (rates.list(rate_card_id=card_id, at=at).data for at in (JANUARY, june(1)))

    assert flat.commit_rate is not None
    assert (flat.price, flat.commit_rate.rate_type, flat.commit_rate.price) == (5, "FLAT", 3)
    assert before.commit_rate == flat.commit_rate
    assert after.commit_rate is not None
    assert after.commit_rate.tiers is not None
    assert [(tier.price, tier.size) for tier in after.commit_rate.tiers] == [(4, 10), (2, None)]
    assert server.shelf.rates("tenant-1", card_id)[0].rate.commit_price == usd("0.03")


TIERED: dict[str, Any] = {"rate_type": "TIERED", "price": None}
FLAT: dict[str, Any] = {"rate_type": "FLAT", "price": 1}
UNITS: dict[str, Any] = {"model": "GRADUATED", "tiers": [{"up_to": None, "unit_price": 1, "flat": 1}]}
PACKS: dict[str, Any] = {"model": "PACKAGE", "size": 5, "package_price": 1}


@pytest.mark.parametrize(
    ("fields", "status", "field"),
    [
        ({"product_id": "unknown"}, 404, "product_id"),
        ({"rate_type": "PERCENTAGE"}, 422, "rate_type"),
        ({"rate_type": "custom", "price": None}, 400, "custom_rate"),
        ({"price": None}, 400, "price"),
        ({"price": -1}, 400, "price"),
        ({"price": "NaN"}, 400, "price"),
        ({"price": "Infinity"}, 400, "price"),
        ({"price": True}, 400, "price"),
        ({"price": "1e400"}, 400, "price"),
        ({"price": Decimal("0.0000000000001")}, 400, "price"),
        ({"credit_type_id": "EUR"}, 422, "credit_type_id"),
        ({"credit_type_id": "unknown"}, 422, "credit_type_id"),
        ({"price": Decimal("0." + "1" * 60)}, 400, "price"),
        ({"price": Decimal("1" * 60)}, 400, "price"),
        ({"custom_rate": {"model": "PER_UNIT", "unit_price": 1}}, 400, "custom_rate"),
        ({"tiers": [{"price": 1}]}, 400, "tiers"),
        ({"rate_type": "TIERED", "tiers": [{"price": 1}]}, 400, "price"),
        ({"rate_type": "TIERED", "price": None, "custom_rate": {"model": "PER_UNIT"}}, 400, "custom_rate"),
        ({"rate_type": "CUSTOM", "custom_rate": {"model": "PER_UNIT", "unit_price": 1}}, 400, "price"),
        ({"commit_rate": {"rate_type": "FLAT"}}, 400, "commit_rate.price"),
        ({"commit_rate": {"rate_type": "FLAT", "price": -1}}, 400, "commit_rate.price"),
        ({"commit_rate": {"rate_type": "PERCENTAGE", "price": 1}}, 422, "commit_rate.rate_type"),
        ({"commit_rate": {"rate_type": "TIERED", "tiers": [{"price": 1, "size": 5}]}}, 422, "commit_rate.tiers"),
        ({"commit_rate": {"rate_type": "CUSTOM", "custom_rate": UNITS}}, 422, "commit_rate"),
        ({"rate_type": "CUSTOM", "price": None, "custom_rate": PACKS, "commit_rate": FLAT}, 422, "commit_rate"),
        ({"pricing_group_values": {"model": "small"}}, 400, "pricing_group_values"),
        ({"starting_at": "2026-01-01T00:00:00"}, 400, "starting_at"),
        ({"ending_before": JANUARY}, 400, "ending_before"),
        ({"entitled": "yes"}, 400, "entitled"),
        ({"rate_type": "TIERED", "price": None}, 422, "tiers"),
        (TIERED | {"tiers": [{"price": 1, "size": 5}]}, 422, "tiers"),
        (TIERED | {"tiers": [{"price": 1}, {"price": 2}]}, 422, "tiers"),
        (TIERED | {"tiers": [{"price": 1, "size": 0}, {"price": 2}]}, 422, "tiers"),
        (TIERED | {"tiers": [{"price": 1, "size": -3}, {"price": 2}]}, 422, "tiers"),
        (TIERED | {"tiers": [{"price": 1, "size": "NaN"}, {"price": 2}]}, 400, "tiers[0].size"),
        (TIERED | {"tiers": [{"price": 1, "size": 5}, {"price": -2}]}, 400, "tiers[1].price"),
    ],
)
def test_a_wrong_rate_is_refused_by_name_and_none_of_its_mates_is_added(
    server: Server, client: metronome.Metronome, fields: dict[str, Any], status: int, field: str
) -> None:
    product_id, card_id = a_usage_product(client), a_rate_card(client)
    good, wrong = a_flat_rate(product_id), a_flat_rate(product_id) | fields

    one = server.refused("/v1/contract-pricing/rate-cards/addRate", wrong | {"rate_card_id": card_id})
    many = server.refused(
        "/v1/contract-pricing/rate-cards/addRates", {"rate_card_id": card_id, "rates": [good, wrong, good]}
    )

    assert (one, many) == ((status, field), (status, f"rates[1].{field}"))
    assert server.shelf.rates("tenant-1", card_id) == []


def test_a_rate_names_every_pricing_group_key_of_its_product(server: Server, client: metronome.Metronome) -> None:
    product_id = a_usage_product(client, "tokens", pricing_group_key=["model", "region"])
    body = a_flat_rate(product_id, rate_card_id=a_rate_card(client))
    path, field = "/v1/contract-pricing/rate-cards/addRate", "pricing_group_values"

    assert server.refused(path, body) == (400, field)
    assert server.refused(path, body | {field: {"model": "small"}}) == (400, field)
    assert server.refused(path, body | {field: {"model": "a", "region": "b", "c": "d"}}) == (400, field)
    assert server.post(path, body | {field: {"region": "eu", "model": None}}).status_code == 200


def test_fixed_and_archived_products_take_no_rate(server: Server, client: metronome.Metronome) -> None:
    fixed = client.v1.contracts.products.create(name="Commit", type="FIXED").data.id
    archived, card_id = a_usage_product(client), a_rate_card(client)
    client.v1.contracts.products.archive(product_id=archived)

    for product_id in (fixed, archived):
        body = a_flat_rate(product_id, rate_card_id=card_id)
        assert server.refused("/v1/contract-pricing/rate-cards/addRate", body) == (400, "product_id")


def test_an_unknown_card_and_an_empty_list_of_rates_are_refused_by_name(
    server: Server, client: metronome.Metronome
) -> None:
    rates = [a_flat_rate(a_usage_product(client))]
    path = "/v1/contract-pricing/rate-cards"

    assert server.refused(f"{path}/addRates", {"rate_card_id": "unknown", "rates": rates}) == (404, "rate_card_id")
    assert server.refused(f"{path}/addRates", {"rate_card_id": a_rate_card(client), "rates": []}) == (400, "rates")
    assert server.refused(f"{path}/getRates", {"rate_card_id": "unknown", "at": JANUARY}) == (404, "rate_card_id")
    assert server.refused(f"{path}/get", {"id": "unknown"}) == (404, "id")
    assert server.refused("/v1/contract-pricing/products/get", {"id": "unknown"}) == (404, "id")
    assert server.refused("/v1/contract-pricing/products/archive", {"product_id": "unknown"}) == (404, "product_id")


def test_the_seeds_path_takes_a_card_with_its_rates_in_dollars(server: Server, client: metronome.Metronome) -> None:
    calls, compute = a_usage_product(client), a_usage_product(client)
    tier_bodies = [
        {"size": 1_000_000, "price": 0.002},
        {"size": 10_000_000, "price": 0.0015},
        {"size": None, "price": 0.001},
    ]
    rates = [
        {"product_id": calls, "entitled": True, "rate_type": "tiered", "tiers": tier_bodies},
        {"product_id": compute, "entitled": True, "rate_type": "flat", "price": 0.05},
    ]

    answer = server.post("/v1/rate-cards/create", {"name": "Enterprise Rate Card", "rates": rates}).json()

    assert answer == {"id": answer["id"], "data": {"id": answer["id"]}}
    assert [shelved.rate.price for shelved in server.shelf.rates("tenant-1", answer["id"])] == [
        graduated_usd(("1000000", "0.002"), ("11000000", "0.0015"), (None, "0.001")),
        usd("0.05"),
    ]
    server.usage.events_of["calls"] = [Used(june(2))] * 1500
    terms = some_terms(rate_card_id=answer["id"])
    assert [str(c.list_amount) for c in server.service.charges(terms, JUNE, frozenset()).charges] == ["3.00", "75.00"]


def test_a_seed_card_with_one_wrong_rate_is_not_there_at_all(server: Server, client: metronome.Metronome) -> None:
    good = {"product_id": a_usage_product(client), "rate_type": "flat", "price": 0.05}
    body = {"name": "A", "rates": [good, good | {"rate_type": "percentage"}]}

    assert server.refused("/v1/rate-cards/create", body) == (422, "rates[1].rate_type")
    assert list(client.v1.contracts.rate_cards.list(body={})) == []


def test_no_tenant_sees_or_prices_anothers_definitions(server: Server, client: metronome.Metronome) -> None:
    product_id, card_id = a_usage_product(client), a_rate_card(client)
    other = server.sdk("tenant-2").v1.contracts

    assert (list(other.products.list(archive_filter="ALL")), list(other.rate_cards.list(body={}))) == ([], [])
    with pytest.raises(metronome.NotFoundError):
        other.products.retrieve(id=product_id)
    with pytest.raises(metronome.NotFoundError):
        other.products.archive(product_id=product_id)
    with pytest.raises(metronome.NotFoundError):
        other.rate_cards.rates.add(rate_card_id=card_id, **a_flat_rate(product_id))
    with pytest.raises(metronome.NotFoundError):
        other.rate_cards.rates.list(rate_card_id=card_id, at=NOW)


def test_stored_prices_survive_their_json(server: Server, client: metronome.Metronome) -> None:
    """Decimals are kept as text: 0.1 cents stays 0.1 cents."""
    product_id, card_id = a_usage_product(client), a_rate_card(client)
    server.post("/v1/contract-pricing/rate-cards/addRate", a_flat_rate(product_id, rate_card_id=card_id, price=0.1))

    (item,) = server.catalog.list("tenant-1", "rate")

    assert json.loads(item.body)["price"]["unit_price"] == "0.001"
    assert server.shelf.rates("tenant-1", card_id)[0].rate.price == usd("0.001")
