"""Gives an idle partition a clock: a tick record in every partition, every few seconds."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from penstock.kernel.ports.event_log import EventLog
from penstock.kernel.problems import LogUnavailable
from penstock.kernel.record import Kind

logger = logging.getLogger(__name__)


async def tick(log: EventLog, now_us: int) -> None:
    """Append one tick to every partition."""
    partitions = range(log.identity.partitions)
    await asyncio.gather(*(log.append(partition, Kind.TICK, now_us, b"") for partition in partitions))


async def tick_forever(log: EventLog, now_us: Callable[[], int], interval_ms: int) -> None:
    """Tick until cancelled. A tick that is lost is no harm: the next one says more."""
    while True:
        try:
            await tick(log, now_us())
        except LogUnavailable as exc:
            logger.warning("no tick: %s", exc.detail)
        await asyncio.sleep(interval_ms / 1000)
