"""Some seeds of the simulation, and every weakening caught by it. `make faults` plays 3,000 seeds."""

from __future__ import annotations

import pytest

from simulation.__main__ import failure_of
from simulation.check import Falsified
from simulation.scenario import play
from simulation.weakenings.everything import WEAKENINGS
from simulation.world import Plan, World

SEEDS = 50
# The first seed that catches a weakening moves a little when what is drawn before it does.
CATCH_WITHIN = 15


@pytest.mark.parametrize("seed", range(SEEDS))
def test_whatever_fails_every_event_is_counted_once_and_every_read_is_a_cut(seed: int) -> None:
    failure = failure_of(seed)

    assert failure is None, f"{failure}\nAgain: make faults ARGS='--from {seed} --seeds 1'"


@pytest.mark.parametrize("name", WEAKENINGS)
def test_a_weakening_is_caught(name: str) -> None:
    first = WEAKENINGS[name].seed

    assert any(is_caught(seed, name) for seed in range(first, first + CATCH_WITHIN)), f"not seen from seed {first} on"


def is_caught(seed: int, name: str) -> bool:
    weaken, _, rows_checked = WEAKENINGS[name]
    try:
        play(World(Plan.draw(seed)), weaken, rows_checked)
    except Falsified:
        return True
    return False


def test_a_seed_replays_exactly() -> None:
    worlds = [World(Plan.draw(3)) for _ in range(2)]
    for world in worlds:
        play(world)

    assert worlds[0].told == worlds[1].told != []
