"""Definitions of one kind in a catalog: structs in, structs out."""

from __future__ import annotations

from typing import Generic, TypeVar

import msgspec

from penstock.kernel.ports.catalog import Catalog, Item

T = TypeVar("T", bound=msgspec.Struct)


class Stored(msgspec.Struct, Generic[T], frozen=True):
    """A definition and the catalog item that holds it."""

    item: Item
    value: T

    @property
    def tenant(self) -> str:
        return self.item.tenant

    def changed(self, value: T, unique: tuple[str, ...] | None = None) -> Item:
        """The next revision, to put: refused by the catalog where somebody else was faster."""
        keys = self.item.unique if unique is None else unique
        return msgspec.structs.replace(self.item, body=msgspec.json.encode(value), unique=keys)


class Definitions(Generic[T]):
    """All definitions of `kind`, each a `shape`."""

    def __init__(self, catalog: Catalog, kind: str, shape: type[T]) -> None:
        self._catalog = catalog
        self._kind = kind
        self._decoder = msgspec.json.Decoder(shape)

    def new(self, tenant: str, id: str, value: T, *, parent: str | None = None, unique: tuple[str, ...] = ()) -> Item:
        """The first revision, to put."""
        return Item(tenant, self._kind, id, msgspec.json.encode(value), parent, unique)

    def get(self, tenant: str, id: str) -> Stored[T] | None:
        return self._read(self._catalog.get(tenant, self._kind, id))

    def find(self, tenant: str, unique: str) -> Stored[T] | None:
        return self._read(self._catalog.find(tenant, self._kind, unique))

    def list(
        self, tenant: str | None, parent: str | None = None, after: int = 0, limit: int | None = None
    ) -> list[Stored[T]]:
        """In the order in which they were made."""
        items = self._catalog.list(tenant, self._kind, parent, after, limit)
        return [Stored(item, self._decoder.decode(item.body)) for item in items]

    def _read(self, item: Item | None) -> Stored[T] | None:
        return None if item is None else Stored(item, self._decoder.decode(item.body))
