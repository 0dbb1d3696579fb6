"""Reading a request's body: within its limit, within a time, and not more of all bodies together than the budget."""

from __future__ import annotations

import asyncio
from typing import Any

from granian.rsgi import ProtocolClosed  # type: ignore[attr-defined]  # its module re-exports it without saying so

from penstock.gateway.budget import Budget
from penstock.kernel.problems import BadRequest, TooLarge, TooSlow

# A body of at most so many bytes is read in one go: it is not worth to count it while it arrives.
WHOLE_BYTES_MAX = 64 * 1024
_ENDED_EARLY = "the body ended early: it is shorter than its content-length"


class BodyReader:
    """Reads bodies for one process. `budget` holds what has arrived of the large ones until they are whole."""

    def __init__(self, budget: Budget, bytes_max: int, timeout_ms: int) -> None:
        self._budget, self._bytes_max, self._timeout_ms = budget, bytes_max, timeout_ms

    async def read(self, scope: Any, protocol: Any) -> bytes:
        """Raise `TooLarge`, before reading where the request says so itself; `TooSlow`; `TooMany`.

        Raise `BadRequest` where the client hung up: what came is not what was meant.
        """
        length = scope.headers.get("content-length")
        if length is not None and (not length.isdecimal() or int(length) > self._bytes_max):
            raise TooLarge(f"a body may have {self._bytes_max} bytes")
        try:
            async with asyncio.timeout(self._timeout_ms / 1000):
                if length is not None and int(length) <= WHOLE_BYTES_MAX:
                    whole: bytes = await protocol()
                    return whole
                body = await self._gather(protocol)
        except TimeoutError as exc:
            raise TooSlow(f"the body did not arrive within {self._timeout_ms} ms") from exc
        except ProtocolClosed as exc:
            raise BadRequest(_ENDED_EARLY) from exc
        if length is not None and len(body) != int(length):
            raise BadRequest(_ENDED_EARLY)
        return body

    async def _gather(self, protocol: Any) -> bytes:
        parts: list[bytes] = []
        size = 0
        try:
            async for part in protocol:
                if size + len(part) > self._bytes_max:
                    raise TooLarge(f"a body may have {self._bytes_max} bytes")
                self._budget.take(len(part))
                size += len(part)
                parts.append(part)
            return b"".join(parts)
        finally:
            # The caller goes on without a pause, and whoever keeps the body takes its bytes again.
            self._budget.give_back(size)
