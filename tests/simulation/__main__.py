"""`make faults`: seeds, one after the other; the first that fails is told with everything that happened in it."""

from __future__ import annotations

import argparse
import multiprocessing
import sys
import time
import traceback
from collections.abc import Iterator, Sequence

from simulation.scenario import play
from simulation.weakenings.everything import WEAKENINGS
from simulation.weakenings.switch import Weakening
from simulation.world import Plan, World


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def failure_of(seed: int, name: str | None = None) -> str | None:
    """What became of a seed: None where everything held, else all that happened and what did not hold."""
    world = World(Plan.draw(seed))
    weakening = WEAKENINGS[name] if name else Weakening(lambda patch, simulation: None, 0)
    try:
        play(world, weakening.weaken, weakening.rows_checked)
    except Exception:
        return "\n".join([*world.told, traceback.format_exc()])
    return None


def _played(task: tuple[int, str | None]) -> tuple[int, str | None]:
    return task[0], failure_of(*task)


def _all_played(tasks: Sequence[tuple[int, str | None]], jobs: int) -> Iterator[tuple[int, str | None]]:
    if jobs == 1:
        yield from map(_played, tasks)
        return
    with multiprocessing.Pool(jobs) as pool:
        yield from pool.imap(_played, tasks)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m simulation", description=__doc__)
    parser.add_argument("--seeds", type=int, default=3_000, help="how many (3000)")
    parser.add_argument("--from", type=int, default=0, dest="first", help="the first of them (0)")
    parser.add_argument("--jobs", type=int, default=1, help="processes that play at once (1)")
    parser.add_argument("--weaken", choices=sorted(WEAKENINGS), help="switch on what must not hold, and see it caught")
    options = parser.parse_args()
    started_s = time.perf_counter()
    tasks = [(seed, options.weaken) for seed in range(options.first, options.first + options.seeds)]
    for seed, failure in _all_played(tasks, options.jobs):
        took_s = time.perf_counter() - started_s
        _say(f"{took_s:6.1f} s, {seed - options.first + 1} of {options.seeds}: {Plan.draw(seed)}")
        if failure is not None:
            weaken = f" --weaken {options.weaken}" if options.weaken else ""
            _say(failure)
            _say(f"seed {seed} failed. Again: make faults ARGS='--from {seed} --seeds 1{weaken}'")
            return 1
    _say(f"{options.seeds} seeds held in {time.perf_counter() - started_s:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
