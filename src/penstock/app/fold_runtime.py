"""Who runs the owners of partitions: here one task in this process for each partition that the settings name."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Protocol

from penstock.aggregator.consume import Owner
from penstock.kernel.problems import Problem

logger = logging.getLogger(__name__)


class FoldRuntime(Protocol):
    """Runs owners from `start` to `stop`. Which partitions it has may change in between."""

    @property
    def owners(self) -> Sequence[Owner]:
        """The owners of the partitions that are this process's now."""
        ...

    async def start(self) -> None:
        """Begin to fold. Raise `Refused` for a log or a store that must not be folded."""
        ...

    async def run(self) -> None:
        """Return never. What ends an owner is raised."""
        ...

    async def stop(self, within_s: float | None) -> None:
        """Fold what the log holds, for so long at most, and end. What is not folded then is folded after a start."""
        ...


class OwnerTasks:
    """Implements `FoldRuntime` for a fixed set of partitions, which no other process may have."""

    def __init__(self, owners: Sequence[Owner]) -> None:
        self.owners = owners
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        for owner in self.owners:
            try:
                await owner.restore()
            except Problem as exc:
                logger.warning("partition %d is restored later: %s", owner.partition, exc)
        self._tasks = [asyncio.create_task(owner.run()) for owner in self.owners]

    async def run(self) -> None:
        done, _ = await asyncio.wait(self._tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
        raise RuntimeError("a partition's owner ended by itself")

    async def stop(self, within_s: float | None) -> None:
        for owner in self.owners:
            owner.stop()
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=within_s)
            for task in late:
                task.cancel()
            for ended in await asyncio.gather(*self._tasks, return_exceptions=True):
                if isinstance(ended, Exception):
                    raise ended
