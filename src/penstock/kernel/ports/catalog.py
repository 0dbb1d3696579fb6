"""Where a service keeps its own definitions. Called from worker threads; synchronous."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

import msgspec


class Item(msgspec.Struct, frozen=True):
    """A definition of one tenant: a customer, a contract, a metric, a rate, an API key.

    `body` is the owner's struct as JSON. `parent` groups items for listing (the rates of a card, the contracts of a
    customer). `unique` are keys that no other item of this tenant and kind may hold. `revision` counts from 1;
    `sequence` is the place of the item's first revision in the catalog, a stable cursor. Both are 0 before the put.
    """

    tenant: str
    kind: str
    id: str
    body: bytes
    parent: str | None = None
    unique: tuple[str, ...] = ()
    revision: int = 0
    sequence: int = 0
    recorded_at: datetime | None = None


class Catalog(Protocol):
    """A service's own definitions: append-only revisions, read as of now or as of an instant."""

    def put(self, items: Sequence[Item], recorded_at: datetime) -> list[Item]:
        """Append one revision of each item, all or none; return them with revision and sequence set.

        An item with `revision` 0 is new: an id that exists raises `Conflict`. Otherwise `revision` is the one that was
        read, and a later one in the catalog raises `Conflict`. A `unique` key that another item holds raises `Conflict`
        (an earlier item of the same call may have given it up).
        """
        ...

    def get(self, tenant: str, kind: str, id: str, as_of: datetime | None = None) -> Item | None:
        """The latest revision (recorded at or before `as_of`), or None."""
        ...

    def find(self, tenant: str, kind: str, unique: str) -> Item | None:
        """The item whose latest revision holds the unique key, or None."""
        ...

    def list(
        self, tenant: str | None, kind: str, parent: str | None = None, after: int = 0, limit: int | None = None
    ) -> list[Item]:
        """Latest revisions in order of `sequence`, above `after`; of every tenant where `tenant` is None."""
        ...

    def close(self) -> None: ...
