"""What the three protocols over HTTP share: POST /v1/ingest, its compression, and what its answers mean."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from urllib.parse import urlsplit

import msgspec
import pyarrow as pa
from loadtest.drivers.base import Answer, Busy, Endpoint, NotServed, Refused
from loadtest.drivers.http_connection import HttpAnswer, HttpConnection
from loadtest.traffic import Planned

PATH = "/v1/ingest"
BUSY = (429, 502, 503, 504)
BUSY_DEFAULT_S = 0.2
REASON_CHARS_MAX = 500


class _Problem(msgspec.Struct):
    detail: str


_ANSWER = msgspec.json.Decoder(Answer)


class HttpDriver:
    """A driver that POSTs bodies of one content type."""

    def __init__(
        self, endpoint: Endpoint, content_type: str, encode: Callable[[Sequence[Planned], int], bytes]
    ) -> None:
        self._endpoint = endpoint
        self._encode = encode
        self._head = request_head(endpoint, "POST", PATH, content_type)

    def encode(self, events: Sequence[Planned], minute: int) -> bytes:
        return self._encode(events, minute)

    async def connect(self) -> HttpIngest:
        compress = compressor(self._endpoint.compress)
        return HttpIngest(await HttpConnection.open(self._endpoint.url), self._head, compress)


class HttpIngest:
    """A connection of such a driver."""

    def __init__(self, connection: HttpConnection, head: bytes, compress: Callable[[bytes], bytes] | None) -> None:
        self._connection, self._head, self._compress = connection, head, compress

    async def send(self, body: bytes) -> Answer:
        if self._compress is not None:
            body = self._compress(body)
        return judge(await self._connection.exchange(self._head % len(body), body))

    async def close(self) -> None:
        self._connection.close()


def request_head(endpoint: Endpoint, method: str, path: str, content_type: str | None = None) -> bytes:
    """A request's head; with a content type it has a place for the length, `head % length`."""
    parts = urlsplit(endpoint.url)
    lines = [f"{method} {parts.path.rstrip('/')}{path} HTTP/1.1", f"Host: {parts.netloc}"]
    lines.append(f"Authorization: Bearer {endpoint.api_key}")
    if content_type is not None:
        if endpoint.compress is not None:
            lines.append(f"Content-Encoding: {endpoint.compress}")
        lines += [f"Content-Type: {content_type}"]
        lines = [line.replace("%", "%%") for line in lines] + ["Content-Length: %d"]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def compressor(name: str | None) -> Callable[[bytes], bytes] | None:
    """One body in, one frame out, at the fastest level: the client must stay cheap."""
    if name is None:
        return None
    codec = pa.Codec(name, compression_level=1)

    def compress(body: bytes) -> bytes:
        packed: bytes = codec.compress(body, asbytes=True)
        return packed

    return compress


def judge(answer: HttpAnswer) -> Answer:
    """The verdicts of a 200. Raise `Busy`, `NotServed` or `Refused` for anything else."""
    if answer.status == 200:
        return _ANSWER.decode(answer.body)
    if answer.status in BUSY:
        asked = answer.header(b"retry-after") or b""
        raise Busy(int(asked) if asked.isdigit() else BUSY_DEFAULT_S)
    reason = f"{answer.status} {_detail(answer.body)}"
    if answer.status == 415 or (answer.status == 400 and b'"field":"content-' in answer.body):
        raise NotServed(reason)
    raise Refused(reason)


def _detail(body: bytes) -> str:
    """What a problem says, else the text as it is."""
    try:
        return msgspec.json.decode(body, type=_Problem).detail
    except msgspec.MsgspecError:
        return body[:REASON_CHARS_MAX].decode(errors="replace")
