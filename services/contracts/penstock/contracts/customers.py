"""Customers, and the keys under which their events come: the id itself and the ingest aliases, each held by one."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from datetime import datetime

import msgspec

from penstock.contracts.definitions import Definitions, Stored
from penstock.kernel.event import CUSTOMER_KEY_CHARS_MAX
from penstock.kernel.ports.catalog import Catalog, Item
from penstock.kernel.ports.clock import Clock
from penstock.kernel.problems import BadRequest, Conflict, NotFound

NAME_CHARS_MAX = 160
ALIASES_MAX = 1_000
BATCH = 500


class Customer(msgspec.Struct, frozen=True):
    """Who uses and pays. `parent` and `bill_to` are customer ids (None: itself); `zone` an IANA name."""

    id: str
    name: str
    aliases: tuple[str, ...]
    created_at: datetime
    updated_at: datetime
    parent: str | None = None
    bill_to: str | None = None
    zone: str = "UTC"
    currency: str = "USD"
    archived_at: datetime | None = None

    @property
    def keys(self) -> tuple[str, ...]:
        """Every key under which its events may come, held by no other customer."""
        return (self.id, *(alias for alias in self.aliases if alias != self.id))


class CustomerBook:
    """The customers of all tenants; an implementation of the `Customers` port."""

    def __init__(self, catalog: Catalog, clock: Clock) -> None:
        self._catalog = catalog
        self._clock = clock
        self._customers = Definitions(catalog, "customer", Customer)

    def create(self, tenant: str, name: str, aliases: Sequence[str]) -> Customer:
        """Raise `Conflict` where another customer holds one of the aliases: nothing is created then."""
        keys = _checked_aliases(aliases)
        now = self._clock.now()
        customer = Customer(str(uuid.uuid4()), _checked_name(name), keys, now, now)
        self._catalog.put([self._new(tenant, customer)], now)
        return customer

    def get(self, tenant: str, key: str) -> Customer:
        """The customer with this id or ingest alias. Raise `NotFound`."""
        return self._stored(tenant, key).value

    def list(self, tenant: str, after: int = 0) -> Iterator[tuple[int, Customer]]:
        """Every customer with its place in the catalog, in the order of creation, above place `after`."""
        while batch := self._customers.list(tenant, after=after, limit=BATCH):
            for stored in batch:
                yield stored.item.sequence, stored.value
            after = batch[-1].item.sequence

    def set_aliases(self, tenant: str, key: str, aliases: Sequence[str]) -> Customer:
        """Replace all aliases; one that another customer holds moves here, in the same write."""
        mine, keys = self._stored(tenant, key), _checked_aliases(aliases)
        now = self._clock.now()
        robbed: dict[str, Stored[Customer]] = {}
        for alias in keys:
            holder = self._customers.find(tenant, alias)
            if holder is not None and holder.value.id != mine.value.id:
                if holder.value.id == alias:
                    raise Conflict(f"{alias!r} is the id of another customer", field="ingest_aliases")
                robbed[holder.value.id] = holder
        changed = msgspec.structs.replace(mine.value, aliases=keys, updated_at=now)
        losers = [_without(holder, keys, now) for holder in robbed.values()]
        self._catalog.put([*losers, mine.changed(changed, changed.keys)], now)
        return changed

    def rename(self, tenant: str, key: str, name: str) -> Customer:
        mine, now = self._stored(tenant, key), self._clock.now()
        changed = msgspec.structs.replace(mine.value, name=_checked_name(name), updated_at=now)
        self._catalog.put([mine.changed(changed)], now)
        return changed

    def archive(self, tenant: str, key: str) -> Customer:
        """Mark as archived. The aliases stay taken, as in Metronome. Idempotent."""
        mine, now = self._stored(tenant, key), self._clock.now()
        if mine.value.archived_at is not None:
            return mine.value
        changed = msgspec.structs.replace(mine.value, archived_at=now, updated_at=now)
        self._catalog.put([mine.changed(changed)], now)
        return changed

    def keys_of(self, tenant: str, customer_id: str) -> tuple[str, ...]:
        return self.get(tenant, customer_id).keys

    def customer_of(self, tenant: str, key: str) -> str | None:
        stored = self._customers.find(tenant, key)
        return None if stored is None else stored.value.id

    def name_of(self, tenant: str, customer_id: str) -> str:
        return self.get(tenant, customer_id).name

    def _stored(self, tenant: str, key: str) -> Stored[Customer]:
        stored = self._customers.find(tenant, key)
        if stored is None:
            raise NotFound(f"no customer has the id or ingest alias {key!r}", field="customer_id")
        return stored

    def _new(self, tenant: str, customer: Customer) -> Item:
        return self._customers.new(tenant, customer.id, customer, unique=customer.keys)


def _without(holder: Stored[Customer], keys: tuple[str, ...], now: datetime) -> Item:
    kept = tuple(alias for alias in holder.value.aliases if alias not in keys)
    loser = msgspec.structs.replace(holder.value, aliases=kept, updated_at=now)
    return holder.changed(loser, loser.keys)


def _checked_name(name: str) -> str:
    if not name.strip():
        raise BadRequest("name is empty", field="name")
    return name[:NAME_CHARS_MAX]


def _checked_aliases(aliases: Sequence[str]) -> tuple[str, ...]:
    keys = tuple(dict.fromkeys(aliases))
    if len(keys) > ALIASES_MAX:
        raise BadRequest(f"more than {ALIASES_MAX} ingest aliases", field="ingest_aliases")
    for alias in keys:
        if not 0 < len(alias) <= CUSTOMER_KEY_CHARS_MAX:
            raise BadRequest(f"an alias has 1 to {CUSTOMER_KEY_CHARS_MAX} characters", field="ingest_aliases")
    return keys
