"""API keys: who may come in, and who reaches whose keys."""

from __future__ import annotations

import hmac
from datetime import datetime, timedelta
from typing import Any

import msgspec
import pytest

from penstock.catalog.memory import MemoryCatalog
from penstock.gateway.http_api import KeysApi
from penstock.gateway.keys import CACHE_TTL, Keys
from penstock.kernel.problems import BadRequest, Conflict, Forbidden, NotFound, Unauthorized
from penstock.web.route import Principal, Request, Scope
from unit.gateway.givens import TestClock


def some_keys() -> tuple[Keys, MemoryCatalog, TestClock]:
    catalog, clock = MemoryCatalog(), TestClock()
    return Keys(catalog, clock), catalog, clock


def a_request(own_tenant: str, /, body: object = None, path: dict[str, str] | None = None, **query: str) -> Request:
    principal = Principal(own_tenant, "key", frozenset([Scope.ADMIN]))
    return Request(principal, path or {}, query, b"" if body is None else msgspec.json.encode(body))


def test_a_created_key_lets_its_tenant_in_with_its_scopes() -> None:
    keys, _, _ = some_keys()
    key, text = keys.create("acme", "ci", [Scope.INGEST, Scope.READ])
    assert text.startswith(f"pk_{key.id}_")
    assert keys.authenticate(f"Bearer {text}") == Principal("acme", key.id, frozenset([Scope.INGEST, Scope.READ]))
    assert keys.authenticate(f"bearer  {text} ").tenant == "acme"


@pytest.mark.parametrize("header", [None, "", "Bearer", "Bearer ", "Basic abc", "pk_1_2"])
def test_without_a_key_nobody_comes_in(header: str | None) -> None:
    with pytest.raises(Unauthorized, match="send the header"):
        some_keys()[0].authenticate(header)


def test_a_wrong_secret_an_unknown_id_and_a_revoked_key_are_the_same_refusal() -> None:
    keys, _, _ = some_keys()
    key, text = keys.create("acme", "ci", [Scope.INGEST])
    for wrong in (f"{text}x", text[:-1], f"pk_{key.id}_", f"pk_unknown_{text[3:]}", "nonsense", "pk_é_ü"):
        with pytest.raises(Unauthorized, match="not valid"):
            keys.authenticate(f"Bearer {wrong}")
    keys.revoke("acme", key.id)
    keys.revoke("acme", key.id)
    with pytest.raises(Unauthorized, match="not valid"):
        keys.authenticate(f"Bearer {text}")


def test_the_secret_is_not_stored() -> None:
    keys, catalog, _ = some_keys()
    _, text = keys.create("acme", "ci", [Scope.INGEST])
    (item,) = catalog.list(None, "api_key")
    assert text.split("_", 2)[2].encode() not in item.body


def test_a_key_that_another_process_revoked_is_refused_soon() -> None:
    keys, catalog, clock = some_keys()
    key, text = keys.create("acme", "ci", [Scope.INGEST])
    keys.authenticate(f"Bearer {text}")
    Keys(catalog, clock).revoke("acme", key.id)
    clock.advance(CACHE_TTL + timedelta(milliseconds=1))
    with pytest.raises(Unauthorized):
        keys.authenticate(f"Bearer {text}")


def test_after_a_rotation_both_secrets_are_good_until_the_overlap_ends() -> None:
    keys, _, clock = some_keys()
    key, old = keys.create("acme", "ci", [Scope.INGEST])
    rotated, new = keys.rotate("acme", key.id, timedelta(hours=1))

    assert (rotated.id, new != old) == (key.id, True)
    assert keys.authenticate(f"Bearer {old}") == keys.authenticate(f"Bearer {new}")
    clock.advance(timedelta(hours=1))
    assert keys.authenticate(f"Bearer {new}").tenant == "acme"
    with pytest.raises(Unauthorized):
        keys.authenticate(f"Bearer {old}")


