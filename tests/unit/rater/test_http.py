"""Products and rate cards as Metronome's own SDK sees them; problems by name."""

from __future__ import annotations

from typing import Any

import metronome
import pytest

from penstock.kernel.money import USD
from unit.rater.rating import NOW
from unit.rater.serving import JANUARY, Server, a_rate_card, a_usage_product


def test_a_product_is_created_and_read_back(client: metronome.Metronome) -> None:
    product_id = a_usage_product(
        client, "tokens", pricing_group_key=["model"], presentation_group_key=["region"], tags=["llm"]
    )

    found = client.v1.contracts.products.retrieve(id=product_id).data

    assert (found.id, found.type, found.updates, found.archived_at) == (product_id, "USAGE", [], None)
    assert (found.current.name, found.current.billable_metric_id, found.current.tags) == ("Calls", "tokens", ["llm"])
    assert (found.current.pricing_group_key, found.current.presentation_group_key) == (["model"], ["region"])
    assert (found.initial.created_at, found.initial.created_by) == (NOW, "key-1")


def test_types_and_enums_are_taken_in_any_case_and_a_fixed_product_needs_no_metric(
    server: Server, client: metronome.Metronome
) -> None:
    product_id = server.post("/v1/contract-pricing/products/create", {"name": "Commit", "type": "fixed"}).json()

    assert client.v1.contracts.products.retrieve(id=product_id["data"]["id"]).data.type == "FIXED"


def test_products_are_listed_in_pages_without_the_archived_ones(client: metronome.Metronome) -> None:
    ids = [a_usage_product(client) for _ in range(5)]
    assert client.v1.contracts.products.archive(product_id=ids[2]).data.id == ids[2]

    listed = [product.id for product in client.v1.contracts.products.list(limit=2)]
    archived = [product.id for product in client.v1.contracts.products.list(archive_filter="ARCHIVED")]

    assert listed == [ids[0], ids[1], ids[3], ids[4]]
    assert archived == [ids[2]]
    assert len(list(client.v1.contracts.products.list(archive_filter="ALL", limit=3))) == 5
    assert client.v1.contracts.products.retrieve(id=ids[2]).data.archived_at == NOW


@pytest.mark.parametrize(
    ("fields", "status", "field"),
    [
        ({"name": ""}, 400, "name"),
        ({"type": "COMPOSITE"}, 422, "type"),
        ({"type": "subscription"}, 422, "type"),
        ({"type": "PRO_SERVICE"}, 422, "type"),
        ({"type": "nonsense"}, 400, "type"),
        ({"billable_metric_id": None}, 400, "billable_metric_id"),
        ({"billable_metric_id": "unknown"}, 404, "billable_metric_id"),
        ({"pricing_group_key": ["planet"]}, 400, "pricing_group_key"),
        ({"pricing_group_key": ["model", "model"]}, 400, "pricing_group_key"),
        ({"presentation_group_key": ["planet"]}, 400, "presentation_group_key"),
    ],
)
def test_a_product_that_would_be_billed_wrongly_is_refused_by_name(
    server: Server, fields: dict[str, Any], status: int, field: str
) -> None:
    body = {"name": "Tokens", "type": "USAGE", "billable_metric_id": "tokens"} | fields

    assert server.refused("/v1/contract-pricing/products/create", body) == (status, field)
    assert server.shelf.products("tenant-1") == {}


def test_a_rate_card_is_created_read_and_listed(server: Server, client: metronome.Metronome) -> None:
    first = a_rate_card(client, description="For all", aliases=[{"name": "standard", "starting_at": JANUARY}])
    others = [a_rate_card(client, fiat_credit_type_id=USD.id) for _ in range(2)]

    found = client.v1.contracts.rate_cards.retrieve(id=first).data

    assert (found.name, found.description, found.created_at, found.created_by) == ("Standard", "For all", NOW, "key-1")
    assert found.fiat_credit_type is not None
    assert (found.fiat_credit_type.id, found.fiat_credit_type.name) == (USD.id, "USD (cents)")
    assert found.aliases is not None
    assert [alias.name for alias in found.aliases] == ["standard"]
    assert [card.id for card in client.v1.contracts.rate_cards.list(body={}, limit=2)] == [first, *others]
    assert server.service.rate_card_id("tenant-1", None, "standard") == first


@pytest.mark.parametrize(
    ("fields", "status", "field"),
    [
        ({"name": ""}, 400, "name"),
        ({"fiat_credit_type_id": "euro"}, 422, "fiat_credit_type_id"),
        ({"aliases": [{"name": "a", "starting_at": "2026-01-01T00:00:00"}]}, 400, "aliases[0].starting_at"),
        (
            {"aliases": [{"name": "a", "starting_at": JANUARY, "ending_before": JANUARY}]},
            400,
            "aliases[0].ending_before",
        ),
    ],
)
def test_a_wrong_rate_card_is_refused_by_name(server: Server, fields: dict[str, Any], status: int, field: str) -> None:
    assert server.refused("/v1/contract-pricing/rate-cards/create", {"name": "A"} | fields) == (status, field)
