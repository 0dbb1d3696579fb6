"""What a partition has from the logs that its own log follows: the ids of its share, their clock, and events to fill.

Numbers of partitions go on from log to log, so what is stored of a sealed one is true for ever, as of its marker. Its
ids are read by hash range. Nobody owns it, so a metric that comes later is filled there, as of its end, by a partition
of the newest log: whoever writes such a cell writes the same.
"""

from __future__ import annotations

import heapq
import itertools
from collections import Counter
from collections.abc import Iterator
from operator import itemgetter

import numpy as np

from penstock.aggregator.fill import Filling
from penstock.aggregator.layers import layer_lives, of_tenant
from penstock.kernel.cell import FILLED_US
from penstock.kernel.identity import BodyHashes, Identities, partition_of
from penstock.kernel.layer import LayerLife
from penstock.kernel.meter import Metric
from penstock.kernel.ports.fold_store import Stretch
from penstock.kernel.ports.usage_store import UsageStore
from penstock.kernel.problems import Refused
from penstock.kernel.record import LogIdentity, Marker

DayOfIds = tuple[int, Identities, BodyHashes]


class NotDrained(Refused):
    """A sealed partition has no marker in this usage store: what came to it was never folded here."""


class SealReached(Refused):
    """The log takes no more, and all of the partition is folded."""

    def __init__(self, partition: int) -> None:
        super().__init__(
            f"partition {partition} is folded to its seal: penstock repartition has ended this log. Set the partition "
            "count of the log that follows, and start again"
        )


class Heritage:
    """Of one partition of the log. An `IdSource` for its shelf; without sealed logs it is the store as it is."""

    def __init__(self, store: UsageStore, log: LogIdentity, partition: int) -> None:
        self._store, self._log, self._partition = store, log, partition
        self._ends: dict[int, Marker] = {}
        self._fills: dict[tuple[int, str], int] = {}
        self._layers: dict[int, dict[str, LayerLife]] = {}
        self._unfilled: list[Filling] = []

    def read(self) -> None:
        """Read where the sealed partitions end, and what is filled in them. Raise `NotDrained`."""
        if not self._log.first:
            return
        markers = self._store.markers()
        missing = [p for p in range(self._log.first) if p not in markers]
        if missing:
            raise NotDrained(f"the usage store has no marker of the sealed partitions {missing}")
        self._ends = {p: markers[p] for p in range(self._log.first)}
        self._fills = self._store.fills(None)
        self._layers = {p: layer_lives(self._store.control_records(p)) for p in self._ends}
        self._unfilled = []

    @property
    def clock_us(self) -> int:
        """The log clock at which this partition begins: that of the logs before it, which never goes back."""
        return max((end.clock_us for end in self._ends.values()), default=0)

    def begin(self) -> Marker | None:
        """As of what the ids are restored before the first flush: the first record, which holds no events."""
        log = self._log
        return Marker(self._partition, 0, log.log_id, log.partitions, b"", self.clock_us) if log.first else None

    def ids(self, partition: int, stretch: Stretch) -> Iterator[DayOfIds]:
        """As `FoldStore.ids`, of this log's partition and of what it inherited."""
        parts = [self._share(p, of_sealed) for p, of_sealed in self._inherited(stretch)]
        days = heapq.merge(*parts, self._store.ids(partition, stretch), key=itemgetter(0))
        for day, of_day in itertools.groupby(days, key=itemgetter(0)):
            _, ids, bodies = zip(*of_day, strict=True)
            yield day, np.concatenate(ids), np.concatenate(bodies)

    def count_ids(self, partition: int, stretch: Stretch) -> dict[int, int]:
        counts = Counter(self._store.count_ids(partition, stretch))
        for sealed, of_sealed in self._inherited(stretch):
            of_day = self._store.count_ids(sealed, of_sealed)  # hashes are even: of those, a share is this one's
            counts.update({day: -(-count // self._log.partitions) for day, count in of_day.items()})
        return dict(sorted(counts.items()))

    def known(self, partition: int, stretch: Stretch, asked: Identities) -> tuple[Identities, BodyHashes]:
        parts = [self._store.known(p, of_sealed, asked) for p, of_sealed in self._inherited(stretch)]
        ids, bodies = zip(*parts, self._store.known(partition, stretch, asked), strict=True)
        return np.concatenate(ids), np.concatenate(bodies)

    def _inherited(self, stretch: Stretch) -> Iterator[tuple[int, Stretch]]:
        """The sealed partitions, and the same days of each: what was inherited comes before every own id of its day."""
        since_day = stretch.since_day if stretch.above < 0 else stretch.since_day + 1
        for sealed, end in self._ends.items():
            yield sealed, Stretch(since_day, end.offset, until_day=stretch.until_day)

    def _share(self, sealed: int, stretch: Stretch) -> Iterator[DayOfIds]:
        at = self._log.own.index(self._partition)
        for day, ids, bodies in self._store.ids(sealed, stretch):
            mine = partition_of(ids, self._log.partitions) == at
            yield day, ids[mine], bodies[mine]

    def define(self, metric: Metric) -> None:
        """Let the metric be filled in those sealed partitions that are this one's to look after."""
        at = self._log.own.index(self._partition)
        for sealed, end in self._ends.items():
            if sealed % self._log.partitions == at and self._fills.get((sealed, metric.id)) != FILLED_US:
                layers = of_tenant(self._layers[sealed], metric.tenant)
                self._unfilled.append(Filling(metric, end.offset, sealed, self._log.end, layers))

    @property
    def unfilled(self) -> tuple[Filling, ...]:
        """The fills of sealed partitions that were not written when the owner began, in order of definition."""
        return tuple(self._unfilled)
