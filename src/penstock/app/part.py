"""A part of a process: one service with its adapters. The runtime starts, drains and stops any number of them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

import msgspec

from penstock.app.health import Check
from penstock.rpc.server import Served
from penstock.web.route import Route


class Chore(msgspec.Struct, frozen=True):
    """What is done again and again, in a worker thread, `interval_s` apart."""

    interval_s: float
    run: Callable[[], object]


class Part:
    """What a part without anything to do answers."""

    def routes(self) -> Sequence[Route]:
        """The HTTP routes that this part owns."""
        return ()

    def served(self) -> Sequence[Served]:
        """The ports that siblings may call."""
        return ()

    def checks(self) -> Sequence[Check]:
        """What this part needs, and how to see that it is there."""
        return ()

    def chores(self) -> Sequence[Chore]:
        """What is done between requests, from the start to the end."""
        return ()

    def observe(self) -> None:
        """Bring the gauges up to date; called for every scrape."""

    async def start(self, announce: Callable[[str], None]) -> None:
        """Begin, before the first request. `announce` gets what a person at the terminal should read."""

    async def open_doors(self) -> str:
        """Listen where HTTP does not, and say where; called when HTTP is served."""
        return ""

    async def run(self) -> None:
        """Return never. What is raised ends the process."""
        await asyncio.Event().wait()

    async def close_doors(self) -> None:
        """Take nothing more, and answer what was taken. HTTP still answers."""

    async def finish(self) -> None:
        """Work off what was taken, after the last answer."""

    def close(self) -> None:
        """Let go of files and connections, when no thread uses them any more."""
