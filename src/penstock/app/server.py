"""HTTP on Granian's RSGI: the ingest path straight to the gateway, every other route through the table.

Nothing is decided here: read the body within its limit, find who asks, call, encode.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import parse_qsl, unquote

import msgspec

from penstock.app.telemetry import Telemetry
from penstock.gateway.http_api import ingest_http
from penstock.gateway.ingest import Gateway
from penstock.kernel.problems import Forbidden, NotFound, Problem, TooLarge
from penstock.web.problem import problem_response
from penstock.web.route import Principal, Request, Response, Router, Scope

BODY_BYTES_MAX = 32 * 2**20
WORKER_THREADS = 8
INGEST_PATH = "/v1/ingest"
NOBODY = Principal("", "", frozenset())

logger = logging.getLogger(__name__)
_ENCODER = msgspec.json.Encoder(decimal_format="number")


class MethodNotAllowed(Problem):
    status, type, title = 405, "method-not-allowed", "Method not allowed"


class HttpApp:
    """The RSGI application of one process."""

    def __init__(
        self,
        gateway: Gateway,
        router: Router,
        authenticate: Callable[[str | None], Principal],
        telemetry: Telemetry,
    ) -> None:
        self._gateway = gateway
        self._router = router
        self._authenticate = authenticate
        self._telemetry = telemetry
        self._threads = ThreadPoolExecutor(WORKER_THREADS, thread_name_prefix="api")

    async def __rsgi__(self, scope: Any, protocol: Any) -> None:
        if scope.proto != "http":
            protocol.close(404)
            return
        owner = "gateway"
        try:
            if scope.path == INGEST_PATH and scope.method == "POST":
                response = await self._ingest(scope, protocol)
            else:
                owner, response = await self._route(scope, protocol)
        except Problem as exc:
            response = problem_response(exc)
        except Exception:
            logger.exception("%s %s failed", scope.method, scope.path)
            response = problem_response(Problem("an internal error; the server's log has its cause"))
        self._telemetry.requests.labels(owner, str(response.status)).inc()
        body = response.body if isinstance(response.body, bytes) else _ENCODER.encode(response.body)
        headers = [("content-type", response.content_type), *response.headers]
        protocol.response_bytes(response.status, headers, body)

    async def _ingest(self, scope: Any, protocol: Any) -> Response:
        started = time.perf_counter()
        principal = self._authenticate(scope.headers.get("authorization"))
        _demand(principal, Scope.INGEST)
        body = await _body(scope, protocol)
        response = await ingest_http(self._gateway, principal, body, scope.headers.get("content-type"))
        self._telemetry.ingest_s.observe(time.perf_counter() - started)
        return response

    async def _route(self, scope: Any, protocol: Any) -> tuple[str, Response]:
        found = self._router.find(scope.method, scope.path)
        if found is None:
            if self._router.knows(scope.path):
                raise MethodNotAllowed(f"{scope.path} does not answer {scope.method}")
            raise NotFound(f"no route {scope.path}")
        route, path = found
        principal = NOBODY
        if route.scope is not Scope.OPEN:
            principal = self._authenticate(scope.headers.get("authorization"))
            _demand(principal, route.scope)
        body = await _body(scope, protocol)
        query = dict(parse_qsl(scope.query_string, keep_blank_values=True))
        request = Request(principal, {name: unquote(value) for name, value in path.items()}, query, body)
        loop = asyncio.get_running_loop()
        try:
            answer = await loop.run_in_executor(self._threads, route.handler, request)
        except Problem as exc:
            return route.owner, problem_response(exc)
        return route.owner, answer if isinstance(answer, Response) else Response(answer)

    def close(self) -> None:
        """Wait for the handlers under way."""
        self._threads.shutdown(wait=True)


def _demand(principal: Principal, scope: Scope) -> None:
    if not principal.may(scope):
        raise Forbidden(f"this API key lacks the scope {scope.value}")


async def _body(scope: Any, protocol: Any) -> bytes:
    """The request's body; refused before it is read where it says that it is too large, else as soon as it is."""
    length = scope.headers.get("content-length")
    if length is not None:
        if not length.isdecimal() or int(length) > BODY_BYTES_MAX:
            raise TooLarge(f"a body may have {BODY_BYTES_MAX} bytes")
        whole: bytes = await protocol()
        return whole
    parts, size = [], 0
    async for part in protocol:
        size += len(part)
        if size > BODY_BYTES_MAX:
            raise TooLarge(f"a body may have {BODY_BYTES_MAX} bytes")
        parts.append(part)
    return b"".join(parts)
