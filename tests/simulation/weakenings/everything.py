"""The simulation turned against itself: each weakening that CORE.md names is a switch, and each must be caught.

Nothing of them is in the product. Backfill layers have a simulation of their own (layered.py, and layers.py here). What
needs more than a log, its owners and its readers is held elsewhere: another log, a log that was cut or grew
(tests/unit/aggregator/test_owner.py), and ids of 64 bits, which no seed would meet.
"""

from __future__ import annotations

from simulation.weakenings import cells, clock, corrections, dedupe, fill, flush, reads
from simulation.weakenings.switch import Weakening

WEAKENINGS: dict[str, Weakening] = {
    name: switch
    for kind in (dedupe, clock, cells, flush, fill, reads, corrections)
    for name, switch in kind.switches.items()
}
