"""Routes: what a service answers, as data. `penstock.app` serves them; nothing here knows a socket.

A handler is a plain function from `Request` to anything that msgspec can write as JSON, run in a worker thread; it may
return a `Response` to set the status or headers. It raises a `Problem` for an operating error.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from enum import Enum
from typing import Any, TypeVar

import msgspec

from penstock.kernel.problems import BadRequest

T = TypeVar("T")


class Scope(Enum):
    """What an API key may do. `ADMIN` may do everything; `WRITE` may read."""

    INGEST = "ingest"
    READ = "read"
    WRITE = "write"
    ADMIN = "admin"
    OPEN = "open"  # needs no key: health and metrics


class Principal(msgspec.Struct, frozen=True):
    """Who asks: the tenant and scopes of the API key that was presented."""

    tenant: str
    key_id: str
    scopes: frozenset[Scope]

    def may(self, scope: Scope) -> bool:
        if scope is Scope.OPEN or Scope.ADMIN in self.scopes or scope in self.scopes:
            return True
        return scope is Scope.READ and Scope.WRITE in self.scopes


class Request(msgspec.Struct, frozen=True):
    """One HTTP request, already authenticated. `query` keeps the last value of a repeated name."""

    principal: Principal
    path: Mapping[str, str]
    query: Mapping[str, str]
    body: bytes

    @property
    def tenant(self) -> str:
        return self.principal.tenant

    def json(self, shape: type[T]) -> T:
        """The body as `shape`. Raise `BadRequest` that names the field where it does not fit."""
        return decode_json(self.body, shape)

    def instant(self, name: str) -> datetime | None:
        """A query parameter as an aware instant, or None where it is absent."""
        text = self.query.get(name)
        return None if text is None else parse_instant(text, name)

    def flag(self, name: str) -> bool:
        """A query parameter as a boolean; absent is false."""
        return self.query.get(name, "false").lower() == "true"

    def limit(self, default: int, maximum: int) -> int:
        """The `limit` query parameter, between 1 and `maximum`."""
        text = self.query.get("limit")
        if text is None:
            return default
        if not text.isdecimal() or not 1 <= int(text) <= maximum:
            raise BadRequest(f"limit must be a whole number from 1 to {maximum}", field="limit")
        return int(text)


class Response(msgspec.Struct, frozen=True):
    """An answer with a status or headers of its own. `body` is JSON-encoded unless it is bytes."""

    body: Any
    status: int = 200
    headers: tuple[tuple[str, str], ...] = ()
    content_type: str = "application/json"


Handler = Callable[[Request], Any]


class Route(msgspec.Struct, frozen=True):
    """`path` has named parts in braces: `/v1/customers/{customer_id}`. `owner` is the service that answers."""

    method: str
    path: str
    scope: Scope
    handler: Handler
    owner: str


class Router:
    """Finds the route of a request. Literal parts win over named ones."""

    def __init__(self, routes: Sequence[Route]) -> None:
        self._by_shape: dict[tuple[str, int], list[tuple[list[str], Route]]] = {}
        self._paths: dict[int, list[list[str]]] = {}
        for route in routes:
            parts = route.path.strip("/").split("/")
            self._by_shape.setdefault((route.method, len(parts)), []).append((parts, route))
            self._paths.setdefault(len(parts), []).append(parts)
        for candidates in self._by_shape.values():
            candidates.sort(key=lambda c: [part.startswith("{") for part in c[0]])

    def find(self, method: str, path: str) -> tuple[Route, dict[str, str]] | None:
        parts = path.strip("/").split("/")
        for pattern, route in self._by_shape.get((method, len(parts)), ()):
            if _fits(pattern, parts):
                return route, {p[1:-1]: v for p, v in zip(pattern, parts, strict=True) if p.startswith("{")}
        return None

    def knows(self, path: str) -> bool:
        """Whether any method answers this path: then the method is wrong, not the path."""
        parts = path.strip("/").split("/")
        return any(_fits(pattern, parts) for pattern in self._paths.get(len(parts), ()))


def _fits(pattern: Sequence[str], parts: Sequence[str]) -> bool:
    return all(p == v or (p.startswith("{") and v) for p, v in zip(pattern, parts, strict=True))


def decode_json(body: bytes, shape: type[T]) -> T:
    """`body` as `shape`, numbers exact. Raise `BadRequest` that names the field where it does not fit."""
    try:
        return msgspec.json.decode(body or b"{}", type=shape)
    except msgspec.ValidationError as exc:
        reason, _, place = str(exc).partition(" - at `$")
        raise BadRequest(reason, field=place.rstrip("`").lstrip(".") or None) from exc
    except (msgspec.DecodeError, UnicodeDecodeError) as exc:
        raise BadRequest(f"the body is not valid JSON: {exc}") from exc
    except RecursionError as exc:
        raise BadRequest("the body is nested too deeply") from exc


def parse_instant(text: str, field: str) -> datetime:
    """An RFC 3339 instant. Raise `BadRequest` naming `field` where it has no zone or is none at all."""
    try:
        instant = msgspec.convert(text, datetime)
    except msgspec.ValidationError as exc:
        raise BadRequest(f"{field} is not an RFC 3339 instant", field=field) from exc
    if instant.tzinfo is None:
        raise BadRequest(f"{field} has no time zone", field=field)
    return instant
