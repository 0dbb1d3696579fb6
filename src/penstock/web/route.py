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

from penstock.kernel.problems import BadRequest, Forbidden
from penstock.web.instant import parse_instant

T = TypeVar("T")


# Who runs this installation: the admins of this tenant may do what concerns every tenant.
OPERATOR_TENANT = "default"


class Scope(Enum):
    """What an API key may do. `ADMIN` may do everything; `WRITE` may read."""

    INGEST = "ingest"
    READ = "read"
    WRITE = "write"
    ADMIN = "admin"
    OPEN = "open"  # needs no key: health and metrics


class Principal(msgspec.Struct, frozen=True):
    """Who asks: the tenant and scopes of the API key that was presented, and the one customer it may read, if one."""

    tenant: str
    key_id: str
    scopes: frozenset[Scope]
    customer_id: str | None = None

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
        if not text.isdecimal() or len(text) > len(str(maximum)) or not 1 <= int(text) <= maximum:
            raise BadRequest(f"limit must be a whole number from 1 to {maximum}", field="limit")
        return int(text)


class Response(msgspec.Struct, frozen=True):
    """An answer with a status or headers of its own. `body` is JSON-encoded unless it is bytes."""

    body: Any
    status: int = 200
    headers: tuple[tuple[str, str], ...] = ()
    content_type: str = "application/json"


Handler = Callable[[Request], Any]
# The customers whose data a request reads; none of them where it may reach more than it names.
CustomersOf = Callable[[Request], Sequence[str]]


class Route(msgspec.Struct, frozen=True):
    """`path` has named parts in braces: `/v1/customers/{customer_id}`. `owner` is the service that answers.

    `customers` says which customers a request names. A route without it is closed to a key of one customer.
    """

    method: str
    path: str
    scope: Scope
    handler: Handler
    owner: str
    customers: CustomersOf | None = None
    takes_slashes: bool = False  # the last named part is all that is left of the path: an id of the caller's making

    def answer(self, request: Request) -> Any:
        """What the handler gives. Raise `Forbidden` where the key is of one customer and the request reaches others."""
        only = request.principal.customer_id
        if only is not None and self.scope is not Scope.OPEN:
            named = self.customers(request) if self.customers is not None else ()
            if not named or any(customer != only for customer in named):
                raise Forbidden("this API key reads one customer: ask for it alone, and by its id")
        return self.handler(request)


class _Naming(msgspec.Struct):
    customer_id: str | None = None


def customer_in_path(request: Request) -> Sequence[str]:
    return (request.path["customer_id"],)


def customer_in_query(request: Request) -> Sequence[str]:
    named = request.query.get("customer_id")
    return () if named is None else (named,)


def customer_in_body(request: Request) -> Sequence[str]:
    named = request.json(_Naming).customer_id
    return () if named is None else (named,)


class Router:
    """Finds the route of a request. Literal parts win over named ones."""

    def __init__(self, routes: Sequence[Route]) -> None:
        self._by_shape: dict[tuple[str, int], list[tuple[list[str], Route]]] = {}
        self._paths: dict[int, list[list[str]]] = {}
        self._open_ended = [(r.path.strip("/").split("/"), r) for r in routes if r.takes_slashes]
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
                return route, _named(pattern, parts)
        for pattern, route in self._open_ended:
            folded = [*parts[: len(pattern) - 1], "/".join(parts[len(pattern) - 1 :])]
            if route.method == method and len(folded) == len(pattern) and _fits(pattern, folded):
                return route, _named(pattern, folded)
        return None

    def knows(self, path: str) -> bool:
        """Whether any method answers this path: then the method is wrong, not the path."""
        parts = path.strip("/").split("/")
        return any(_fits(pattern, parts) for pattern in self._paths.get(len(parts), ()))


def _named(pattern: Sequence[str], parts: Sequence[str]) -> dict[str, str]:
    return {p[1:-1]: v for p, v in zip(pattern, parts, strict=True) if p.startswith("{")}


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
