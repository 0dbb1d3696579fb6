"""The aggregator of many processes: an owner for every partition that the group gives to this one.

Nothing here makes figures right: an owner restores as of its partition's marker and reads from there, whatever was
committed, and two owners of one partition write the same rows. So a rebalance stops nobody who goes on being the owner.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Sequence

from penstock.aggregator.consume import Owner
from penstock.aggregator.faust_group import Group, GroupSettings
from penstock.aggregator.quarantine import Quarantine
from penstock.kernel.ports.event_log import EventLog, LogDamaged
from penstock.kernel.ports.fold_store import IdShelf
from penstock.kernel.ports.usage_store import UsageStore
from penstock.kernel.problems import Problem

LOOK_EVERY_MS = 2_000
REREADS_MAX = 3
REREAD_DELAY_MS = 500

logger = logging.getLogger(__name__)


class FaustOwners:
    """The owners of this process. `start` returns at once: which partitions there are, the group says later."""

    def __init__(
        self,
        log: EventLog,
        store: UsageStore,
        retention_us: int,
        shelf_of: Callable[[int], IdShelf],
        settings: GroupSettings,
        quarantine: Quarantine | None = None,
    ) -> None:
        self._quarantine = quarantine
        self._log, self._store, self._retention_us, self._shelf_of = log, store, retention_us, shelf_of
        self._group = Group(settings, self._tell)
        self._wanted: frozenset[int] = frozenset()
        self._owners: dict[int, Owner] = {}
        self._holding: dict[int, asyncio.Task[None]] = {}
        self._changed = asyncio.Event()
        self._chores: list[asyncio.Task[None]] = []
        self._heard = False
        self.stopped: dict[int, str] = {}  # partitions that are not folded any more, and why
        self.rereads = 0
        self.lag_records: dict[int, int] = {}

    @property
    def owners(self) -> Sequence[Owner]:
        """Those that fold now, by partition."""
        return [self._owners[partition] for partition in sorted(self._owners)]

    @property
    def rebalances(self) -> int:
        """How often the group has dealt out its partitions since the start."""
        return self._group.rebalances

    @property
    def restarts(self) -> int:
        """How often Faust had to be started again."""
        return self._group.crashes

    @property
    def is_ready(self) -> bool:
        """Whether this process is a member, and every partition it was given is restored and goes on being folded."""
        is_folding = all(p in self._owners and self._owners[p].restores for p in self._wanted)
        return self._heard and is_folding and not self.stopped

    async def start(self) -> None:
        """Join the group."""
        self._chores = [asyncio.create_task(chore()) for chore in (self._settle, self._look)]
        await self._group.start()

    async def run(self) -> None:
        """Return never. An owner that ends for good is in `stopped`; the others go on."""
        done, _ = await asyncio.wait(self._chores, return_when=asyncio.FIRST_COMPLETED)
        for chore in done:
            chore.result()

    async def stop(self, within_s: float | None = None) -> None:
        """End the flushes under way, let go of every partition, then leave the group. What is not folded waits."""
        for chore in self._chores:
            chore.cancel()
        await asyncio.gather(*self._chores, return_exceptions=True)
        self._wanted = frozenset()
        for owner in self.owners:
            owner.release()
        if self._holding:
            _, late = await asyncio.wait(self._holding.values(), timeout=within_s)
            for holding in late:
                holding.cancel()
            await asyncio.gather(*late, return_exceptions=True)
        await self._group.stop()

    def _tell(self, assigned: frozenset[int]) -> None:
        logger.info("this process is given partitions %s", sorted(assigned))
        self._wanted, self._heard = assigned, True
        self._changed.set()

    async def _settle(self) -> None:
        """Let go of what others have now, and of what they have taken further; begin what is new."""
        while True:
            await self._changed.wait()
            self._changed.clear()
            for partition in self._owners.keys() - self._wanted:
                self._owners[partition].release()
            self.stopped = {p: why for p, why in self.stopped.items() if p in self._wanted}
            for partition in sorted(self._wanted - self._holding.keys() - self.stopped.keys()):
                self._holding[partition] = asyncio.create_task(self._hold(partition))
            for owner in self.owners:
                if owner.restores and await self._is_overtaken(owner):
                    owner.release()  # and begin again as of that marker

    async def _is_overtaken(self, owner: Owner) -> bool:
        """Whether another owner got further while this process was away: what it wrote need not be folded again."""
        with contextlib.suppress(Problem):  # the owner meets it too, and says so
            marker = await asyncio.to_thread(self._store.marker, owner.partition)
            return marker is not None and marker.offset > owner.reached
        return False

    async def _hold(self, partition: int) -> None:
        """Own a partition until it is released. An error that is no passing one ends this owner alone."""
        shelf = self._shelf_of(partition)
        try:
            await self._fold(partition, shelf)
        except Exception as exc:
            self.stopped[partition] = repr(exc)
            logger.exception("partition %d is not folded any more", partition)
        finally:
            await asyncio.to_thread(shelf.close)
            self._owners.pop(partition, None)
            del self._holding[partition]
            self._changed.set()  # it may have been given back meanwhile

    async def _fold(self, partition: int, shelf: IdShelf) -> None:
        """Run; where offsets have a gap or bytes are torn, read them again, for it may be the way and not the log."""
        tries, at = 0, -2
        while partition in self._wanted:
            owner = self._owners[partition] = self._owner(partition, shelf)
            try:
                await owner.run()
                return
            except LogDamaged as exc:
                tries, at = (tries + 1 if owner.offset == at else 1), owner.offset
                if tries > REREADS_MAX:
                    raise
                self.rereads += 1
                logger.warning("partition %d is read again: %s", partition, exc)
                await asyncio.sleep(REREAD_DELAY_MS / 1000)

    def _owner(self, partition: int, shelf: IdShelf) -> Owner:
        return Owner(partition, self._log, self._store, self._retention_us, shelf, self._quarantine)

    async def _look(self) -> None:
        """Every few seconds: how far behind the owners are, and what may be acknowledged."""
        acknowledged: dict[int, int] = {}
        while True:
            await asyncio.sleep(LOOK_EVERY_MS / 1000)
            offsets = {owner.partition: owner.offset + 1 for owner in self.owners if owner.restores}
            with contextlib.suppress(Problem):
                ends = {partition: (await self._log.bounds(partition))[1] for partition in offsets}
                self.lag_records = {p: max(0, ends[p] - offset) for p, offset in offsets.items()}
            if offsets != acknowledged:
                await self._group.acknowledge(offsets)  # only what a marker says
                acknowledged = offsets
