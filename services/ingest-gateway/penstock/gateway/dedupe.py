"""The gateway's window of ids: repeats are dropped before the log, cheaply and for a while.

Bounded by ids and by days. The aggregator's exact set, which is longer, has the last word (DESIGN.md section 4).
"""

from __future__ import annotations

from penstock.kernel.identity import BodyHashes, Identities
from penstock.kernel.idset import IdSet, Verdicts


class Window:
    """The ids whose append is durable: `probe` before the append, `remember` only after it.

    `ids_max` is kept by whole sorted runs, so a small one may be passed by the half million of the open table.
    """

    def __init__(self, ids_max: int, days: int) -> None:
        self._seen = IdSet()
        self._ids_max, self._days = ids_max, days
        self._day = 0

    def __len__(self) -> int:
        return len(self._seen)

    def probe(self, ids: Identities, bodies: BodyHashes) -> Verdicts:
        """A `Verdict` per id; remembers nothing, so that a lost append can be sent again."""
        return self._seen.probe(ids, bodies)

    def remember(self, day: int, ids: Identities, bodies: BodyHashes) -> None:
        """Remember ids that `probe` called accepted; forget what is older than the window or more than it holds."""
        self._day = max(self._day, day)  # a clock that steps back must not open an old generation again
        self._seen.add(self._day, ids, bodies)
        self._seen.drop_before(self._day - self._days)
        excess = len(self._seen) - self._ids_max
        while excess > 0:
            before = len(self._seen)
            self._seen.drop_oldest_run()
            excess = excess - (before - len(self._seen)) if len(self._seen) < before else 0
