"""Read cells as one cut: the markers first, then the cells, and again where a cell is ahead of its marker."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import TypeVar

from penstock.kernel.ports.usage_store import UsageStore
from penstock.kernel.problems import StoreUnavailable
from penstock.kernel.record import Marker

CONSISTENT_TRIES_MAX = 200
RETRY_DELAY_MS = 10

T = TypeVar("T")


class ReadAgain(Exception):
    """The read is no cut: a cell is ahead of its partition's marker, or what was read was replaced meanwhile."""


def read_until_consistent(read: Callable[[], T]) -> T:
    """What `read` gives once it does not raise `ReadAgain`. Raise `StoreUnavailable` where flushes leave no room."""
    for _ in range(CONSISTENT_TRIES_MAX):
        try:
            return read()
        except ReadAgain:
            time.sleep(RETRY_DELAY_MS / 1000)
    raise StoreUnavailable("the usage store is flushing without a pause", retry_after_s=1)


def read_as_one_cut(store: UsageStore, read: Callable[[], tuple[T, Mapping[int, int]]]) -> tuple[T, dict[int, Marker]]:
    """What `read` found, and the markers as of which it is. `read` also gives the greatest version of each partition.

    Raise `StoreUnavailable` where flushes leave no room for a cut.
    """

    def once() -> tuple[T, dict[int, Marker]]:
        markers = store.markers()
        found, versions = read()
        if not all(p in markers and version <= markers[p].offset for p, version in versions.items()):
            raise ReadAgain
        return found, markers

    return read_until_consistent(once)
