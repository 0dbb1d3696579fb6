"""What is read of the folded usage: by queries, look-ups, the auditor and fills. Synchronous."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

from penstock.kernel.cell import Cell, CellAnswer, CellKey, CellQuestion
from penstock.kernel.correction import Corrected, Move
from penstock.kernel.event import Outcome
from penstock.kernel.identity import Identities
from penstock.kernel.ports.fold_store import FoldStore
from penstock.kernel.record import Marker, Vector
from penstock.kernel.stored import LogPlace, StoredEvents, Trace
from penstock.kernel.window import Span


class TransactionStore(Protocol):
    """What the usage store knows of single events. Reads say as of what."""

    def traces(self, partition: int, identities: Identities, through: int) -> list[Trace]:
        """What records at or below offset `through` brought of some ids; an id that none of them holds is left out."""
        ...

    def events_at(self, tenant: str, places: Sequence[LogPlace]) -> StoredEvents:
        """The stored events at these places as they came, quarantined ones too, once each, in any order."""
        ...


class AuditStore(Protocol):
    """What the auditor reads of the usage store, row by row, to hold it against what the events make."""

    def stored_cells(
        self,
        tenant: str | None,
        metric: str | None,
        customers: tuple[str, ...] | None,
        span_us: tuple[int, int] | None,
        partition: int | None,
    ) -> dict[CellKey, Cell]:
        """Every cell of this tenant, metric, customers, windows [start, end) and partition; None is all of them.

        Each at its greatest version, also those without events. All of them are in memory at once.
        """
        ...

    def control_records(self, partition: int) -> list[tuple[int, bytes]]:
        """Offset and payload of every stored control record, in log order, whatever the marker says."""
        ...

    def hours(self, partition: int) -> list[tuple[int, int]]:
        """Every hour (start, microseconds) that has conservation cells, in order, with their greatest version."""
        ...

    def outcomes(self, partition: int, edges: Sequence[int]) -> dict[tuple[int, str | None, Outcome], int]:
        """How many events each stretch of offsets holds, by tenant and outcome; dropped ones have no tenant here.

        Stretch n is above `edges[n]` and at or below `edges[n + 1]`; edges ascend, and there are at least two.
        """
        ...


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


class FillStore(Protocol):
    """How far metrics are filled from events that came before their control records, and what a fill reads."""

    def event_hours(self, tenant: str, partition: int, through: int) -> list[tuple[int, int]]:
        """Every hour (start, microseconds) of stored events at or below offset `through`, with about how many."""
        ...

    def fills(self, partition: int | None) -> dict[tuple[int, str], int]:
        """By partition (all where None) and metric: cells of windows before this are written; `FILLED_US`: all are."""
        ...

    def write_fill(self, partition: int, metric: str, cells: Mapping[CellKey, Cell], through_us: int) -> None:
        """Write cells, then, when they are durable, how far the fill has come. Twice, or late, is harmless."""
        ...


class UsageStore(FoldStore, TransactionStore, AuditStore, FillStore, CorrectionStore, Protocol):
    """The usage store as its readers see it. Reads of events say as of what; reads of cells tell their versions."""

    def markers(self) -> dict[int, Marker]:
        """The newest marker of every partition."""
        ...

    def read_cells(self, question: CellQuestion) -> CellAnswer:
        """Cells of one metric, merged over whatever the question does not group by, and the versions they hold."""
        ...

    def read_events(
        self, tenant: str, customers: tuple[str, ...] | None, span: Span | None, as_of: Vector, partition: int | None
    ) -> Iterator[StoredEvents]:
        """Stored events in [span) of some customer keys (all where None), at or below `as_of`, once each, in batches.

        Each is as the corrections at or below `as_of` leave it; quarantined and voided ones are left out. Batches hold
        at most some 100,000 rows, the one of corrected events all of them.
        """
        ...

    def customer_keys(self, tenant: str, after: str, limit: int) -> list[str]:
        """Customer keys that have stored events, in order, above `after`."""
        ...

    def close(self) -> None: ...
