"""In one process the fold shares two cores with the gateway: slow the gateway down before usage falls far behind.

The log decouples the two, so this only delays a batch, and by a bounded time: while the usage store is away, events
go on being accepted. The further the fold is behind, the longer: to hold every batch until it has caught up would let
no acknowledgement through for as long as a flush takes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from penstock.aggregator.consume import Owner
from penstock.kernel.ports.clock import Clock
from penstock.kernel.window import to_us

DELAY_MS_MAX = 500
LAG_PER_DELAY = 5  # milliseconds beyond the limit for which a batch is delayed by one
LOOK_EVERY_MS = 5


class FoldPressure:
    """`room` waits where any partition is folding records older than `lag_ms_max`."""

    def __init__(self, owners: Sequence[Owner], clock: Clock, lag_ms_max: int) -> None:
        self._owners = owners
        self._clock = clock
        self._lag_us_max = lag_ms_max * 1_000

    async def room(self) -> None:
        for waited_ms in range(0, DELAY_MS_MAX, LOOK_EVERY_MS):
            if self._beyond_us() <= waited_ms * 1_000 * LAG_PER_DELAY:
                return
            await asyncio.sleep(LOOK_EVERY_MS / 1_000)

    def _beyond_us(self) -> int:
        """By how much the oldest record under way is older than it may be; below zero where none is."""
        oldest_us = min((o.folding_since_us for o in self._owners if o.folding_since_us), default=0)
        return to_us(self._clock.now()) - oldest_us - self._lag_us_max if oldest_us else -1
