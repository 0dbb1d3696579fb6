"""Fill a metric that came after its events: cells as of its control record, written beside the fold, piece by piece.

A cell that the job writes has the record's offset as its version, so it never replaces what the fold has written since,
and a batch written twice, late or by two jobs changes nothing. Until the row that says "filled" is there, an absent
cell is not zero: the owner of the partition computes it (`fill.bases`; DESIGN.md section 3, reference/CORE.md hole 5).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import Counter
from collections.abc import Callable, Sequence

from penstock.aggregator.combinations import filled_combinations
from penstock.aggregator.fill import Filling
from penstock.kernel.cell import FILLED_US, Cell, CellKey
from penstock.kernel.ports.usage_store import UsageStore
from penstock.kernel.problems import Problem
from penstock.kernel.window import Span, from_us

EVENTS_PER_BATCH = 50_000
US_PER_HOUR = 3_600_000_000
# Between two batches the job rests as long as the last one took, so that the fold has the engine half of the time.
REST_MS_MIN = 20
RETRY_DELAY_MS = 1_000

logger = logging.getLogger(__name__)


def stretches(hours: Sequence[tuple[int, int]], begun_us: int) -> list[tuple[int, int]]:
    """Hours that may hold events, from `begun_us` on, joined while they hold at most a batch: (start, end)."""
    out: list[tuple[int, int]] = []
    held = 0
    for hour_us, events in hours:
        if hour_us < begun_us:
            continue
        if out and held + events <= EVENTS_PER_BATCH:
            out[-1] = (out[-1][0], hour_us + US_PER_HOUR)
            held += events
        else:
            out.append((hour_us, hour_us + US_PER_HOUR))
            held = events
    return out


class FillJob:
    """The fills of one owner, one batch at a time. What it remembers only spares work: the store has the truth."""

    def __init__(self, store: UsageStore) -> None:
        self._store = store
        self._left: dict[tuple[int, str], list[tuple[int, int]]] = {}
        self._filled: set[tuple[int, str]] = set()
        self._looking: asyncio.Event | None = None
        self._is_stopped = False

    def is_due(self, filling: Filling, marker_offset: int) -> bool:
        """Whether every event before the record is stored, and this job has not seen the end of the fill."""
        return filling.offset <= marker_offset and filling.key not in self._filled

    def step(self, filling: Filling) -> None:
        """Write one batch; with the last one say that the metric is filled. Raise `StoreUnavailable`: do it again."""
        if filling.key not in self._left:
            self._left[filling.key] = self._planned(filling)
        left = self._left[filling.key]
        cells: dict[CellKey, Cell] = {}
        partition = filling.partition
        if left:
            span = Span(*map(from_us, left[0]))
            for scope in filling.scopes:
                made = filling.cells(self._store, scope, None, span)
                if filling.metric.group_keys:
                    made |= filled_combinations(self._store, filling.metric, partition, filling.offset, made)
                cells |= made
        through_us = left[0][1] if len(left) > 1 else FILLED_US
        self._store.write_fill(*filling.key, cells, through_us)
        del left[:1]
        if through_us == FILLED_US:
            del self._left[filling.key]
            self._filled.add(filling.key)

    def _planned(self, filling: Filling) -> list[tuple[int, int]]:
        """What is left to do, whoever began it."""
        begun_us = self._store.fills(filling.partition).get(filling.key, 0)
        if begun_us == FILLED_US:
            return []
        hours: Counter[int] = Counter()
        for scope in filling.scopes:
            hours.update(dict(self._store.event_hours(scope, filling.partition, filling.offset)))
        return stretches(sorted(hours.items()), begun_us)

    async def run(self, next_due: Callable[[], Filling | None]) -> None:
        """Fill what is due, a batch at a time, until `stop`. A passing error is logged, and the batch done again."""
        self._looking = asyncio.Event()
        while not self._is_stopped:
            due, rest_s = next_due(), None
            if due is not None:
                began_s = time.monotonic()
                try:
                    await asyncio.to_thread(self.step, due)
                    rest_s = max(REST_MS_MIN / 1000, time.monotonic() - began_s)
                except Problem as exc:
                    logger.warning("the fill of %s in partition %d waits: %s", due.metric.id, due.partition, exc)
                    rest_s = RETRY_DELAY_MS / 1000
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._looking.wait(), rest_s)
            self._looking.clear()

    def look(self) -> None:
        """There may be something to fill."""
        if self._looking is not None:
            self._looking.set()

    def stop(self) -> None:
        """Let `run` return after the batch under way, or at once where it has not begun."""
        self._is_stopped = True
        self.look()
