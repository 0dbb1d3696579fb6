"""Quantity terms and updates of products as Metronome's own SDK sees them."""

from __future__ import annotations

from typing import Any

import metronome
import pytest

from unit.rater.rating import JUNE, NOW, Used, june, some_terms
from unit.rater.serving import Server, a_flat_rate, a_rate_card, a_usage_product

UPDATE = "/v1/contract-pricing/products/update"
GB: Any = {"conversion_factor": 1024, "operation": "DIVIDE", "name": "MB to GB"}
UP: Any = {"decimal_places": 0, "rounding_method": "ROUND_UP"}


def test_a_product_shows_its_terms_and_its_usage_is_priced_by_them(server: Server, client: metronome.Metronome) -> None:
    """Example 80: 1500 MB are 2 GB, at 5 cents each."""
    product_id = a_usage_product(client, "tokens", quantity_conversion=GB, quantity_rounding=UP)
    card_id = a_rate_card(client)
    server.post("/v1/contract-pricing/rate-cards/addRate", a_flat_rate(product_id, rate_card_id=card_id))
    server.usage.events_of["tokens"] = [Used(june(2), "1500")]

    shown = client.v1.contracts.products.retrieve(id=product_id).data.current
    (charge,) = server.service.charges(some_terms(rate_card_id=card_id), JUNE, frozenset()).charges

    assert shown.quantity_conversion is not None
    assert shown.quantity_rounding is not None
    assert shown.quantity_conversion.to_dict() == GB
    assert shown.quantity_rounding.to_dict() == UP
    assert (str(charge.quantity), str(charge.list_amount)) == ("2", "0.10")


def test_an_update_holds_from_its_hour_on_and_is_listed(server: Server, client: metronome.Metronome) -> None:
    product_id = a_usage_product(client, "tokens", tags=["llm"], quantity_rounding=UP)
    products, card_id = client.v1.contracts.products, a_rate_card(client)
    server.post("/v1/contract-pricing/rate-cards/addRate", a_flat_rate(product_id, rate_card_id=card_id))

    products.update(product_id=product_id, starting_at=june(10), quantity_conversion=GB, name="Gigabytes")
    products.update(product_id=product_id, starting_at=june(30), tags=[], quantity_rounding=None)
    found = products.retrieve(id=product_id).data
    server.usage.events_of["tokens"] = [Used(june(9), "3"), Used(june(11), "2045")]
    terms = some_terms(rate_card_id=card_id)
    first, second = server.service.charges(terms, JUNE, frozenset()).charges

    assert (found.initial.name, found.initial.quantity_conversion) == ("Calls", None)
    assert (found.current.name, found.current.tags, found.current.starting_at) == ("Gigabytes", ["llm"], june(10))
    assert [update.to_dict(mode="json") for update in found.updates] == [
        stamp(10) | {"name": "Gigabytes", "quantity_conversion": GB},
        stamp(30) | {"tags": [], "quantity_rounding": None},
    ]
    assert [product.current.name for product in products.list()] == ["Gigabytes"]
    assert (str(first.quantity), first.product_name) == ("3", "Calls")
    assert (str(second.quantity), second.product_name) == ("1", "Gigabytes")  # 2048 are 2, and the first 3 were 1


def stamp(day: int) -> dict[str, Any]:
    at = NOW.isoformat().replace("+00:00", "Z")
    return {"created_at": at, "created_by": "key-1", "starting_at": june(day).isoformat().replace("+00:00", "Z")}


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"quantity_conversion": GB | {"conversion_factor": 0}}, "quantity_conversion.conversion_factor"),
        ({"quantity_conversion": GB | {"conversion_factor": -2}}, "quantity_conversion.conversion_factor"),
        ({"quantity_conversion": GB | {"conversion_factor": "NaN"}}, "quantity_conversion.conversion_factor"),
        ({"quantity_conversion": GB | {"conversion_factor": "1e60"}}, "quantity_conversion.conversion_factor"),
        ({"quantity_conversion": GB | {"operation": "ADD"}}, "quantity_conversion.operation"),
        ({"quantity_conversion": {"operation": "MULTIPLY"}}, "quantity_conversion"),
        ({"quantity_rounding": UP | {"decimal_places": 1.5}}, "quantity_rounding.decimal_places"),
        ({"quantity_rounding": UP | {"decimal_places": 13}}, "quantity_rounding.decimal_places"),
        ({"quantity_rounding": UP | {"decimal_places": -1}}, "quantity_rounding.decimal_places"),
        ({"quantity_rounding": UP | {"rounding_method": "ROUND"}}, "quantity_rounding.rounding_method"),
    ],
)
def test_terms_that_are_none_are_refused_by_name(
    server: Server, client: metronome.Metronome, fields: dict[str, Any], field: str
) -> None:
    body = {"name": "Tokens", "type": "USAGE", "billable_metric_id": "tokens"}
    product_id = a_usage_product(client)

    assert server.refused("/v1/contract-pricing/products/create", body | fields) == (400, field)
    assert server.refused(UPDATE, {"product_id": product_id, "starting_at": june(10)} | fields) == (400, field)
    assert list(server.shelf.products("tenant-1")) == [product_id]
    assert client.v1.contracts.products.retrieve(id=product_id).data.updates == []


@pytest.mark.parametrize(
    ("fields", "status", "field"),
    [
        ({"starting_at": "2026-06-10T00:30:00Z"}, 400, "starting_at"),
        ({"starting_at": "2026-06-10T00:00:00"}, 400, "starting_at"),
        ({"product_id": "unknown"}, 404, "product_id"),
        ({"name": ""}, 400, "name"),
        ({"name": None}, 400, "name"),
        ({"billable_metric_id": "tokens"}, 422, "billable_metric_id"),
        ({"pricing_group_key": ["model"]}, 422, "pricing_group_key"),
        ({"presentation_group_key": ["model"]}, 422, "presentation_group_key"),
        ({"composite_tags": ["llm"]}, 422, "composite_tags"),
    ],
)
def test_an_update_that_cannot_be_is_refused_by_name(
    server: Server, client: metronome.Metronome, fields: dict[str, Any], status: int, field: str
) -> None:
    product_id = a_usage_product(client)
    body = {"product_id": product_id, "starting_at": june(10), "name": "Other"}

    assert server.refused(UPDATE, body | fields) == (status, field)
    assert client.v1.contracts.products.retrieve(id=product_id).data.updates == []


def test_fixed_products_have_no_quantity_and_archived_ones_no_updates(
    server: Server, client: metronome.Metronome
) -> None:
    create = "/v1/contract-pricing/products/create"
    fixed = client.v1.contracts.products.create(name="Commit", type="FIXED").data.id
    at = {"product_id": fixed, "starting_at": june(10)}

    assert server.refused(create, {"name": "A", "type": "FIXED", "quantity_rounding": UP}) == (400, "quantity_rounding")
    assert server.refused(UPDATE, at | {"quantity_conversion": GB}) == (400, "quantity_conversion")
    client.v1.contracts.products.archive(product_id=fixed)
    assert server.refused(UPDATE, at | {"name": "B"}) == (400, "product_id")
