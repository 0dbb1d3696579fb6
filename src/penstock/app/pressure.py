"""In one process the fold shares two cores with the gateway: slow the gateway down before usage falls far behind.

The log decouples the two, so this only delays a batch, and by a bounded time: while the usage store is away, events
go on being accepted.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from penstock.aggregator.consume import Owner
from penstock.kernel.ports.clock import Clock
from penstock.kernel.window import to_us

DELAY_MS_MAX = 500
LOOK_EVERY_MS = 5


class FoldPressure:
    """`room` waits while any partition is folding records older than `lag_ms_max`."""

    def __init__(self, owners: Sequence[Owner], clock: Clock, lag_ms_max: int) -> None:
        self._owners = owners
        self._clock = clock
        self._lag_us_max = lag_ms_max * 1_000

    async def room(self) -> None:
        for _ in range(DELAY_MS_MAX // LOOK_EVERY_MS):
            oldest_us = min((o.folding_since_us for o in self._owners if o.folding_since_us), default=0)
            if not oldest_us or to_us(self._clock.now()) - oldest_us < self._lag_us_max:
                return
            await asyncio.sleep(LOOK_EVERY_MS / 1_000)
