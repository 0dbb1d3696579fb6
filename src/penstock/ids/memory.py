"""A shelf without files: every id in memory, and all of them read from the store at a start."""

from __future__ import annotations

from penstock.ids.segment import first_live
from penstock.kernel.idset import IdSet
from penstock.kernel.ports.fold_store import IdSource, Stretch
from penstock.kernel.record import Marker


class MemoryShelf:
    """The reference that the files must agree with."""

    def __init__(self, partition: int) -> None:
        self._partition = partition

    def restore(self, marker: Marker | None, store: IdSource) -> IdSet:
        ids = IdSet()
        if marker is not None:
            live = Stretch(first_live(marker).day, marker.offset)
            for day, identities, bodies in store.ids(self._partition, live):
                ids.restore(day, identities, bodies)
        return ids

    def tend(self, ids: IdSet, marker: Marker) -> None:
        """Nothing to keep elsewhere."""

    def close(self) -> None:
        """Nothing to let go of."""