def test_a_rotation_without_overlap_ends_the_old_secret_at_once() -> None:
    keys, _, _ = some_keys()
    key, old = keys.create("acme", "ci", [Scope.INGEST])
    keys.rotate("acme", key.id, timedelta(0))
    with pytest.raises(Unauthorized):
        keys.authenticate(f"Bearer {old}")


def test_of_three_secrets_only_the_last_two_are_good() -> None:
    keys, _, _ = some_keys()
    key, first = keys.create("acme", "ci", [Scope.INGEST])
    texts = [first, keys.rotate("acme", key.id)[1], keys.rotate("acme", key.id)[1]]

    def is_good(text: str) -> bool:
        try:
            return keys.authenticate(f"Bearer {text}").key_id == key.id
        except Unauthorized:
            return False

    assert [is_good(text) for text in texts] == [False, True, True]
    keys.revoke("acme", key.id)
    assert [is_good(text) for text in texts] == [False, False, False]


def test_a_key_of_the_operators_choice_can_be_rotated() -> None:
    keys, _, _ = some_keys()
    given = "any text of sixteen characters"
    keys.bootstrap(given)
    key_id = keys.authenticate(f"Bearer {given}").key_id
    _, new = keys.rotate("default", key_id, timedelta(minutes=1))
    assert keys.authenticate(f"Bearer {new}") == keys.authenticate(f"Bearer {given}")
    assert keys.bootstrap(given) is None  # the next start does not bring the old secret back
    assert len(keys.list("default")) == 1


def test_what_cannot_be_rotated_is_refused() -> None:
    keys, _, _ = some_keys()
    key, _ = keys.create("acme", "ci", [Scope.INGEST])
    with pytest.raises(NotFound):
        keys.rotate("globex", key.id)
    for overlap in (timedelta(seconds=-1), timedelta(days=30, seconds=1)):
        with pytest.raises(BadRequest, match="overlap"):
            keys.rotate("acme", key.id, overlap)
    keys.revoke("acme", key.id)
    with pytest.raises(Conflict, match="revoked"):
        keys.rotate("acme", key.id)


def test_a_read_key_may_be_of_one_customer() -> None:
    keys, _, _ = some_keys()
    key, text = keys.create("acme", "portal", [Scope.READ], "customer-1")
    assert keys.authenticate(f"Bearer {text}") == Principal("acme", key.id, frozenset([Scope.READ]), "customer-1")
    for scopes, customer in (([Scope.READ, Scope.INGEST], "customer-1"), ([Scope.ADMIN], "c"), ([Scope.READ], "")):
        with pytest.raises(BadRequest, match="one customer"):
            keys.create("acme", "portal", scopes, customer)


def test_a_wrong_secret_of_an_unknown_key_is_compared_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    keys, _, _ = some_keys()
    key, text = keys.create("acme", "ci", [Scope.INGEST])
    compared: list[tuple[str, str]] = []
    compare = hmac.compare_digest

    def noted(a: str, b: str) -> bool:
        compared.append((a, b))
        return compare(a, b)

    monkeypatch.setattr("penstock.gateway.keys.hmac.compare_digest", noted)
    for wrong in ("pk_unknown_secret", f"pk_{key.id}_secret"):
        with pytest.raises(Unauthorized):
            keys.authenticate(f"Bearer {wrong}")
    assert len(compared) == 3  # once against nothing; against the secret and the one before it
    assert keys.authenticate(f"Bearer {text}").key_id == key.id


def test_a_first_start_makes_one_admin_key_and_a_second_start_none() -> None:
    keys, _, _ = some_keys()
    text = keys.bootstrap(None)
    assert text is not None
    assert keys.authenticate(f"Bearer {text}").tenant == "default"
    assert keys.authenticate(f"Bearer {text}").may(Scope.ADMIN)
    assert keys.bootstrap(None) is None


