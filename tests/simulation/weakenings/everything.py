"""The simulation turned against itself: each weakening that CORE.md names is a switch, and each must be caught.

Nothing of them is in the product. What needs a feature that is not there yet comes with it: amendments and voids
(stored events updated in place, a deleted cell, a recompute or an audit of the current state, voided ids forgotten,
unique values as rows), backfill layers, settings as control records, quarantine of chunks, a log that forgets what was
read from it.
"""

from __future__ import annotations

from simulation.weakenings import cells, clock, dedupe, fill, flush, reads
from simulation.weakenings.switch import Weakening

WEAKENINGS: dict[str, Weakening] = {
    name: switch for kind in (dedupe, clock, cells, flush, fill, reads) for name, switch in kind.switches.items()
}
