"""API keys: made, kept as hashes, found without a query per request, revoked.

A key is `pk_<id>_<secret>`, or any text of the operator's choice, whose id is then the start of its hash. Only the
SHA-256 of the secret is stored: secrets here are random and long, so a slow hash would add nothing but latency.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import msgspec

from penstock.kernel.ports import Catalog, Clock, Item
from penstock.kernel.problems import BadRequest, NotFound, Unauthorized
from penstock.web.route import Principal, Scope

KIND = "api_key"
OPERATOR_TENANT = "default"
GIVEN_KEY_CHARS_MIN = 16
# How long a key that another process revoked may still be taken here.
CACHE_TTL = timedelta(seconds=2)


class ApiKey(msgspec.Struct, frozen=True):
    """A key as it is stored. `secret_hash` is the SHA-256 of its secret, as hex."""

    id: str
    tenant: str
    name: str
    scopes: tuple[Scope, ...]
    secret_hash: str
    created_at: datetime
    revoked: bool = False


class Keys:
    """The API keys of every tenant, over a catalog. Safe to call from any thread."""

    def __init__(self, catalog: Catalog, clock: Clock) -> None:
        self._catalog, self._clock = catalog, clock
        self._known: dict[str, ApiKey] = {}
        self._stale_at = datetime.min.replace(tzinfo=UTC)

    def authenticate(self, header: str | None) -> Principal:
        """Who presents this `Authorization` header. Raise `Unauthorized`, never saying what was wrong with the key."""
        scheme, _, token = (header or "").strip().partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise Unauthorized("no API key: send the header Authorization: Bearer <key>")
        key_id, secret = _parse(token.strip())
        key = self._current().get(key_id)
        if key is None or not hmac.compare_digest(key.secret_hash, _hash(secret)) or key.revoked:
            raise Unauthorized("the API key is not valid")
        return Principal(key.tenant, key.id, frozenset(key.scopes))

    def create(self, tenant: str, name: str, scopes: Sequence[Scope]) -> tuple[ApiKey, str]:
        """A new key and its text, which is nowhere else and never shown again."""
        text = f"pk_{secrets.token_hex(8)}_{secrets.token_urlsafe(32)}"
        return self._put(text, tenant, name, scopes), text

    def revoke(self, tenant: str, key_id: str) -> ApiKey:
        """End a key at once. Idempotent. Raise `NotFound`."""
        item = self._catalog.get(tenant, KIND, key_id)
        if item is None:
            raise NotFound(f"no API key {key_id}")
        key = msgspec.structs.replace(msgspec.json.decode(item.body, type=ApiKey), revoked=True)
        revised = msgspec.structs.replace(item, body=msgspec.json.encode(key))
        self._catalog.put([revised], self._clock.now())
        self._forget()
        return key

    def list(self, tenant: str, after: int = 0, limit: int | None = None) -> list[tuple[int, ApiKey]]:
        """The tenant's keys with their sequence, revoked ones too."""
        items = self._catalog.list(tenant, KIND, None, after, limit)
        return [(item.sequence, msgspec.json.decode(item.body, type=ApiKey)) for item in items]

    def bootstrap(self, given: str | None) -> str | None:
        """Make sure that the operator has an admin key: the given one, else a new one if there is none at all.

        Return the text of a key that was made here, to be shown once; None where the operator already knows it.
        """
        if given is None:
            if self._catalog.list(OPERATOR_TENANT, KIND, None, 0, 1):
                return None
            return self.create(OPERATOR_TENANT, "bootstrap", [Scope.ADMIN])[1]
        if len(given) < GIVEN_KEY_CHARS_MIN:
            raise BadRequest(f"the bootstrap API key needs at least {GIVEN_KEY_CHARS_MIN} characters")
        if self._catalog.get(OPERATOR_TENANT, KIND, _parse(given)[0]) is None:
            self._put(given, OPERATOR_TENANT, "bootstrap", [Scope.ADMIN])
        return None

    def _put(self, text: str, tenant: str, name: str, scopes: Sequence[Scope]) -> ApiKey:
        key_id, secret = _parse(text)
        now = self._clock.now()
        key = ApiKey(key_id, tenant, name, tuple(scopes), _hash(secret), now)
        self._catalog.put([Item(tenant, KIND, key_id, msgspec.json.encode(key))], now)
        self._forget()
        return key

    def _current(self) -> dict[str, ApiKey]:
        now = self._clock.now()
        if now >= self._stale_at:
            keys = (msgspec.json.decode(item.body, type=ApiKey) for item in self._catalog.list(None, KIND))
            self._known = {key.id: key for key in keys}
            self._stale_at = now + CACHE_TTL
        return self._known

    def _forget(self) -> None:
        self._stale_at = datetime.min.replace(tzinfo=UTC)


def _parse(text: str) -> tuple[str, str]:
    """The key's id and its secret."""
    prefix, _, rest = text.partition("_")
    key_id, _, secret = rest.partition("_")
    if prefix == "pk" and key_id and secret:
        return key_id, secret
    return _hash(text)[:16], text


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