@pytest.mark.parametrize("given", ["any text of sixteen characters", "pk_mine_secret-secret"])
def test_a_given_key_is_taken_as_it_is_and_stays(given: str) -> None:
    keys, _, _ = some_keys()
    assert keys.bootstrap(given) is None
    assert keys.bootstrap(given) is None
    assert keys.authenticate(f"Bearer {given}").may(Scope.ADMIN)
    assert keys.bootstrap(None) is None


def test_gateways_that_start_at_once_all_take_the_given_key() -> None:
    class LookedAtTooEarly(MemoryCatalog):
        """What another process has put meanwhile is met by `put` alone."""

        def get(self, tenant: str, kind: str, id: str, as_of: datetime | None = None) -> None:
            return None

    catalog, given = LookedAtTooEarly(), "any text of sixteen characters"
    for keys in (Keys(catalog, TestClock()), Keys(catalog, TestClock())):
        assert keys.bootstrap(given) is None
        assert keys.authenticate(f"Bearer {given}").may(Scope.ADMIN)


def test_a_given_key_that_is_short_is_refused() -> None:
    with pytest.raises(BadRequest, match="at least 16"):
        some_keys()[0].bootstrap("short")


def test_the_api_makes_lists_and_revokes_keys() -> None:
    keys, _, _ = some_keys()
    api = KeysApi(keys)
    made = api.create(a_request("acme", {"name": "ci", "scopes": ["INGEST", "read", "read"]}))["data"]
    text = made.pop("key")
    assert (made["name"], made["tenant"], made["scopes"], made["revoked"]) == ("ci", "acme", ["ingest", "read"], False)
    assert keys.authenticate(f"Bearer {text}").tenant == "acme"
    assert api.list(a_request("acme")) == {"data": [made], "next_page": None}
    assert api.revoke(a_request("acme", path={"key_id": made["id"]}))["data"] == made | {"revoked": True}
    assert api.list(a_request("acme"))["data"] == [made | {"revoked": True}]
    with pytest.raises(Unauthorized):
        keys.authenticate(f"Bearer {text}")


def test_a_list_of_keys_comes_in_pages() -> None:
    keys, _, _ = some_keys()
    for name in "abc":
        keys.create("acme", name, [Scope.READ])
    first = KeysApi(keys).list(a_request("acme", limit="2"))
    second = KeysApi(keys).list(a_request("acme", limit="2", next_page=first["next_page"]))
    assert [key["name"] for key in first["data"] + second["data"]] == ["a", "b", "c"]
    assert second["next_page"] is None


def test_no_tenant_reaches_the_keys_of_another_but_the_operator_does() -> None:
    keys, _, _ = some_keys()
    api = KeysApi(keys)
    key, _ = keys.create("acme", "ci", [Scope.READ])
    new = {"name": "x", "scopes": ["admin"], "tenant": "acme"}
    with pytest.raises(Forbidden):
        api.create(a_request("rival", new))
    with pytest.raises(Forbidden):
        api.list(a_request("rival", tenant="acme"))
    with pytest.raises(NotFound):
        api.revoke(a_request("rival", path={"key_id": key.id}))
    assert api.list(a_request("rival"))["data"] == []
    assert api.create(a_request("default", new))["data"]["tenant"] == "acme"
    assert len(api.list(a_request("default", tenant="acme"))["data"]) == 2
    assert api.revoke(a_request("default", path={"key_id": key.id}, tenant="acme"))["data"]["revoked"] is True


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"name": "", "scopes": ["read"]}, "name"),
        ({"name": "x" * 201, "scopes": ["read"]}, "name"),
        ({"name": "x", "scopes": []}, "scopes"),
        ({"name": "x", "scopes": ["root"]}, "scopes"),
        ({"name": "x", "scopes": ["open"]}, "scopes"),
        ({"name": "x", "scopes": ["read"], "tenant": ""}, "tenant"),
    ],
)
def test_a_bad_key_request_names_its_field(body: dict[str, Any], field: str) -> None:
    with pytest.raises(BadRequest) as refused:
        KeysApi(some_keys()[0]).create(a_request("default", body))
    assert refused.value.field == field
