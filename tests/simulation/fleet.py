"""Owners of partitions: killed, paused, released, replaced while they live, and going on from an old state long after.

Each is the product's `Owner.run` in a process of its own: restoring, folding, flushing, filling, starting again.
"""

from __future__ import annotations

from concurrent.futures import Executor
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

from penstock.aggregator import consume
from penstock.aggregator.consume import Owner
from penstock.ids.memory import MemoryShelf
from penstock.ids.shelf import Shelf
from penstock.kernel.idset import IdSet
from penstock.kernel.ports.fold_store import FoldStore, IdShelf
from penstock.kernel.ports.usage_store import UsageStore
from penstock.kernel.record import Marker
from simulation.check import Falsified
from simulation.event_loop import Loop, Task
from simulation.faulty_log import FaultyLog
from simulation.faulty_store import Connection, Tables
from simulation.world import DAY_US, World
from unit.ids.shelf_world import Later

MEMORY_IDS_MAX = 6
RETENTION_US = 3 * DAY_US
TURNS_MAX = 12  # of an owner's tasks at a time: a record or two
TURNS_TO_END_MAX = 50_000


class PatientShelf(Shelf):
    """A start waits for what is being written; here nobody else would finish it meanwhile."""

    def __init__(self, folder: Path, partition: int, log_id: str, thread: Later) -> None:
        super().__init__(folder, partition, log_id, MEMORY_IDS_MAX, cast(Executor, thread))
        self._later = thread

    def restore(self, marker: Marker | None, store: FoldStore) -> IdSet:
        self._later.finish()
        return super().restore(marker, store)


@dataclass
class Process:
    """An owner that runs, with what it has of the store."""

    loop: Loop
    connection: Connection
    owner: Owner
    running: Task
    restores: int = 0


@dataclass
class Pod:
    """A place where an owner of a partition may run; what its files hold outlives the owner."""

    partition: int
    folder: Path | None
    process: Process | None = None
    thread: Later = field(default_factory=Later)
    sleeps: int = 0  # how often it is passed over: stopped, but not dead


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
        """Some pod takes over, goes on, or is stopped for a while."""
        pod = self._world.chance.choice(self._pods)
        pod.sleeps = max(0, pod.sleeps - 1)
        if pod.process is None:
            self._start(pod)
        if not pod.sleeps:
            self._go_on(pod, self._world.chance.randrange(1, TURNS_MAX))
            if self._world.fault(0.05):
                pod.sleeps = self._world.chance.randrange(1, 20)

    def kill(self) -> None:
        self._end(self._world.chance.choice(self._pods))

    def release(self) -> None:
        """An owner is told to end in its own time: another has the partition now, or it is to stop when all is done."""
        pod = self._world.chance.choice(self._pods)
        if pod.process is not None:
            self._world.tell(f"owner of {pod.partition} is to end")
            self._world.chance.choice([pod.process.owner.release, pod.process.owner.stop])()

    def power_cut(self) -> None:
        """Everything ends at once."""
        self._world.tell("power cut")
        self.close()
        self._tables.power_cut()

    def close(self) -> None:
        for pod in self._pods:
            self._end(pod)

    def drain(self) -> None:
        """Fold and fill every partition to its end, with every owner that lives, and one at least; then they stop."""
        for partition, end in enumerate(self._log.vector()):
            pods = [pod for pod in self._pods if pod.partition == partition]
            for pod in [pod for pod in pods if pod.process is not None] or pods[:1]:
                self._bring_to(pod, end)
        for pod in self._pods:
            self._let_end(pod)

    def _bring_to(self, pod: Pod, end: int) -> None:
        for _ in range(TURNS_TO_END_MAX):
            if pod.process is None:
                self._start(pod)
            elif _is_through(pod.process.owner, end):
                return
            self._go_on(pod, 1)
        raise Falsified(f"an owner of {pod.partition} does not come to the end of the log")

    def _let_end(self, pod: Pod) -> None:
        for _ in range(TURNS_TO_END_MAX):
            if pod.process is None:
                return
            pod.process.owner.stop()
            self._go_on(pod, 1)
        raise Falsified(f"an owner of {pod.partition} does not stop")

    def _start(self, pod: Pod) -> None:
        connection, loop = Connection(self._world, self._tables), Loop(self._world.chance)
        pod.thread = Later()
        store = cast(UsageStore, connection)  # an owner asks for no more of it
        owner = Owner(pod.partition, self._log, store, RETENTION_US, self._shelf(pod))
        pod.process = Process(loop, connection, owner, loop.create_task(owner.run()))
        self._world.tell(f"owner of {pod.partition} starts")

    def _shelf(self, pod: Pod) -> IdShelf:
        if pod.folder is None:
            return MemoryShelf(pod.partition)
        return PatientShelf(pod.folder, pod.partition, self._log.identity.log_id, pod.thread)

    def _go_on(self, pod: Pod, turns: int) -> None:
        """Let a pod's tasks take some turns; where its owner has ended, so has its process."""
        process = pod.process
        if process is None:
            return
        consume.RECORDS_PER_STEP_MAX = 32 if self._world.is_calm else self._world.chance.choice([1, 2, 4, 8, 16])
        if self._world.chance.random() < 0.6:
            pod.thread.finish()
        before = process.owner.offset
        for _ in range(turns):
            process.loop.turn()
        if process.owner.restores != process.restores:
            process.restores = process.owner.restores
            self._world.tell(f"owner of {pod.partition} is restored at {process.owner.offset}")
        elif process.owner.offset != before:
            self._world.tell(f"owner of {pod.partition} went to {process.owner.offset}")
        if pod.process is process and (process.loop.is_dead or process.running.is_done):
            self._world.tell(f"owner of {pod.partition} ended: {process.running.failure!r}")
            self._end(pod)

    def _end(self, pod: Pod) -> None:
        process, pod.process = pod.process, None
        if process is not None:
            process.connection.is_cut = True
            process.loop.kill()


def _is_through(owner: Owner, end: int) -> bool:
    """Whether everything up to `end` is folded and flushed, and every metric filled."""
    return owner.reached >= end and not owner.folding_since_us and owner._next_fill() is None
