"""Some seeds of the simulation with backfills, and every weakening of what a layer promises caught by it."""

from __future__ import annotations

import pytest

from simulation.check import Falsified
from simulation.layered import play_layers
from simulation.weakenings.layers import switches
from simulation.world import Plan, World

SEEDS = 12
CATCH_WITHIN = 10


@pytest.mark.parametrize("seed", range(SEEDS))
def test_a_backfill_is_in_force_as_a_whole_or_not_at_all_whatever_fails(seed: int) -> None:
    try:
        play_layers(World(Plan.draw(seed)))
    except Falsified as exc:
        pytest.fail(f"seed {seed}: {exc}")


def test_readers_meet_layers_in_force_and_without_them() -> None:
    """So that the seeds above say something."""
    simulation = play_layers(World(Plan.draw(0)))

    assert {bool(read.answers[0].layers) for read in simulation.readers.cuts} == {True, False}


@pytest.mark.parametrize("name", switches)
def test_a_weakening_of_layers_is_caught(name: str) -> None:
    first = switches[name].seed

    assert any(is_caught(seed, name) for seed in range(first, first + CATCH_WITHIN)), f"not seen from seed {first} on"


def is_caught(seed: int, name: str) -> bool:
    weaken, _, rows_checked = switches[name]
    try:
        play_layers(World(Plan.draw(seed)), weaken, rows_checked)
    except Falsified:
        return True
    return False
