"""Health that tells the truth: what this process needs is looked at every second, each by itself, and named.

`/healthz` says that the process lives. `/readyz` says that it can do its job now: 200, or 503 with a reason for each
dependency. A dependency that is not needed is told and changes nothing: of two services that call each other only one
may wait for the other, or neither would ever be ready. (docs/adr/0015)
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import msgspec

from penstock.kernel.problems import Problem
from penstock.web.route import Request, Response

LOOK_EVERY_S = 1
ANSWER_WITHIN_S = 2
OK, NOT_READY = "ok", "not ready"

logger = logging.getLogger(__name__)


class NotReady(Exception):
    """Why something that is there cannot do its job, in words for the operator."""


class Check(msgspec.Struct, frozen=True):
    """`look` returns where all is well; it raises a `Problem` or `NotReady` that says why not.

    A coroutine function is awaited in the event loop, any other is called in a thread of its own.
    """

    name: str
    look: Callable[[], object] | Callable[[], Awaitable[object]]
    is_needed: bool = True


class _Found(msgspec.Struct):
    check: Check
    first: asyncio.Event
    reason: str | None = "not looked at yet"

    def view(self) -> dict[str, object]:
        view: dict[str, object] = {"status": OK if self.reason is None else "away", "needed": self.check.is_needed}
        return view if self.reason is None else view | {"reason": self.reason}


class Health:
    """Looks from `watch` on. `phase` is why the process as a whole is not ready, None while it serves."""

    def __init__(self, checks: Sequence[Check]) -> None:
        self.phase: str | None = "starting"
        self._found = [_Found(check, asyncio.Event()) for check in checks]
        self._threads = ThreadPoolExecutor(max(1, len(checks)), thread_name_prefix="health")
        self._watching: list[asyncio.Task[None]] = []

    @property
    def is_ready(self) -> bool:
        return self.phase is None and all(f.reason is None for f in self._found if f.check.is_needed)

    async def watch(self) -> None:
        """Look until `close`. Return when everything was looked at once."""
        self._watching = [asyncio.create_task(self._follow(found)) for found in self._found]
        for found in self._found:
            await found.first.wait()

    async def close(self) -> None:
        for task in self._watching:
            task.cancel()
        await asyncio.gather(*self._watching, return_exceptions=True)
        self._threads.shutdown(wait=False)

    def readyz(self, _request: Request) -> Response:
        """Cheap: what was found at the last look, which is at most a second old where the dependency answers."""
        ready = self.is_ready
        body: dict[str, object] = {"status": OK if ready else self.phase or NOT_READY}
        if self._found:
            body["dependencies"] = {found.check.name: found.view() for found in self._found}
        return Response(body, 200 if ready else 503, () if ready else (("retry-after", "1"),))

    async def _follow(self, found: _Found) -> None:
        while True:
            looking = asyncio.ensure_future(self._look(found.check))
            try:
                done, _ = await asyncio.wait([looking], timeout=ANSWER_WITHIN_S)
                if not done:
                    found.reason = f"no answer in {ANSWER_WITHIN_S} s"
                    found.first.set()
                found.reason = await looking  # never two looks at a time
                found.first.set()
            finally:
                looking.cancel()
            await asyncio.sleep(LOOK_EVERY_S)

    async def _look(self, check: Check) -> str | None:
        """None, or the reason."""
        try:
            if inspect.iscoroutinefunction(check.look):
                await check.look()
            else:
                await asyncio.get_running_loop().run_in_executor(self._threads, check.look)
        except (Problem, NotReady) as exc:
            return str(exc)
        except Exception as exc:
            logger.exception("the look at %s failed", check.name)
            return f"the look failed: {type(exc).__name__}"
        return None
