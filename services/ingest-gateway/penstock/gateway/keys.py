"""API keys: made, kept as hashes, found without a query per request, rotated, revoked.

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

from penstock.kernel.ports.catalog import Catalog, Item
from penstock.kernel.ports.clock import Clock
from penstock.kernel.problems import BadRequest, Conflict, NotFound, Unauthorized
from penstock.web.route import OPERATOR_TENANT, Principal, Scope

KIND = "api_key"
GIVEN_KEY_CHARS_MIN = 16
NAME_CHARS_MAX = 200
# How long a key that another process revoked may still be taken here.
CACHE_TTL = timedelta(seconds=2)
OVERLAP_DEFAULT = timedelta(days=1)
OVERLAP_MAX = timedelta(days=30)
# What the secret of an unknown key is compared with, so that it takes as long as a wrong secret.
_NO_HASH = "0" * 64


class ApiKey(msgspec.Struct, frozen=True):
    """A key as it is stored. `secret_hash` is the SHA-256 of its secret, as hex.

    `previous_hash` is that of the secret before the last rotation, which is good until `previous_until`.
    `customer_id` is the one customer that the key may read; None for all.
    """

    id: str
    tenant: str
    name: str
    scopes: tuple[Scope, ...]
    secret_hash: str
    created_at: datetime
    revoked: bool = False
    customer_id: str | None = None
    previous_hash: str | None = None
    previous_until: datetime | None = None

    def takes(self, secret_hash: str, now: datetime) -> bool:
        """Whether the secret is the key's. Both secrets are always compared, each in constant time."""
        is_new = hmac.compare_digest(self.secret_hash, secret_hash)
        is_old = hmac.compare_digest(self.previous_hash or _NO_HASH, secret_hash)
        in_overlap = self.previous_until is not None and now < self.previous_until
        return not self.revoked and (is_new or (is_old and in_overlap))


class Keys:
    """The API keys of every tenant, over a catalog. Safe to call from any thread."""

    def __init__(self, catalog: Catalog, clock: Clock) -> None:
        self._catalog, self._clock = catalog, clock
        self._known: dict[str, tuple[ApiKey, Principal]] = {}
        self._stale_at = datetime.min.replace(tzinfo=UTC)

    def authenticate(self, header: str | None) -> Principal:
        """Who presents this `Authorization` header. Raise `Unauthorized`, never saying what was wrong with the key."""
        scheme, _, token = (header or "").strip().partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise Unauthorized("no API key: send the header Authorization: Bearer <key>")
        key_id, secret_hash = _parse(token.strip())
        now = self._clock.now()
        key, principal = self._current(now).get(key_id, (None, None))
        if key is None:
            hmac.compare_digest(_NO_HASH, secret_hash)
        if key is None or principal is None or not key.takes(secret_hash, now):
            raise Unauthorized("the API key is not valid")
        return principal

    def create(
        self, tenant: str, name: str, scopes: Sequence[Scope], customer_id: str | None = None
    ) -> tuple[ApiKey, str]:
        """A new key and its text, which is nowhere else and never shown again.

        Raise `BadRequest` for a `customer_id` beside any scope but `read`: only reading can be of one customer.
        """
        if not 0 < len(name) <= NAME_CHARS_MAX:
            raise BadRequest(f"name needs 1 to {NAME_CHARS_MAX} characters", field="name")
        if customer_id is not None and (not customer_id or list(scopes) != [Scope.READ]):
            raise BadRequest("a key of one customer has its id, and the scope read alone", field="customer_id")
        text = f"pk_{secrets.token_hex(8)}_{_new_secret()}"
        return self._put(text, tenant, name, scopes, customer_id), text

    def rotate(self, tenant: str, key_id: str, overlap: timedelta = OVERLAP_DEFAULT) -> tuple[ApiKey, str]:
        """A new secret for a key, and the key's new text; the secret so far is good for `overlap` longer.

        The one before that ends at once. Raise `NotFound`, or `Conflict` for a revoked key.
        """
        if not timedelta(0) <= overlap <= OVERLAP_MAX:
            raise BadRequest(f"the overlap is from 0 seconds to {OVERLAP_MAX.days} days", field="overlap_seconds")
        item, key = self._stored(tenant, key_id)
        if key.revoked:
            raise Conflict(f"API key {key_id} is revoked")
        secret, until = _new_secret(), self._clock.now() + overlap
        return self._revise(
            item, key, secret_hash=_hash(secret), previous_hash=key.secret_hash, previous_until=until
        ), f"pk_{key_id}_{secret}"

    def revoke(self, tenant: str, key_id: str) -> ApiKey:
        """End a key at once, with every secret it has. Idempotent. Raise `NotFound`."""
        return self._revise(*self._stored(tenant, key_id), revoked=True)

    def _stored(self, tenant: str, key_id: str) -> tuple[Item, ApiKey]:
        item = self._catalog.get(tenant, KIND, key_id)
        if item is None:
            raise NotFound(f"no API key {key_id}")
        return item, msgspec.json.decode(item.body, type=ApiKey)

    def _revise(self, item: Item, key: ApiKey, **changes: object) -> ApiKey:
        revised = msgspec.structs.replace(key, **changes)
        self._catalog.put([msgspec.structs.replace(item, body=msgspec.json.encode(revised))], self._clock.now())
        self._forget()
        return revised

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

    def _put(
        self, text: str, tenant: str, name: str, scopes: Sequence[Scope], customer_id: str | None = None
    ) -> ApiKey:
        key_id, secret_hash = _parse(text)
        now = self._clock.now()
        key = ApiKey(key_id, tenant, name, tuple(scopes), secret_hash, now, customer_id=customer_id)
        self._catalog.put([Item(tenant, KIND, key_id, msgspec.json.encode(key))], now)
        self._forget()
        return key

    def _current(self, now: datetime) -> dict[str, tuple[ApiKey, Principal]]:
        if now >= self._stale_at:
            keys = (msgspec.json.decode(item.body, type=ApiKey) for item in self._catalog.list(None, KIND))
            self._known = {key.id: (key, _principal(key)) for key in keys}
            self._stale_at = now + CACHE_TTL
        return self._known

    def _forget(self) -> None:
        self._stale_at = datetime.min.replace(tzinfo=UTC)


def _principal(key: ApiKey) -> Principal:
    return Principal(key.tenant, key.id, frozenset(key.scopes), key.customer_id)


def _parse(text: str) -> tuple[str, str]:
    """The key's id and the hash of its secret."""
    prefix, _, rest = text.partition("_")
    key_id, _, secret = rest.partition("_")
    if prefix == "pk" and key_id and secret:
        return key_id, _hash(secret)
    secret_hash = _hash(text)
    return secret_hash[:16], secret_hash


def parse_scopes(names: Sequence[str]) -> list[Scope]:
    """Raise `BadRequest` for none, or for one that no key can have."""
    grantable = {scope.value: scope for scope in Scope if scope is not Scope.OPEN}
    if not names or any(name.lower() not in grantable for name in names):
        raise BadRequest(f"scopes must be some of {', '.join(grantable)}", field="scopes")
    return [grantable[name] for name in dict.fromkeys(map(str.lower, names))]


def _new_secret() -> str:
    return secrets.token_urlsafe(32)


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
