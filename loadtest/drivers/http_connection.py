"""HTTP/1.1 over asyncio, by hand: keep-alive, a body as it is, and no more parsing than an answer needs.

The client shares two cores with what it measures: a general client's headers and pools would be charged to the server.
"""

from __future__ import annotations

import asyncio
import ssl
from typing import NamedTuple, cast
from urllib.parse import urlsplit

from loadtest.drivers.base import Lost

_HEAD_END = b"\r\n\r\n"


class HttpAnswer(NamedTuple):
    """`head` is in lower case."""

    status: int
    head: bytes
    body: bytes

    def header(self, name: bytes) -> bytes | None:
        """The header's value; `name` in lower case."""
        start = self.head.find(b"\r\n" + name + b":")
        if start < 0:
            return None
        start += len(name) + 3
        return self.head[start : self.head.find(b"\r\n", start)].strip()


class HttpConnection(asyncio.Protocol):
    """One connection, one request at a time."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._received = b""
        self._waiting: asyncio.Future[HttpAnswer] | None = None

    @classmethod
    async def open(cls, url: str) -> HttpConnection:
        """Raise `Lost` where nobody answers."""
        parts = urlsplit(url)
        secure = parts.scheme == "https"
        context = ssl.create_default_context() if secure else None
        loop = asyncio.get_running_loop()
        try:
            _, connection = await loop.create_connection(
                cls, parts.hostname or "", parts.port or (443 if secure else 80), ssl=context
            )
        except OSError as exc:
            raise Lost(f"no connection to {url}: {exc}") from exc
        return connection

    async def exchange(self, head: bytes, body: bytes = b"") -> HttpAnswer:
        """Send a request and return its answer. Raise `Lost` where there is none."""
        if self._transport is None or self._transport.is_closing():
            raise Lost("the connection is closed")
        self._waiting = asyncio.get_running_loop().create_future()
        self._received = b""
        self._transport.writelines((head, body))
        try:
            return await self._waiting
        finally:
            self._waiting = None

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is one without being an instance of it

    def data_received(self, data: bytes) -> None:
        self._received = self._received + data if self._received else data
        answer = parse(self._received)
        if answer is None or self._waiting is None or self._waiting.done():
            return
        if answer.header(b"connection") == b"close" and self._transport is not None:
            self._transport.close()
        self._waiting.set_result(answer)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_exception(Lost(f"the server hung up: {exc}"))


def parse(received: bytes) -> HttpAnswer | None:
    """The answer, once it is complete; None before."""
    end = received.find(_HEAD_END)
    if end < 0:
        return None
    answer = HttpAnswer(int(received[9:12]), received[: end + 2].lower(), b"")
    length = answer.header(b"content-length")
    start = end + len(_HEAD_END)
    if length is not None:
        stop = start + int(length)
        return answer._replace(body=received[start:stop]) if len(received) >= stop else None
    if answer.header(b"transfer-encoding") == b"chunked":
        body = _unchunked(received[start:])
        return None if body is None else answer._replace(body=body)
    return answer


def _unchunked(text: bytes) -> bytes | None:
    """The body of chunks, once the last one is there."""
    parts: list[bytes] = []
    at = 0
    while (line_end := text.find(b"\r\n", at)) >= 0:
        size = int(text[at:line_end].split(b";")[0], 16)
        start = line_end + 2
        if len(text) < start + size + 2:
            return None
        if size == 0:
            return b"".join(parts)
        parts.append(text[start : start + size])
        at = start + size + 2
    return None
