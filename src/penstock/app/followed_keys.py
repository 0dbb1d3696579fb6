"""API keys as another process, or a database, holds them: read every second, so that no request waits for them.

A key that was made a moment ago is looked for at once, a few times a second at most. While the source is away the keys
last read are good, for a bounded time.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Sequence
from typing import Protocol

import msgspec

from penstock.app.health import NotReady
from penstock.catalog.memory import MemoryCatalog
from penstock.gateway.keys import KIND, Keys
from penstock.kernel.ports.catalog import Catalog, Item
from penstock.kernel.ports.clock import Clock
from penstock.kernel.problems import Unauthorized
from penstock.rpc.port import Service
from penstock.rpc.reply import ServiceUnavailable
from penstock.web.route import Principal

REFRESH_EVERY_S = 1
LOOK_AGAIN_S = 0.1
RETRY_AFTER_S = 2


class KeyBook(Protocol):
    """What the gateway answers to its siblings about API keys."""

    def items(self) -> list[Item]:
        """Every tenant's keys as they are stored: never a secret, only its hash."""
        ...


KEY_BOOK = Service(KeyBook, reads=["items"])  # type: ignore[type-abstract]  # a port is abstract, its stand-in is not


class CatalogKeys:
    """The `KeyBook` of the service that owns the keys."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog

    def items(self) -> list[Item]:
        return self._catalog.list(None, KIND)


class FollowedKeys:
    """Authenticates from the keys last read. `refresh` is called every `REFRESH_EVERY_S`, from any thread."""

    def __init__(
        self, book: KeyBook, clock: Clock, age_ms_max: int, elapsed_s: Callable[[], float] = time.monotonic
    ) -> None:
        self._book, self._clock, self._elapsed_s = book, clock, elapsed_s
        self._age_s_max = age_ms_max / 1000
        self._held: tuple[list[Item], Keys] | None = None
        self._read_at_s = 0.0
        self._refreshing = threading.Lock()
        self._looking: asyncio.Task[None] | None = None

    def refresh(self) -> None:
        """Read the keys again. Raise what the source raises; the keys last read stay."""
        with self._refreshing:
            asked_at_s, items = self._elapsed_s(), self._book.items()
            if self._held is None or self._held[0] != items:
                self._held = (items, Keys(_snapshot(items), self._clock))
            self._read_at_s = asked_at_s

    def authenticate(self, header: str | None) -> Principal:
        """Raise `Unauthorized`; `ServiceUnavailable` while no keys are known that are young enough."""
        held = self._held
        if held is None or self._age_s() > self._age_s_max:
            raise ServiceUnavailable("the API keys cannot be read", retry_after_s=RETRY_AFTER_S)
        return held[1].authenticate(header)

    async def authenticate_anew(self, header: str | None) -> Principal:
        """The same, but a key that is not known is looked for at its source first."""
        try:
            return self.authenticate(header)
        except (Unauthorized, ServiceUnavailable):
            if not header:
                raise
        if self._looking is None:
            self._looking = asyncio.create_task(self._look_again())
        await asyncio.shield(self._looking)
        return self.authenticate(header)

    async def _look_again(self) -> None:
        """For all who wait: whoever sends wrong keys must not make many reads of the source."""
        await asyncio.sleep(LOOK_AGAIN_S)
        self._looking = None  # who comes during the read may ask for what was made after it began
        await asyncio.to_thread(self.refresh)

    def look(self) -> None:
        """Raise `NotReady` where the keys are too old, or never were read."""
        if self._held is None:
            raise NotReady("never read")
        if self._age_s() > self._age_s_max:
            raise NotReady(f"last read {int(self._age_s())} s ago")

    def _age_s(self) -> float:
        return self._elapsed_s() - self._read_at_s


def _snapshot(items: Sequence[Item]) -> MemoryCatalog:
    """A catalog with these items, each at its latest revision."""
    catalog = MemoryCatalog()
    for item in items:
        assert item.recorded_at is not None, "it was in a catalog"
        catalog.put([msgspec.structs.replace(item, revision=0, sequence=0)], item.recorded_at)
    return catalog
