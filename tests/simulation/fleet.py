"""Owners of partitions: killed, paused, replaced while they live, and going on from an old state long after."""

from __future__ import annotations

from concurrent.futures import Executor
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

from penstock.aggregator import consume
from penstock.aggregator.consume import Owner
from penstock.ids.memory import MemoryShelf
from penstock.ids.shelf import Shelf
from penstock.kernel.ports.event_log import LogTrimmed
from penstock.kernel.ports.fold_store import IdShelf
from penstock.kernel.ports.usage_store import UsageStore
from penstock.kernel.problems import Problem
from simulation.faulty_log import FaultyLog
from simulation.faulty_store import Connection, Died, Tables
from simulation.world import DAY_US, World, run_now
from unit.ids.shelf_world import Later

MEMORY_IDS_MAX = 6
RETENTION_US = 3 * DAY_US


@dataclass
class Pod:
    """A place where an owner of a partition may run; what its files hold outlives the owner."""

    partition: int
    folder: Path | None
    connection: Connection | None = None
    owner: Owner | None = None
    thread: Later = field(default_factory=Later)
    sleeps: int = 0  # how often it is passed over: stopped, but not dead
    is_busy: bool = False


class Fleet:
    """All pods of all partitions."""

    def __init__(self, world: World, log: FaultyLog, tables: Tables, folder: Path | None) -> None:
        self._world, self._log, self._tables = world, log, tables
        self._pods = [
            Pod(partition, folder / f"{partition}-{n}" if folder and n == 0 else None)
            for partition in range(world.plan.partitions)
            for n in range(world.plan.owners_max)
        ]

    def act(self) -> None:
        """Some pod takes over, goes on, is stopped or killed."""
        pod = self._world.chance.choice(self._pods)
        if pod.is_busy:
            return
        pod.sleeps = max(0, pod.sleeps - 1)
        if pod.owner is None:
            self._start(pod)
        elif not pod.sleeps:
            self._go_on(pod)
            if self._world.fault(0.05):
                pod.sleeps = self._world.chance.randrange(1, 20)

    def kill(self) -> None:
        self._end(self._world.chance.choice(self._pods))

    def power_cut(self) -> None:
        """Everything ends at once."""
        self._world.tell("power cut")
        for pod in self._pods:
            self._end(pod)
        self._tables.power_cut()

    def drain(self) -> None:
        """Fold every partition to its end, with every owner that lives."""
        ends = self._log.vector()
        # Twice: what an owner was still writing may have failed before, and then it starts again from its marker.
        for pod in [*self._pods, *self._pods]:
            if pod.owner is None:
                self._start(pod)
            while pod.owner is not None and pod.owner.reached < ends[pod.partition]:
                self._go_on(pod)
            if pod.owner is not None:
                self._go_on(pod)  # what it still writes
            while pod.owner is not None and run_now(pod.owner.fill()):
                pass

    def _start(self, pod: Pod) -> None:
        pod.connection = Connection(self._world, self._tables)
        pod.thread = Later()
        store = cast(UsageStore, pod.connection)  # an owner asks for no more of it
        pod.owner = Owner(pod.partition, self._log, store, RETENTION_US, self._shelf(pod, pod.thread))
        self._world.tell(f"owner of {pod.partition} starts")
        self._do(pod, restore=True)

    def _shelf(self, pod: Pod, thread: Executor) -> IdShelf:
        if pod.folder is None:
            return MemoryShelf(pod.partition)
        return Shelf(pod.folder, pod.partition, self._log.identity.log_id, MEMORY_IDS_MAX, thread)

    def _go_on(self, pod: Pod) -> None:
        consume.RECORDS_PER_STEP_MAX = self._world.chance.choice([1, 2, 4, 8, 16])
        if self._world.chance.random() < 0.6:
            pod.thread.finish()
        self._do(pod, restore=False)

    def _do(self, pod: Pod, restore: bool) -> None:
        """A step, or what `Owner.run` does when one fails: start again from the marker."""
        owner = pod.owner
        assert owner is not None
        pod.is_busy = True
        try:
            if restore:
                pod.thread.finish()  # a start waits for what is being written
                run_now(owner.restore())
                self._world.tell(f"owner of {pod.partition} is at {owner.offset}")
            else:
                step = owner.step_ahead if self._world.plan.is_ahead else owner.step
                run_now(step(0))
                if self._world.is_calm or self._world.chance.random() < 0.4:
                    run_now(owner.fill())
                self._world.tell(f"owner of {pod.partition} went to {owner.offset}")
        except (Problem, OSError) as exc:
            self._world.tell(f"owner of {pod.partition} starts again: {exc}")
            if pod.owner is owner:
                self._do(pod, restore=True)
        except (Died, LogTrimmed) as exc:
            self._world.tell(f"owner of {pod.partition} ended: {exc!r}")
            if pod.owner is owner:
                self._end(pod)
        finally:
            pod.is_busy = False

    def _end(self, pod: Pod) -> None:
        if pod.connection is not None:
            pod.connection.is_cut = True
        pod.owner = pod.connection = None
