"""The gateway over HTTP: `POST /v1/ingest`, which the server calls straight, and the routes of API keys."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import msgspec

from penstock.gateway.answer import IngestAnswer, Receipt
from penstock.gateway.encodings import encoding_of, unpack
from penstock.gateway.formats import format_of
from penstock.gateway.ingest import Gateway
from penstock.gateway.keys import OVERLAP_DEFAULT, ApiKey, Keys, parse_scopes
from penstock.kernel.problems import BadRequest, Forbidden
from penstock.web.page import decode_cursor, page
from penstock.web.problem import CONTENT_TYPE
from penstock.web.route import OPERATOR_TENANT, Principal, Request, Response, Route, Scope

OWNER = "gateway"
# A body that may take longer than this to unpack is unpacked in a thread, a few at a time: each may become large.
UNPACK_INLINE_BYTES_MAX = 64 * 1024
PAGE_KEYS_MAX = 100


async def ingest_http(
    gateway: Gateway,
    principal: Principal,
    body: bytes,
    content_type: str | None,
    content_encoding: str | None = None,
    backfill_id: str | None = None,
) -> Response:
    """200 when nothing was rejected, else 400: the SDK discards a 200's body. The good events are durable in both."""
    if not principal.may(Scope.INGEST):
        raise Forbidden("this API key may not ingest: it lacks the scope ingest")
    form, encoding = format_of(content_type), encoding_of(content_encoding)
    if encoding is not None:
        body = await _unpacked(gateway, body, encoding)
    answer = await gateway.ingest(principal.tenant, body, form, backfill_id)
    if not answer.rejected:
        return Response(_body(answer))
    detail = f"{answer.rejected} of the events were rejected, see `events`; {answer.accepted} were accepted"
    problem = {
        "type": "urn:penstock:problem:events-rejected",
        "title": "Events rejected",
        "status": 400,
        "detail": detail,
        "message": detail,
    }
    return Response(problem | msgspec.structs.asdict(_body(answer)), 400, (), CONTENT_TYPE)


async def _unpacked(gateway: Gateway, body: bytes, encoding: str) -> bytes:
    bytes_max = gateway.settings.request_bytes_max
    if len(body) <= UNPACK_INLINE_BYTES_MAX:
        return unpack(body, encoding, bytes_max)
    gateway.budget.take(len(body))
    try:
        async with gateway.unpacking:
            return await asyncio.to_thread(unpack, body, encoding, bytes_max)
    finally:
        gateway.budget.give_back(len(body))


class _Body(msgspec.Struct):
    """An answer as it is written; each event of it has its verdict by name."""

    accepted: int
    duplicate: int
    conflict: int
    rejected: int
    receipts: tuple[Receipt, ...]
    events: list[dict[str, Any]]


def _body(answer: IngestAnswer) -> _Body:
    return _Body(
        answer.accepted,
        answer.duplicate,
        answer.conflict,
        answer.rejected,
        answer.receipts,
        [
            {
                "index": event.index,
                "transaction_id": event.transaction_id,
                "verdict": event.verdict.name.lower(),
                "reason": event.reason,
            }
            for event in answer.events
        ],
    )


class _NewKey(msgspec.Struct):
    name: str
    scopes: list[str]
    tenant: str | None = None
    customer_id: str | None = None


class _Rotation(msgspec.Struct):
    overlap_seconds: int = int(OVERLAP_DEFAULT.total_seconds())


class KeysApi:
    """API keys, for admins. Only an admin of the tenant `default`, the operator, reaches other tenants."""

    def __init__(self, keys: Keys) -> None:
        self._keys = keys

    def routes(self) -> list[Route]:
        return [
            Route("POST", "/v1/api-keys", Scope.ADMIN, self.create, OWNER),
            Route("GET", "/v1/api-keys", Scope.ADMIN, self.list, OWNER),
            Route("POST", "/v1/api-keys/{key_id}/rotate", Scope.ADMIN, self.rotate, OWNER),
            Route("POST", "/v1/api-keys/{key_id}/revoke", Scope.ADMIN, self.revoke, OWNER),
        ]

    def create(self, request: Request) -> dict[str, Any]:
        new = request.json(_NewKey)
        scopes = parse_scopes(new.scopes)
        key, text = self._keys.create(_tenant(request, new.tenant), new.name, scopes, new.customer_id)
        return {"data": _view(key) | {"key": text}}

    def list(self, request: Request) -> dict[str, Any]:
        tenant = _tenant(request, request.query.get("tenant"))
        limit = request.limit(PAGE_KEYS_MAX, PAGE_KEYS_MAX)
        rows = self._keys.list(tenant, decode_cursor(request.query.get("next_page")), limit + 1)
        return page([_view(key) for _, key in rows], limit, rows[:limit][-1][0] if rows else None)

    def rotate(self, request: Request) -> dict[str, Any]:
        """A body is not needed; `overlap_seconds` says for how long the old secret is still good."""
        tenant, seconds = _tenant(request, request.query.get("tenant")), request.json(_Rotation).overlap_seconds
        key, text = self._keys.rotate(tenant, request.path["key_id"], timedelta(seconds=seconds))
        return {"data": _view(key) | {"key": text}}

    def revoke(self, request: Request) -> dict[str, Any]:
        tenant = _tenant(request, request.query.get("tenant"))
        return {"data": _view(self._keys.revoke(tenant, request.path["key_id"]))}


def _tenant(request: Request, asked: str | None) -> str:
    """The tenant that is meant: one's own, or any for the operator."""
    if asked is None or asked == request.tenant:
        return request.tenant
    if request.tenant != OPERATOR_TENANT:
        raise Forbidden("only the operator reaches another tenant")
    if not asked:
        raise BadRequest("tenant is empty", field="tenant")
    return asked


def _view(key: ApiKey) -> dict[str, Any]:
    return {
        "id": key.id,
        "tenant": key.tenant,
        "name": key.name,
        "scopes": [scope.value for scope in key.scopes],
        "customer_id": key.customer_id,
        "revoked": key.revoked,
        "previous_secret_until": key.previous_until,
        "created_at": key.created_at,
    }
