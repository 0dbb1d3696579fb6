"""Ids forgotten too early or remembered too late, or by something beside the log: a copy counts twice, or never."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from penstock.aggregator import consume, fold
from penstock.aggregator.consume import Owner
from penstock.aggregator.fold import Fold, Study
from penstock.aggregator.poison import Poison, chunk_of
from penstock.gateway import coalescer
from penstock.gateway.batch import Batch
from penstock.gateway.dedupe import Window
from penstock.ids import segment
from penstock.ids.unread import NOWHERE, Unread
from penstock.kernel.chunk import Chunk
from penstock.kernel.event import Outcome
from penstock.kernel.identity import BodyHashes, Identities
from penstock.kernel.idrun import Asked, Places
from penstock.kernel.idset import IdSet
from penstock.kernel.ports.fold_store import Stretch
from penstock.kernel.record import Kind, LogRecord
from simulation.faulty_store import Connection
from simulation.scenario import Simulation
from simulation.weakenings.switch import FAR, Patch, Switches
from simulation.world import DAY_US

switches = Switches()


@switches.weakening(seed=25)
def ids_kept_as_long_as_events_are_allowed(patch: Patch, _: Simulation) -> None:
    """34 = 34 counts twice: an event may be a day ahead when it comes."""
    for module in (fold, segment):
        patch.setattr(module, "GENERATIONS_KEPT", 35)


@switches.weakening(seed=15)
def fold_refuses_at_the_gateways_limit(patch: Patch, _: Simulation) -> None:
    """What was answered 200 is refused, for it was appended a little later."""
    patch.setattr(fold, "LATE_US", 34 * DAY_US)


@switches.weakening(seed=25)
def ids_restored_ahead_of_the_marker(patch: Patch, _: Simulation) -> None:
    """Reads without "as of": what is folded again meets its own ids."""

    def ids(self: Connection, partition: int, stretch: Stretch) -> Iterator[tuple[int, Identities, BodyHashes]]:
        return self._tables.ids(partition, stretch._replace(through=FAR))

    def known(
        self: Connection, partition: int, stretch: Stretch, asked: Identities
    ) -> tuple[Identities, BodyHashes]:
        return self._tables.known(partition, stretch._replace(through=FAR), asked)

    patch.setattr(Connection, "ids", ids)
    patch.setattr(Connection, "known", known)


@switches.weakening(seed=191)
def ids_that_no_file_has_yet_are_taken_for_new(patch: Patch, _: Simulation) -> None:
    """Who takes over without files counts again until it has made them."""

    def find(self: Unread, asked: Asked) -> tuple[Places, Places]:
        return NOWHERE, NOWHERE

    patch.setattr(Unread, "find", find)


@switches.weakening(seed=59)
def duplicates_renew_their_ids(patch: Patch, _: Simulation) -> None:
    """An id lives on in memory, but not in what a restart reads."""

    class Renewing(Fold):
        def _judge(self, study: Study, chunk: Any, offsets: Any, indices: Any, clock: Any) -> Any:
            outcomes = super()._judge(study, chunk, offsets, indices, clock)
            again = outcomes == Outcome.DUPLICATE
            if again.any():
                self.ids.add(int(clock.max()) // DAY_US, chunk.identities[again], chunk.body_hashes[again])
            return outcomes

    patch.setattr(consume, "Fold", Renewing)


@switches.weakening(seed=25)
def ids_dropped_at_a_flush(patch: Patch, _: Simulation) -> None:
    """When an id is forgotten depends on how records were batched."""

    class Dropping(Fold):
        def study(self, records: Sequence[LogRecord]) -> Study:
            days: list[int] = []
            with pytest.MonkeyPatch.context() as inside:
                inside.setattr(IdSet, "drop_before", lambda ids, day: days.append(day))
                study = super().study(records)
            for day in days:
                self.ids.drop_before(day)
            return study

    patch.setattr(consume, "Fold", Dropping)


@switches.weakening(seed=14)
def ids_remembered_before_their_append(patch: Patch, _: Simulation) -> None:
    """A gateway calls the retry of a lost event a duplicate."""

    class Hasty(Batch):
        def judge(self, window: Window) -> None:
            super().judge(window)
            super().remember(window)

        def remember(self, window: Window) -> None:
            """Done already."""

    patch.setattr(coalescer, "Batch", Hasty)


@switches.weakening(seed=25)
def a_late_limit_of_each_owner(patch: Patch, simulation: Simulation) -> None:
    """A setting that decides comes with the process, not with the log: two owners, one version, two values."""
    chance = simulation.world.chance

    class Own(Fold):
        def __init__(self, *args: Any, **named: Any) -> None:
            super().__init__(*args, **named)
            self.late_us = chance.choice([fold.LATE_US, 3 * DAY_US])

        def _judge(self, study: Study, chunk: Any, offsets: Any, indices: Any, clock: Any) -> Any:
            with pytest.MonkeyPatch.context() as inside:
                inside.setattr(fold, "LATE_US", self.late_us)
                return super()._judge(study, chunk, offsets, indices, clock)

    patch.setattr(consume, "Fold", Own)


@switches.weakening(seed=25)
def quarantined_for_a_passing_error(patch: Patch, simulation: Simulation) -> None:
    """Whether a chunk is counted hangs on who was there first."""
    chance = simulation.world.chance

    async def put_away(self: Owner, poison: Sequence[Poison]) -> None:
        """Somewhere."""

    def chunk_or_reason(record: LogRecord) -> Chunk | str | None:
        return "no memory" if record.kind is Kind.CHUNK and chance.random() < 0.05 else chunk_of(record)

    patch.setattr(fold, "chunk_of", chunk_or_reason)
    patch.setattr(Owner, "_put_away", put_away)
