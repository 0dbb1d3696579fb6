"""Customers and their aliases, as the vendor's SDK sees them (strictly validated)."""

from __future__ import annotations

import pytest

from penstock.kernel.problems import Conflict
from unit.contracts.contract_world import World, day


@pytest.fixture
def world() -> World:
    return World(day(10))


def test_a_customer_is_created_read_listed_renamed_and_archived(world: World) -> None:
    created = world.sdk.v1.customers.create(name="Acme", ingest_aliases=["acme", "acme-eu"]).data
    world.sdk.v1.customers.create(name="Other")

    assert (created.external_id, created.ingest_aliases) == ("acme", ["acme", "acme-eu"])
    assert world.sdk.v1.customers.retrieve(customer_id=created.id).data.created_at == day(10)
    assert [c.name for c in world.sdk.v1.customers.list(limit=1)] == ["Acme", "Other"]
    assert [c.id for c in world.sdk.v1.customers.list(ingest_alias="acme-eu")] == [created.id]
    assert world.sdk.v1.customers.set_name(customer_id="acme", name="A" * 200).data.name == "A" * 160
    assert world.sdk.v1.customers.archive(id=created.id).data.id == created.id
    assert [c.name for c in world.sdk.v1.customers.list()] == ["Other"]
    assert [c.archived_at for c in world.sdk.v1.customers.list(only_archived=True)] == [day(10)]


def test_an_alias_moves_to_the_customer_who_sets_it(world: World) -> None:
    first, second = world.customer("First", "a", "b"), world.customer("Second")

    world.sdk.v1.customers.set_ingest_aliases(customer_id=second, ingest_aliases=["b", "c"])

    assert world.service.customers.keys_of("tenant-1", first) == (first, "a")
    assert world.service.customers.keys_of("tenant-1", second) == (second, "b", "c")
    assert world.service.customers.customer_of("tenant-1", "b") == second
    assert world.service.customers.customer_of("tenant-1", "nobody") is None
    assert world.service.customers.customer_of("tenant-2", "b") is None


def test_a_new_customer_may_not_take_an_alias_nor_anybody_an_id(world: World) -> None:
    first = world.customer("First", "a")

    with pytest.raises(Conflict):
        world.customer("Thief", "a")
    second = world.customer("Second")
    with pytest.raises(Conflict, match="id of another customer"):
        world.call("POST", f"/v1/customers/{second}/setIngestAliases", {"ingest_aliases": [first]})
    assert [c["name"] for c in world.call("GET", "/v1/customers")["data"]] == ["First", "Second"]


def test_a_customer_whose_contract_runs_is_not_archived(world: World) -> None:
    customer = world.customer()
    world.contract(customer)

    with pytest.raises(Conflict, match="has not ended"):
        world.call("POST", "/v1/customers/archive", {"id": customer})
