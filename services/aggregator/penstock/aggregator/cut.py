"""Read cells as one cut: the markers first, then the cells, and again where a cell is ahead of its marker."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import TypeVar

from penstock.aggregator.usage import CONSISTENT_TRIES_MAX, RETRY_DELAY_MS
from penstock.kernel.ports.usage_store import UsageStore
from penstock.kernel.problems import StoreUnavailable
from penstock.kernel.record import Marker

T = TypeVar("T")


def read_as_one_cut(store: UsageStore, read: Callable[[], tuple[T, Mapping[int, int]]]) -> tuple[T, dict[int, Marker]]:
    """What `read` found, and the markers as of which it is. `read` also gives the greatest version of each partition.

    Raise `StoreUnavailable` where flushes leave no room for a cut.
    """
    for _ in range(CONSISTENT_TRIES_MAX):
        markers = store.markers()
        found, versions = read()
        if all(p in markers and version <= markers[p].offset for p, version in versions.items()):
            return found, markers
        time.sleep(RETRY_DELAY_MS / 1000)
    raise StoreUnavailable("the usage store is flushing without a pause", retry_after_s=1)
