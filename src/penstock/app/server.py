"""HTTP on Granian's RSGI: the ingest path straight to the gateway, every other route through the table.

Nothing is decided here: read the body within its limit, find who asks, call, encode. A route of a service that runs
elsewhere is forwarded.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import parse_qsl, quote

import msgspec

from penstock.app.body import BodyReader
from penstock.app.call import Call
from penstock.app.forward import PASSED_ON, Forwarded, Forwarder
from penstock.app.logs import request_id_of
from penstock.app.telemetry import Telemetry
from penstock.gateway.http_api import ingest_http
from penstock.gateway.ingest import Gateway
from penstock.kernel.problems import Forbidden, NotFound, Problem
from penstock.web.problem import problem_response
from penstock.web.route import Principal, Request, Response, Route, Router, Scope

WORKER_THREADS = 8
INGEST_PATH = "/v1/ingest"
NOBODY = Principal("", "", frozenset())

# Who presents an `Authorization` header. Raises `Unauthorized`.
Authenticate = Callable[[str | None], Awaitable[Principal]]

_ENCODER = msgspec.json.Encoder(decimal_format="number")


class MethodNotAllowed(Problem):
    status, type, title = 405, "method-not-allowed", "Method not allowed"


class HttpApp:
    """The RSGI application of one process. Without a gateway it takes no events."""

    def __init__(
        self,
        router: Router,
        authenticate: Authenticate,
        bodies: BodyReader,
        telemetry: Telemetry,
        gateway: Gateway | None = None,
        forwarder: Forwarder | None = None,
    ) -> None:
        self._router, self._authenticate, self._bodies = router, authenticate, bodies
        self._telemetry, self._gateway, self._forwarder = telemetry, gateway, forwarder
        self._threads = ThreadPoolExecutor(WORKER_THREADS, thread_name_prefix="api")

    async def __rsgi__(self, scope: Any, protocol: Any) -> None:
        if scope.proto != "http":
            protocol.close(404)
            return
        call = Call(scope.method, request_id_of(scope.headers.get("x-request-id")), time.perf_counter())
        try:
            if scope.path == INGEST_PATH and scope.method == "POST" and self._gateway is not None:
                response = await self._ingest(self._gateway, scope, protocol, call)
            else:
                response = await self._route(scope, protocol, call)
            body = response.body if isinstance(response.body, bytes) else _ENCODER.encode(response.body)
        except Exception as exc:
            response = problem_response(call.problem_of(exc))
            body = response.body
        headers = [("content-type", response.content_type), ("x-request-id", call.request_id), *response.headers]
        protocol.response_bytes(response.status, headers, body)
        self._telemetry.served(call.owner, response.status, time.perf_counter() - call.started_s)
        call.tell(response.status)

    async def _ingest(self, gateway: Gateway, scope: Any, protocol: Any, call: Call) -> Response:
        call.path, call.is_quiet = INGEST_PATH, True
        principal = await self._authenticate(scope.headers.get("authorization"))
        call.tenant = principal.tenant
        _demand(principal, Scope.INGEST)
        content_type, encoding = scope.headers.get("content-type"), scope.headers.get("content-encoding")
        body = await self._bodies.read(scope, protocol)
        backfill_id = dict(parse_qsl(scope.query_string)).get("backfill_id") if scope.query_string else None
        return await ingest_http(gateway, principal, body, content_type, encoding, backfill_id)

    async def _route(self, scope: Any, protocol: Any, call: Call) -> Response:
        found = self._router.find(scope.method, scope.path)
        if found is None:
            if self._router.knows(scope.path):
                raise MethodNotAllowed(f"{scope.path} does not answer {scope.method}")
            raise NotFound(f"no route {scope.path}")
        route, path = found
        call.path, call.owner, call.is_quiet = route.path, route.owner, route.scope is Scope.OPEN
        principal = NOBODY
        if route.scope is not Scope.OPEN:
            principal = await self._authenticate(scope.headers.get("authorization"))
            call.tenant = principal.tenant
            _demand(principal, route.scope)
        body = await self._bodies.read(scope, protocol)
        if self._forwarder is not None and self._forwarder.owns(route.owner):
            return await self._forward(self._forwarder, route, scope, body, call)
        query = dict(parse_qsl(scope.query_string, keep_blank_values=True))
        request = Request(principal, path, query, body)  # the path came decoded
        if route.scope is Scope.OPEN:
            answer = call.answer(route, request)  # health is told even while every worker thread is busy
        else:
            answer = await asyncio.get_running_loop().run_in_executor(self._threads, call.answer, route, request)
        return answer if isinstance(answer, Response) else Response(answer)

    async def _forward(self, forwarder: Forwarder, route: Route, scope: Any, body: bytes, call: Call) -> Response:
        headers = {name: value for name in PASSED_ON if (value := scope.headers.get(name)) is not None}
        target = quote(scope.path) + (f"?{scope.query_string}" if scope.query_string else "")
        request = Forwarded(scope.method, target, headers | {"x-request-id": call.request_id}, body)
        return await asyncio.get_running_loop().run_in_executor(self._threads, forwarder.forward, route.owner, request)

    def close(self) -> None:
        """Wait for the handlers under way."""
        self._threads.shutdown(wait=True)


def _demand(principal: Principal, scope: Scope) -> None:
    if not principal.may(scope):
        raise Forbidden(f"this API key lacks the scope {scope.value}")
