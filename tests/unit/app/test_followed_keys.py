"""Keys that another process holds: no request waits for it, a new key is looked for, an outage is survived."""

from __future__ import annotations

import asyncio

import pytest

from penstock.app.followed_keys import CatalogKeys, FollowedKeys
from penstock.app.health import NotReady
from penstock.catalog.memory import MemoryCatalog
from penstock.gateway.keys import Keys
from penstock.kernel.clock import SystemClock
from penstock.kernel.ports.catalog import Item
from penstock.kernel.problems import Unauthorized
from penstock.rpc.reply import ServiceUnavailable
from penstock.web.route import Scope

OLD, NEW = "a-key-of-the-operator", "another-key-of-the-operator"
AGE_MS_MAX = 60_000


class World:
    """The gateway's keys, a way to them that may be cut, and a stopwatch that stands still."""

    def __init__(self) -> None:
        self.gateway_keys = Keys(MemoryCatalog(), SystemClock())
        self.gateway_keys.bootstrap(OLD)
        self.book = CatalogKeys(self.gateway_keys._catalog)
        self.is_cut, self.elapsed_s, self.reads = False, 0.0, 0
        self.followed = FollowedKeys(self, SystemClock(), AGE_MS_MAX, lambda: self.elapsed_s)

    def items(self) -> list[Item]:
        self.reads += 1
        if self.is_cut:
            raise ServiceUnavailable("cut")
        return self.book.items()

    def asked(self, key: str) -> str:
        return asyncio.run(self.followed.authenticate_anew(f"Bearer {key}")).tenant


def test_nobody_is_let_in_before_the_keys_are_known() -> None:
    world = World()
    with pytest.raises(ServiceUnavailable, match="cannot be read"):
        world.followed.authenticate(f"Bearer {OLD}")
    with pytest.raises(NotReady, match="never read"):
        world.followed.look()

    world.followed.refresh()
    world.followed.look()
    assert world.followed.authenticate(f"Bearer {OLD}").scopes == {Scope.ADMIN}


def test_a_new_key_is_good_at_its_first_use_and_a_known_one_costs_no_read() -> None:
    world = World()
    world.followed.refresh()
    world.gateway_keys.bootstrap(NEW)

    assert world.asked(NEW) == "default"
    assert world.reads == 2
    assert world.asked(NEW) == world.asked(OLD) == "default"
    assert world.reads == 2


def test_a_wrong_key_is_refused_and_many_of_them_share_a_read() -> None:
    world = World()
    world.followed.refresh()

    async def many() -> list[object]:
        wrong = [world.followed.authenticate_anew(f"Bearer a-wrong-key-number-{n}") for n in range(20)]
        return list(await asyncio.gather(*wrong, return_exceptions=True))

    assert {type(answer) for answer in asyncio.run(many())} == {Unauthorized}
    assert world.reads == 2
    with pytest.raises(Unauthorized):
        asyncio.run(world.followed.authenticate_anew(None))
    assert world.reads == 2


def test_a_revoked_key_ends_with_the_next_read() -> None:
    world = World()
    world.followed.refresh()
    [(_, key)] = world.gateway_keys.list("default")
    world.gateway_keys.revoke("default", key.id)

    world.followed.refresh()

    with pytest.raises(Unauthorized):
        world.followed.authenticate(f"Bearer {OLD}")


def test_keys_outlive_an_outage_for_a_time() -> None:
    world = World()
    world.followed.refresh()
    world.is_cut = True
    world.elapsed_s = AGE_MS_MAX / 1000

    with pytest.raises(ServiceUnavailable, match="cut"):
        world.followed.refresh()
    assert world.asked(OLD) == "default"

    world.elapsed_s += 1
    with pytest.raises(NotReady, match="last read 61 s ago"):
        world.followed.look()
    with pytest.raises(ServiceUnavailable):
        world.asked(OLD)


def test_a_rotated_key_has_two_secrets_here_too() -> None:
    world = World()
    key, text = world.gateway_keys.create("acme", "rotated", [Scope.READ])
    _, new_text = world.gateway_keys.rotate("acme", key.id)

    world.followed.refresh()

    assert world.asked(text) == world.asked(new_text) == "acme"
