"""The reference catalog: every revision in a dict. What it answers is what every other catalog must answer."""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Sequence
from datetime import datetime
from threading import Lock

import msgspec

from penstock.kernel.ports.catalog import Item
from penstock.kernel.problems import Conflict
from penstock.kernel.window import from_us, to_us

# (tenant, kind, id) and (tenant, kind, unique key).
Place = tuple[str, str, str]
Revisions = tuple[Item, ...]


class MemoryCatalog:
    """A `Catalog` that forgets when the process ends."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._revisions: dict[Place, Revisions] = {}  # in order of sequence: an item is never taken out
        self._holders: dict[Place, str | None] = {}

    def put(self, items: Sequence[Item], recorded_at: datetime) -> list[Item]:
        recorded_at = from_us(to_us(recorded_at))
        with self._lock:
            # Each item sees the earlier ones of its call; nobody else sees any before all are in.
            revisions = ChainMap[Place, Revisions]({}, self._revisions)
            holders = ChainMap[Place, str | None]({}, self._holders)
            stored, newest = [], len(self._revisions)
            for item in items:
                stored.append(_put(revisions, holders, item, recorded_at, newest + 1))
                newest = max(newest, stored[-1].sequence)
            self._revisions.update(revisions.maps[0])
            self._holders.update(holders.maps[0])
            return stored

    def get(self, tenant: str, kind: str, id: str, as_of: datetime | None = None) -> Item | None:
        with self._lock:
            revisions = self._revisions.get((tenant, kind, id), ())
        return next((item for item in reversed(revisions) if as_of is None or _instant(item) <= as_of), None)

    def find(self, tenant: str, kind: str, unique: str) -> Item | None:
        with self._lock:
            id = self._holders.get((tenant, kind, unique))
            return None if id is None else self._revisions[tenant, kind, id][-1]

    def list(
        self, tenant: str | None, kind: str, parent: str | None = None, after: int = 0, limit: int | None = None
    ) -> list[Item]:
        with self._lock:
            latest = [revisions[-1] for revisions in self._revisions.values()]
        return [
            item
            for item in latest
            if item.kind == kind
            and item.sequence > after
            and (tenant is None or item.tenant == tenant)
            and (parent is None or item.parent == parent)
        ][:limit]

    def close(self) -> None:
        """Nothing is held."""


def _instant(item: Item) -> datetime:
    assert item.recorded_at is not None, "a stored item knows when it was recorded"
    return item.recorded_at


def _put(
    revisions: ChainMap[Place, Revisions],
    holders: ChainMap[Place, str | None],
    item: Item,
    recorded_at: datetime,
    sequence: int,
) -> Item:
    place = (item.tenant, item.kind, item.id)
    before = revisions.get(place, ())
    if len(before) != item.revision:
        raise Conflict(f"{item.kind} {item.id} " + ("has changed" if item.revision else "exists already"))
    for key in before[-1].unique if before else ():
        holders[item.tenant, item.kind, key] = None
    for key in item.unique:
        if holders.get((item.tenant, item.kind, key)) not in (None, item.id):
            raise Conflict(f"another {item.kind} holds {key!r}")
        holders[item.tenant, item.kind, key] = item.id
    stored = msgspec.structs.replace(
        item,
        revision=len(before) + 1,
        sequence=before[0].sequence if before else sequence,
        recorded_at=recorded_at,
    )
    revisions[place] = (*before, stored)
    return stored
