"""ClickHouse's HTTP interface over the engine: bodies in and out, compression, statuses and headers."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import parse_qs

import pyarrow as pa
from granian.rsgi import ProtocolClosed  # type: ignore[attr-defined]  # its module re-exports it without saying so

from penstock.app.clickhouse_dev.engine import Engine
from penstock.app.clickhouse_dev.statement import EngineError, read_statement

STATEMENTS_MAX = 8
UNKNOWN_COMPRESSION, INCORRECT_DATA = 89, 117
_CODECS = {"lz4": "lz4", "zstd": "zstd", "gzip": "gzip", "br": "brotli"}
# As the server's exceptionCodeToHTTPStatus; any other code is 500.
_STATUSES = {
    400: (6, 26, 27, 36, 38, 41, 42, 43, 53, 62, 69, 72, 117, 321, 386, 427),
    404: (16, 46, 47, 50, 60, 63, 73, 81, 115, 152),
    408: (159,),
    413: (202,),
    501: (48,),
    503: (209, 439),
}
_STATUS_OF = {code: status for status, codes in _STATUSES.items() for code in codes}
_READ = ("content-type", "content-encoding", "accept-encoding", "x-clickhouse-database", "x-clickhouse-format")

Headers = list[tuple[str, str]]
Answer = tuple[int, Headers, bytes]


class Front:
    """The RSGI application. Statements run in worker threads; those above `STATEMENTS_MAX` wait their turn."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._threads = ThreadPoolExecutor(STATEMENTS_MAX, thread_name_prefix="statement")

    async def __rsgi__(self, scope: Any, protocol: Any) -> None:
        if scope.proto != "http":
            protocol.close(404)
            return
        try:
            body = await protocol()
        except ProtocolClosed:
            return  # the client hung up: what came is not what was meant
        if scope.path == "/ping" or (scope.path == "/" and not scope.query_string and not body):
            protocol.response_bytes(200, [("content-type", "text/html; charset=UTF-8")], b"Ok.\n")
            return
        if scope.path != "/":
            protocol.response_bytes(404, [], f"There is no handle {scope.path}\n".encode())
            return
        headers = {name: scope.headers.get(name) or "" for name in _READ}
        asked = (scope.method == "GET", scope.query_string, headers, body)
        status, sent, answer = await asyncio.get_running_loop().run_in_executor(self._threads, self._answer, *asked)
        protocol.response_bytes(status, sent, answer)

    def _answer(self, is_get: bool, query: str, headers: Mapping[str, str], body: bytes) -> Answer:
        fields = parse_qs(query)
        sent = [
            ("x-clickhouse-query-id", fields.get("query_id", [str(uuid.uuid4())])[0]),
            ("x-clickhouse-server-display-name", "penstock clickhouse-dev"),
            ("x-clickhouse-timezone", self._engine.timezone),
        ]
        try:
            statement = read_statement(is_get, query, headers, _plain(headers["content-encoding"], body))
            result = self._engine.run(statement)
        except EngineError as exc:
            return _failed(exc, sent)
        sent += [("x-clickhouse-format", statement.format), ("x-clickhouse-summary", json.dumps(result.summary))]
        is_asked = fields.get("enable_http_compression", ["0"])[0] not in ("0", "false")
        encoding = _accepted(headers["accept-encoding"]) if is_asked and result.body else None
        if encoding is None:
            return 200, sent, result.body
        return 200, [*sent, ("content-encoding", encoding)], _compressed(encoding, result.body)

    def close(self) -> None:
        """Wait for the statements under way."""
        self._threads.shutdown(wait=True)


def _failed(exc: EngineError, sent: Headers) -> Answer:
    code = ("x-clickhouse-exception-code", str(exc.code))
    plain = ("content-type", "text/plain; charset=UTF-8")
    return _STATUS_OF.get(exc.code, 500), [*sent, code, plain], exc.text.encode() + b"\n"


def _accepted(accept_encoding: str) -> str | None:
    """The first encoding that the client names and that is known here."""
    names = (name.partition(";")[0].strip() for name in accept_encoding.split(","))
    return next((name for name in names if name in _CODECS), None)


def _plain(encoding: str, body: bytes) -> bytes:
    if encoding in ("", "identity"):
        return body
    if encoding not in _CODECS:
        text = f"Code: {UNKNOWN_COMPRESSION}. DB::Exception: Unknown compression method {encoding}"
        raise EngineError(UNKNOWN_COMPRESSION, f"{text} (UNKNOWN_COMPRESSION_METHOD)")
    try:
        plain: bytes = pa.CompressedInputStream(pa.BufferReader(body), _CODECS[encoding]).read()
    except OSError as exc:
        text = f"Code: {INCORRECT_DATA}. DB::Exception: the body is not {encoding} (INCORRECT_DATA)"
        raise EngineError(INCORRECT_DATA, text) from exc
    return plain


def _compressed(encoding: str, body: bytes) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, _CODECS[encoding]) as stream:
        stream.write(body)
    packed: bytes = sink.getvalue().to_pybytes()
    return packed
