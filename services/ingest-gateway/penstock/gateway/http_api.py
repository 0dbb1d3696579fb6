"""The gateway over HTTP: `POST /v1/ingest`, which the server calls straight, and the routes of API keys."""

from __future__ import annotations

from typing import Any

import msgspec

from penstock.gateway.answer import IngestAnswer
from penstock.gateway.ingest import Gateway
from penstock.gateway.keys import OPERATOR_TENANT, ApiKey, Keys
from penstock.kernel.problems import BadRequest, Forbidden
from penstock.web.page import decode_cursor, page
from penstock.web.problem import CONTENT_TYPE
from penstock.web.route import Principal, Request, Response, Route, Scope

OWNER = "gateway"
# What JSON is sent as: by SDKs, by curl without a header, by scripts.
JSON_TYPES = ("application/json", "application/x-www-form-urlencoded", "application/octet-stream", "text/plain", "")
NAME_CHARS_MAX = 200
PAGE_KEYS_MAX = 100


async def ingest_http(gateway: Gateway, principal: Principal, body: bytes, content_type: str | None) -> Response:
    """200 when nothing was rejected, else 400: the SDK discards a 200's body. The good events are durable in both."""
    if not principal.may(Scope.INGEST):
        raise Forbidden("this API key may not ingest: it lacks the scope ingest")
    media_type = (content_type or "").partition(";")[0].strip().lower()
    if media_type not in JSON_TYPES and not media_type.endswith("+json"):
        raise BadRequest(f"events are taken as application/json, not {media_type}", field="content-type")
    answer = await gateway.ingest(principal.tenant, body)
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
    return Response(problem | _body(answer), 400, (), CONTENT_TYPE)


def _body(answer: IngestAnswer) -> dict[str, Any]:
    return {
        **{verdict.name.lower(): count for verdict, count in answer.counts().items()},
        "receipts": answer.receipts,
        "events": [
            {
                "index": event.index,
                "transaction_id": event.transaction_id,
                "verdict": event.verdict.name.lower(),
                "reason": event.reason,
            }
            for event in answer.events
        ],
    }


class _NewKey(msgspec.Struct):
    name: str
    scopes: list[str]
    tenant: str | None = None


class KeysApi:
    """API keys, for admins. Only an admin of the tenant `default`, the operator, reaches other tenants."""

    def __init__(self, keys: Keys) -> None:
        self._keys = keys

    def routes(self) -> list[Route]:
        return [
            Route("POST", "/v1/api-keys", Scope.ADMIN, self.create, OWNER),
            Route("GET", "/v1/api-keys", Scope.ADMIN, self.list, OWNER),
            Route("POST", "/v1/api-keys/{key_id}/revoke", Scope.ADMIN, self.revoke, OWNER),
        ]

    def create(self, request: Request) -> dict[str, Any]:
        new = request.json(_NewKey)
        if not 0 < len(new.name) <= NAME_CHARS_MAX:
            raise BadRequest(f"name needs 1 to {NAME_CHARS_MAX} characters", field="name")
        key, text = self._keys.create(_tenant(request, new.tenant), new.name, _scopes(new.scopes))
        return {"data": _view(key) | {"key": text}}

    def list(self, request: Request) -> dict[str, Any]:
        tenant = _tenant(request, request.query.get("tenant"))
        limit = request.limit(PAGE_KEYS_MAX, PAGE_KEYS_MAX)
        rows = self._keys.list(tenant, decode_cursor(request.query.get("next_page")), limit + 1)
        return page([_view(key) for _, key in rows], limit, rows[:limit][-1][0] if rows else None)

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


def _scopes(names: list[str]) -> list[Scope]:
    grantable = {scope.value: scope for scope in Scope if scope is not Scope.OPEN}
    if not names or any(name.lower() not in grantable for name in names):
        raise BadRequest(f"scopes must be some of {', '.join(grantable)}", field="scopes")
    return [grantable[name] for name in dict.fromkeys(map(str.lower, names))]


def _view(key: ApiKey) -> dict[str, Any]:
    return {
        "id": key.id,
        "tenant": key.tenant,
        "name": key.name,
        "scopes": [scope.value for scope in key.scopes],
        "revoked": key.revoked,
        "created_at": key.created_at,
    }
