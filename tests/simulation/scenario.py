"""One seed from its plan to its verdict: everyone acts by chance, then nothing fails any more and all must add up."""

from __future__ import annotations

import functools
import itertools
import logging
import tempfile
import types
from collections.abc import Callable
from pathlib import Path

import pytest

from penstock.aggregator import consume, cut, fill_job, fold, metrics, usage
from penstock.gateway import coalescer, ticker
from penstock.kernel.cell import Cell, CellKey
from penstock.kernel.chunk import Chunk
from penstock.kernel.record import Marker
from simulation import check
from simulation.corrections import Correctors
from simulation.definitions import Definitions
from simulation.event_loop import ASYNCIO
from simulation.faulty_log import FaultyLog
from simulation.faulty_store import Tables
from simulation.fleet import Fleet
from simulation.oracle import Oracle
from simulation.readers import ReaderClock, Readers
from simulation.traffic import Clients
from simulation.world import DAY_US, HOUR_US, World
from unit.ids import shelf_world

Weaken = Callable[[pytest.MonkeyPatch, "Simulation"], None]


class Simulation:
    """The parts of one seed."""

    def __init__(self, world: World, folder: Path | None, rows_checked: bool) -> None:
        self.world, plan = world, world.plan
        self.log = FaultyLog(self.world)
        self.definitions = Definitions(self.world, self.log)
        self.oracle = Oracle(self.log.history, self.definitions.bodies)
        self._rows_checked = rows_checked
        self.tables = Tables(self._check_row, self._check_marker)
        self.fleet = Fleet(self.world, self.log, self.tables, folder)
        self.clients = Clients(self.world, self.log)
        self.readers = Readers(self.world, self.tables, self.definitions)
        self.world.meanwhile = self.act
        self._acts: list[tuple[Callable[[], None], int]] = [
            (self.clients.send, 26),
            (self.clients.retry, 6),
            (self.clients.tick, 6),
            (self.clients.restart_gateway, 3),
            (self.fleet.act, 50),
            (self.fleet.kill, 2),
            (self.fleet.release, 1),
            (self.fleet.power_cut, 1),
            (self.definitions.define, 4),
            (self.definitions.revise, 3),
            (self.definitions.archive, 2),
            (self.definitions.send_pending, 2),
            (self.readers.read, 7),
            (self.readers.retire_replaced, 2),
            (self.readers.audit, 2),
        ]
        self.correctors = Correctors(self.world, self.log, self.tables, self.clients)
        if plan.has_corrections:
            self._acts += [
                (self.correctors.order, 12),
                (self.correctors.repeat, 3),
                (self.correctors.send_pending, 2),
            ]
        self._step_us = 2 * plan.days * DAY_US // plan.actions

    def _check_row(self, key: CellKey, cell: Cell) -> None:
        if self._rows_checked:
            check.check_row(self.oracle, key, cell)

    def _check_marker(self, marker: Marker) -> None:
        if self._rows_checked and self.world.chance.random() < 0.1:
            check.check_marker(self.oracle, self.tables, marker)

    def act(self) -> None:
        """Somebody does something."""
        [act] = self.world.chance.choices([a for a, _ in self._acts], [w for _, w in self._acts])
        act()

    def play(self) -> None:
        world = self.world
        self.definitions.define()
        for _ in range(world.plan.actions):
            world.advance(world.chance.randrange(self._step_us))
            for _ in range(2):
                self.act()
        self._clear_up()
        self._check()

    def _clear_up(self) -> None:
        """Nothing fails any more, what was late arrives, and clients ask until they are answered."""
        world = self.world
        world.is_calm = True
        world.tell("calm")
        world.advance(world.plan.days * HOUR_US + DAY_US)
        self.definitions.send_pending()
        self.correctors.send_pending()
        while self.clients.unanswered:
            self.clients.retry()
        self.clients.tick()
        self.fleet.drain()
        self.readers.read_all()

    def _check(self) -> None:
        check.check_end(self.oracle, self.tables)
        check.check_acknowledged(self.oracle, self.clients.acknowledged, self.clients.accepted)
        for read in self.readers.cuts:
            check.check_cut(self.oracle, self.definitions.bodies, read)


def play(world: World, weaken: Weaken | None = None, rows_checked: bool = True) -> None:
    """Play a seed, perhaps with a weakened product. Raise `Falsified` where something that must hold does not."""
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as folder:
        _simulate(patch, world)
        simulation = Simulation(world, Path(folder) if world.plan.has_files else None, rows_checked)
        if weaken is not None:
            weaken(patch, simulation)
        try:
            simulation.play()
        finally:
            simulation.fleet.close()


def _simulate(patch: pytest.MonkeyPatch, world: World) -> None:
    """The product without threads, clocks and luck, and with limits so small that little is enough."""
    numbers = itertools.count()
    for shell in (consume, fill_job, coalescer, ticker):
        patch.setattr(shell, "asyncio", ASYNCIO)
    patch.setattr(fill_job, "EVENTS_PER_BATCH", world.plan.fill_events_max)
    patch.setattr(Chunk, "decode", functools.cache(Chunk.decode))  # every owner reads the same few records
    patch.setattr(fold, "WHOLE_EVENTS_MIN", world.plan.whole_events_min)
    patch.setattr(consume, "time", types.SimpleNamespace(monotonic_ns=lambda: world.now_us * 1_000))
    patch.setattr(consume, "CELLS_MAX", world.plan.cells_max)
    patch.setattr(consume, "RECORDS_PER_STEP_MAX", 1)
    for reader in (cut, usage):
        patch.setattr(reader, "time", ReaderClock(world))
    patch.setattr(cut, "CONSISTENT_TRIES_MAX", 4)
    patch.setattr(metrics, "uuid", types.SimpleNamespace(uuid4=lambda: f"control-{next(numbers)}"))
    for name in ("aggregator.consume", "aggregator.fill_job", "gateway.ticker", "ids.shelf"):
        patch.setattr(logging.getLogger(f"penstock.{name}"), "disabled", True)  # what fails here is meant to
    if world.plan.has_files:
        shelf_world.tiny(patch)
        patch.setattr("os.fsync", lambda descriptor: None)
