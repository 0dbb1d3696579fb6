"""What a rate's price reads is held against the metric of its product when the rate is added."""

from __future__ import annotations

from typing import Any

import metronome
import pytest

from penstock.kernel.meter import Aggregation
from unit.rater.rating import FakeUsage, a_metric
from unit.rater.serving import Server, a_flat_rate, a_rate_card, a_usage_product

ADD_RATE = "/v1/contract-pricing/rate-cards/addRate"
ADD_RATES = "/v1/contract-pricing/rate-cards/addRates"
MATRIX = {"model": "MATRIX", "keys": ["region"], "cells": [{"values": ["us"], "unit_price": "2"}], "default": "3"}
PERCENTAGE = {"model": "PERCENTAGE", "percent": "2", "free_events": 3}
PER_UNIT = {"model": "PER_UNIT", "unit_price": "1"}


def around(price: dict[str, Any]) -> dict[str, Any]:
    return {"model": "BOUNDED", "price": price, "minimum": "5"}


def custom(server: Server, client: metronome.Metronome, price: object, metric: str = "tokens") -> dict[str, Any]:
    product_id, card_id = a_usage_product(client, metric), a_rate_card(client)
    return a_flat_rate(product_id, rate_card_id=card_id, rate_type="CUSTOM", price=None, custom_rate=price)


@pytest.mark.parametrize(
    ("price", "metric"),
    [
        (MATRIX, "tokens"),
        (PERCENTAGE, "tokens"),
        (PERCENTAGE, "calls"),
        (around({"model": "LARGEST_GROUP", "keys": ["model"], "price": MATRIX}), "tokens"),
        ({"model": "DYNAMIC", "property": "cost", "brings": "AMOUNT", "default_rate": 0}, "tokens"),
    ],
)
def test_a_rate_may_read_groups_and_events(
    server: Server, client: metronome.Metronome, price: dict[str, Any], metric: str
) -> None:
    body = custom(server, client, price, metric)

    answer = server.post(ADD_RATE, body)

    assert answer.status_code == 200, answer.text
    view = answer.json()["data"]["custom_rate"]
    assert (view["model"], answer.json()["data"]["rate_type"]) == (price["model"], "CUSTOM")


@pytest.mark.parametrize(
    ("price", "metric", "field"),
    [
        (MATRIX, "calls", "custom_rate.keys[0]"),
        (MATRIX | {"keys": ["region", "plan"], "cells": []}, "tokens", "custom_rate.keys[1]"),
        (around({"model": "EACH_GROUP", "keys": ["plan"], "price": PER_UNIT}), "tokens", "custom_rate.price.keys[0]"),
        (around({"model": "EACH_GROUP", "keys": ["model"], "price": MATRIX}), "calls", "custom_rate.price.keys[0]"),
        ({"model": "DYNAMIC"}, "tokens", "custom_rate.default_rate"),
        (around({"model": "DYNAMIC"}), "tokens", "custom_rate.price.default_rate"),
        ({"model": "DYNAMIC", "default_rate": 0, "property": 'a"b'}, "tokens", "custom_rate.property"),
    ],
)
def test_a_price_that_the_metric_cannot_answer_is_refused_by_the_parameter(
    server: Server, client: metronome.Metronome, price: dict[str, Any], metric: str, field: str
) -> None:
    body = custom(server, client, price, metric)
    card_id = body["rate_card_id"]
    good = {key: value for key, value in body.items() if key != "rate_card_id"} | {"custom_rate": PER_UNIT}

    assert server.refused(ADD_RATE, body) == (422, field)
    bad = {key: value for key, value in body.items() if key != "rate_card_id"}
    assert server.refused(ADD_RATES, {"rate_card_id": card_id, "rates": [good, bad]}) == (422, f"rates[1].{field}")
    assert list(server.shelf.rates("tenant-1", card_id)) == []
    seed = {"name": "Seed", "rates": [good, bad]}
    assert server.refused("/v1/rate-cards/create", seed) == (422, f"rates[1].{field}")


@pytest.mark.parametrize("aggregation", Aggregation)
@pytest.mark.parametrize("price", [PERCENTAGE, {"model": "BPS", "bps": 25}])
def test_only_sums_and_counts_are_priced_event_by_event(aggregation: Aggregation, price: dict[str, Any]) -> None:
    server = Server(FakeUsage(a_metric("tokens", aggregation, "region")))
    client = server.sdk()
    added = aggregation in (Aggregation.SUM, Aggregation.COUNT)

    body = custom(server, client, around(price))

    assert server.post(ADD_RATE, body).status_code == (200 if added else 422)
    if not added:
        assert server.refused(ADD_RATE, body) == (422, "custom_rate.price.model")
    assert server.post(ADD_RATE, custom(server, client, MATRIX)).status_code == 200


def test_a_metric_is_asked_for_once_however_many_rates_read_its_groups(
    server: Server, client: metronome.Metronome
) -> None:
    body = custom(server, client, MATRIX)
    card_id = body.pop("rate_card_id")
    server.usage.metrics_asked.clear()

    rates = [body | {"starting_at": f"{year}-01-01T00:00:00Z"} for year in range(2001, 2051)]
    answer = server.post(ADD_RATES, {"rate_card_id": card_id, "rates": rates})

    assert (answer.status_code, server.usage.metrics_asked) == (200, ["tokens"])


def test_a_product_that_converts_its_quantity_has_no_price_of_groups(
    server: Server, client: metronome.Metronome
) -> None:
    rounding = {"decimal_places": 0, "rounding_method": "ROUND_UP"}
    product_id = a_usage_product(client, "tokens", quantity_rounding=rounding)
    body = a_flat_rate(product_id, rate_card_id=a_rate_card(client), rate_type="CUSTOM", price=None)

    answer = server.post(ADD_RATE, body | {"custom_rate": MATRIX})

    assert (answer.status_code, answer.json()["field"]) == (422, "custom_rate")
    assert server.post(ADD_RATE, body | {"custom_rate": PER_UNIT}).status_code == 200
