"""Owners of fixed partitions as tasks: what ends one ends the process; the end waits for them, but not for ever."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from penstock.app.fold_runtime import OwnerTasks
from penstock.kernel.problems import Refused, StoreUnavailable


class FakeOwner:
    """Runs until it is stopped and what it has to fold is `folded`."""

    def __init__(self, error: Exception | None = None, restore_error: Exception | None = None) -> None:
        self.partition, self.error, self.restore_error = 0, error, restore_error
        self.stopped, self.folded, self.is_cancelled = asyncio.Event(), asyncio.Event(), False

    async def restore(self) -> None:
        if self.restore_error is not None:
            raise self.restore_error

    async def run(self) -> None:
        if self.error is not None:
            raise self.error
        try:
            await self.stopped.wait()
            await self.folded.wait()
        except asyncio.CancelledError:
            self.is_cancelled = True
            raise

    def stop(self) -> None:
        self.stopped.set()


def tasks_of(*owners: Any) -> OwnerTasks:
    return OwnerTasks(owners)


def test_what_ends_an_owner_is_raised() -> None:
    async def scenario() -> None:
        runtime = tasks_of(FakeOwner(), FakeOwner(error=Refused("another log")))
        await runtime.start()
        with pytest.raises(Refused, match="another log"):
            await runtime.run()

    asyncio.run(scenario())


def test_a_store_that_is_away_at_the_start_is_waited_for_and_a_wrong_log_is_not() -> None:
    async def scenario() -> None:
        owner = FakeOwner(restore_error=StoreUnavailable("away"))
        runtime = tasks_of(owner)
        await runtime.start()
        owner.folded.set()
        await runtime.stop(None)
        with pytest.raises(Refused):
            await tasks_of(FakeOwner(restore_error=Refused("another log"))).start()

    asyncio.run(scenario())


def test_the_end_waits_for_what_is_folded_within_its_time() -> None:
    async def scenario() -> None:
        quick, endless = FakeOwner(), FakeOwner()
        quick.folded.set()
        runtime = tasks_of(quick, endless)
        await runtime.start()
        await asyncio.sleep(0)  # both run

        await runtime.stop(0.01)

        assert (quick.is_cancelled, endless.is_cancelled) == (False, True)

    asyncio.run(scenario())
