"""What a weakening is: a switch that bends the product's classes, or the store's promises, for one seed."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import pytest

from simulation.scenario import Weaken

Patch = pytest.MonkeyPatch
FAR = 2**40  # an offset that no log reaches


class Weakening(NamedTuple):
    """A switch, the first seed that catches it, and whether rows may be checked as they are written.

    Where a row is wrong by the weakening's very nature, only the store, the reads and the end are.
    """

    weaken: Weaken
    seed: int
    rows_checked: bool = True


class Switches(dict[str, Weakening]):
    """Weakenings of one kind, by name."""

    def weakening(self, seed: int, rows_checked: bool = True) -> Callable[[Weaken], Weaken]:
        def enter(weaken: Weaken) -> Weaken:
            self[getattr(weaken, "__name__", "")] = Weakening(weaken, seed, rows_checked)
            return weaken

        return enter
