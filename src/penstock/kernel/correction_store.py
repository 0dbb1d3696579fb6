"""What the usage store knows of corrections: a seam of `ports.UsageStore`, on a page of its own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from penstock.kernel.correction import Corrected
from penstock.kernel.event import Outcome

# Stretch of offsets of the events, tenant, outcome before and after.
Move = tuple[int, str, Outcome, Outcome]


class CorrectionStore(Protocol):
    """Corrections that the fold has come to. Reads say as of what."""

    def corrections(self, tenant: str, transaction_ids: Sequence[str], partition: int, through: int) -> list[Corrected]:
        """Those of some transaction ids in records at or below offset `through`, once each, in log order."""
        ...

    def moves(self, partition: int, edges: Sequence[int], through: int) -> dict[Move, int]:
        """How many corrections at or below `through` changed outcomes of the events of each stretch of offsets.

        Stretches are those of `AuditStore.outcomes`; a correction that left the outcome as it was is no move.
        """
        ...
