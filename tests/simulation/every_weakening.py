"""All switches by name: those of events and metrics, and those of corrections."""

from __future__ import annotations

from simulation import correction_weakenings, weakenings
from simulation.weakenings import Weakening

WEAKENINGS: dict[str, Weakening] = {**weakenings.WEAKENINGS, **correction_weakenings.WEAKENINGS}
