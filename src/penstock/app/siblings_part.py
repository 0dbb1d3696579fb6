"""The siblings of a role that runs by itself: calls to them and from them, and the API keys that the gateway holds."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence

from penstock.app.common import Common
from penstock.app.config import Config
from penstock.app.followed_keys import KEY_BOOK, REFRESH_EVERY_S, FollowedKeys
from penstock.app.health import Check
from penstock.app.logs import REQUEST_ID
from penstock.app.part import Chore, Part
from penstock.app.tls import rpc_certificates
from penstock.kernel.problems import Problem, Refused
from penstock.rpc.client import Sibling
from penstock.rpc.server import RpcServer, Served
from penstock.rpc.trust import Trust


class NoTrust(Refused):
    """Siblings could not know each other. Refused: a call reads what belongs to any tenant."""


def trust_of(config: Config) -> Trust:
    """Raise `NoTrust` where the settings name neither a secret nor certificates."""
    try:
        return Trust(config.rpc_secret, rpc_certificates(config))
    except ValueError as exc:
        raise NoTrust(f"{exc}: set rpc_secret, or rpc_cert, rpc_key and rpc_ca") from exc


class SiblingsPart(Part):
    """Connections to the siblings that a role calls; without those in `needed` it cannot do its job.

    Those in `called` are told of by another part.
    """

    def __init__(
        self, common: Common, needed: Sequence[str] = (), told: Sequence[str] = (), called: Sequence[str] = ()
    ) -> None:
        self._config, self._trust = common.config, trust_of(common.config)
        self._siblings = {each: self._connected(each) for each in (*needed, *told, *called)}
        self._needed, self._called = needed, called

    def _connected(self, name: str) -> Sibling:
        address = str(getattr(self._config, f"{name}_rpc"))
        return Sibling(name, address, self._trust, REQUEST_ID, self._config.rpc_timeout_ms)

    def __getitem__(self, name: str) -> Sibling:
        return self._siblings[name]

    def checks(self) -> Sequence[Check]:
        checked = [(name, each) for name, each in self._siblings.items() if name not in self._called]
        return [Check(name, each.ping, name in self._needed) for name, each in checked]

    def close(self) -> None:
        for sibling in self._siblings.values():
            sibling.close()


class CallsPart(Part):
    """Answers the calls of siblings of the role `name` to what `parts` serve."""

    def __init__(self, common: Common, name: str, parts: Sequence[Part]) -> None:
        self._config = common.config
        served: list[Served] = [each for part in parts for each in part.served()]
        self._server = RpcServer(name, served, trust_of(common.config), REQUEST_ID)

    async def open_doors(self) -> str:
        return f"for siblings on port {self._server.start(self._config.host, self._config.rpc_port)}"

    async def close_doors(self) -> None:
        await asyncio.to_thread(self._server.stop, self._config.rpc_drain_ms_max / 1000)


class KeysPart(Part):
    """Authenticates with the keys that the gateway holds."""

    def __init__(self, common: Common, gateway: Sibling) -> None:
        self._keys = FollowedKeys(gateway.port(KEY_BOOK), common.clock, common.config.key_age_ms_max)
        self.authenticate = self._keys.authenticate_anew

    def checks(self) -> Sequence[Check]:
        return [Check("API keys", self._keys.look)]

    def chores(self) -> Sequence[Chore]:
        return [Chore(REFRESH_EVERY_S, self._keys.refresh)]

    async def start(self, announce: Callable[[str], None]) -> None:
        with contextlib.suppress(Problem):  # the gateway may come later
            await asyncio.to_thread(self._keys.refresh)
