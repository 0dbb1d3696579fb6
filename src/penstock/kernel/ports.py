"""Every seam of Penstock on one page. An adapter that passes the port's suite in tests/ports/ is as good as another.

Stores are called from worker threads and are synchronous; the log is called from the event loop and is asynchronous.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from decimal import Decimal
from typing import Protocol

import msgspec

from penstock.kernel.cell import Cell, CellAnswer, CellKey, CellQuestion
from penstock.kernel.charge import ChargeSet
from penstock.kernel.contract import ContractTerms
from penstock.kernel.correction import Corrected
from penstock.kernel.correction_store import CorrectionStore
from penstock.kernel.entry import Transaction
from penstock.kernel.event import NotAccepted, Outcome
from penstock.kernel.identity import BodyHashes, Identities
from penstock.kernel.idset import IdSet
from penstock.kernel.meter import Metric
from penstock.kernel.record import Kind, LogIdentity, LogRecord, Marker, Vector
from penstock.kernel.stored import DroppedIds, LogPlace, StoredEvents, StoredIds, Trace
from penstock.kernel.stored_chunk import StoredChunk
from penstock.kernel.usage import Usage, UsageQuery
from penstock.kernel.window import Span


class Clock(Protocol):
    """Where the time comes from. Only shells ask; pure functions are told."""

    def now(self) -> datetime:
        """The present instant, aware UTC."""
        ...


class Appended(msgspec.Struct, frozen=True):
    """The receipt of an append: the record is durable at `offset` of `partition`."""

    partition: int
    offset: int
    appended_at_us: int


class EventLog(Protocol):
    """A partitioned, durable, append-only log. Offsets of a partition are contiguous from 0."""

    @property
    def identity(self) -> LogIdentity:
        """Fixed for the life of the log."""
        ...

    async def append(self, partition: int, kind: Kind, stamped_at_us: int, payload: bytes) -> Appended:
        """Return once the record is durable. Raise `LogUnavailable` where that is not known: it may still appear."""
        ...

    async def read(self, partition: int, start: int, bytes_max: int, wait_ms: int) -> list[LogRecord]:
        """Durable records from offset `start` on, in order, at least one if any appears within `wait_ms`, else none.

        Stops before `bytes_max` of payload is exceeded, but always returns one whole record. A record whose bytes were
        damaged raises `LogDamaged`; an offset below the log's start raises `LogTrimmed`.
        """
        ...

    async def bounds(self, partition: int) -> tuple[int, int]:
        """The first offset that is still there and the offset that the next record will get."""
        ...

    async def trim(self, partition: int, before: int) -> None:
        """Forget records below offset `before`. Idempotent."""
        ...

    async def close(self) -> None:
        """Wait for appends under way, then let go of files or connections. Idempotent."""
        ...


class LogDamaged(Exception):
    """A record's bytes are not what was appended. Never skipped: the owner stops and names the offset."""


class LogTrimmed(Exception):
    """The offset asked for is below the log's start."""


class Item(msgspec.Struct, frozen=True):
    """A definition of one tenant: a customer, a contract, a metric, a rate, an API key.

    `body` is the owner's struct as JSON. `parent` groups items for listing (the rates of a card, the contracts of a
    customer). `unique` are keys that no other item of this tenant and kind may hold. `revision` counts from 1;
    `sequence` is the place of the item's first revision in the catalog, a stable cursor. Both are 0 before the put.
    """

    tenant: str
    kind: str
    id: str
    body: bytes
    parent: str | None = None
    unique: tuple[str, ...] = ()
    revision: int = 0
    sequence: int = 0
    recorded_at: datetime | None = None


class Catalog(Protocol):
    """A service's own definitions: append-only revisions, read as of now or as of an instant."""

    def put(self, items: Sequence[Item], recorded_at: datetime) -> list[Item]:
        """Append one revision of each item, all or none; return them with revision and sequence set.

        An item with `revision` 0 is new: an id that exists raises `Conflict`. Otherwise `revision` is the one that was
        read, and a later one in the catalog raises `Conflict`. A `unique` key that another item holds raises `Conflict`
        (an earlier item of the same call may have given it up).
        """
        ...

    def get(self, tenant: str, kind: str, id: str, as_of: datetime | None = None) -> Item | None:
        """The latest revision (recorded at or before `as_of`), or None."""
        ...

    def find(self, tenant: str, kind: str, unique: str) -> Item | None:
        """The item whose latest revision holds the unique key, or None."""
        ...

    def list(
        self, tenant: str | None, kind: str, parent: str | None = None, after: int = 0, limit: int | None = None
    ) -> list[Item]:
        """Latest revisions in order of `sequence`, above `after`; of every tenant where `tenant` is None."""
        ...

    def close(self) -> None: ...


class Ledger(Protocol):
    """The double-entry ledger. Append-only; balances are projections of it."""

    def post(self, transactions: Sequence[Transaction]) -> int:
        """Append all or none; return how many were new. A known id with the same content is a no-op.

        Raise `Conflict` for a known id with other content; assert that each sums to zero per unit. The writer of a pool
        holds `pool` while it decides and posts.
        """
        ...

    def balances(self, tenant: str, pool: str) -> dict[str, Decimal]:
        """The balance of every account of the pool, in major units of the account's one unit."""
        ...

    def transactions(self, tenant: str, pool: str) -> list[Transaction]:
        """All of the pool's transactions in the order they were posted."""
        ...

    def close(self) -> None: ...


class Pools(Protocol):
    """Who writes to a balance pool: one at a time, over all processes that work on one ledger."""

    def of(self, tenant: str, pool: str) -> AbstractContextManager[object]:
        """Inside, the caller is the pool's one writer. Not reentrant.

        Raise `StoreUnavailable` on entering where the pool cannot be had in time, and on leaving where it was lost
        meanwhile: what was written inside may stand, so look again before it is written once more.
        """
        ...


class Flush(msgspec.Struct, frozen=True):
    """What an owner writes at once: stored events, ids and the like, then cells, then the marker."""

    events: tuple[StoredEvents, ...]
    ids: tuple[StoredIds, ...]
    controls: tuple[tuple[int, bytes], ...]  # offset and payload of control records
    touched: frozenset[tuple[str, str]]  # tenant, customer key
    cells: Mapping[CellKey, Cell]
    marker: Marker
    dropped: tuple[DroppedIds, ...] = ()
    chunks: tuple[StoredChunk, ...] = ()  # the records whose events are not in `events`
    corrections: tuple[Corrected, ...] = ()


class FoldStore(Protocol):
    """What the one owner of a partition keeps in the usage store. Writing a flush twice, or late, is harmless."""

    def flush(self, flush: Flush) -> None:
        """Write events and whatever else is no cell, then cells, then the marker, each durable before the next.

        Raise `StoreUnavailable` where the outcome is unknown: the owner starts again from the marker.
        """
        ...

    def marker(self, partition: int) -> Marker | None:
        """The partition's newest marker, or None before the first flush."""
        ...

    def ids(
        self, partition: int, through: int, since_day: int, above: int = -1
    ) -> Iterator[tuple[int, Identities, BodyHashes]]:
        """The ids of records at or below offset `through`, by generation day from `since_day` on, each once.

        In order of days; of the first day only those of records above offset `above`.
        """
        ...

    def controls(self, partition: int, through: int) -> list[tuple[int, bytes]]:
        """Offset and payload of stored control records at or below offset `through`, in log order."""
        ...

    def load_cells(self, keys: Sequence[CellKey]) -> dict[CellKey, Cell]:
        """The stored cells among `keys`, each at its greatest version, whatever the marker says."""
        ...

    def windows(self, partition: int) -> set[int]:
        """The start, in microseconds, of every window of which the partition has a stored cell."""
        ...


class IdShelf(Protocol):
    """Where the owner of a partition keeps what is too much for memory of the ids it has seen.

    A cache of `FoldStore.ids`: whatever is lost or damaged here is read from there. One owner at a time.
    """

    def restore(self, marker: Marker | None, store: FoldStore) -> IdSet:
        """The set exactly as of `marker`; from now on the one that `tend` looks after."""
        ...

    def tend(self, ids: IdSet, marker: Marker) -> None:
        """Between two folds: keep memory small. `ids` is exactly as of `marker`, which may yet have to be flushed.

        Does not wait for a disk. Raise `OSError` where ids that were kept are damaged: the owner starts again.
        """
        ...

    def close(self) -> None:
        """Let go of files and threads; what is being written is given up. Idempotent."""
        ...


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


class UsageReader(Protocol):
    """What the aggregator answers to its siblings. Every answer is one consistent cut and says as of what."""

    def metric(self, tenant: str, metric_id: str) -> Metric | None:
        """The definition, archived or not, or None."""
        ...

    def usage(self, *queries: UsageQuery) -> tuple[Usage, ...]:
        """Exact usage as of the newest markers, one answer per query, all of one cut: their vectors are the same.

        Raise `NotFound` for a metric or group key that is not there.
        """
        ...

    def settled(self, through: datetime) -> bool:
        """Whether every event that can still be dated before `through` has been folded."""
        ...


class GatewayMemory(Protocol):
    """What a gateway remembers of the events that never reached the log. Bounded, and gone with its process."""

    def not_accepted(self, tenant: str, transaction_id: str) -> NotAccepted | None:
        """None where the gateway knows nothing: it need not have been asked, it may have forgotten."""
        ...


class Rating(Protocol):
    """What the rater answers to the contracts service."""

    def charges(self, terms: ContractTerms, period: Span, cuts: frozenset[datetime]) -> ChargeSet:
        """The complete set of charges of `period`, sliced at every instant in `cuts`. Reads usage once: one vector."""
        ...

    def rate_card_id(self, tenant: str, id: str | None, alias: str | None) -> str:
        """The id of the card named by id or alias. Raise `NotFound` where there is none."""
        ...

    def metrics_of(self, tenant: str, rate_card_id: str) -> frozenset[str]:
        """The metrics whose usage the card's rates price."""
        ...

    def product_names(self, tenant: str, product_ids: Sequence[str]) -> dict[str, str]:
        """The name of each product. Raise `NotFound` naming the first that does not exist."""
        ...


class Customers(Protocol):
    """What the contracts service answers about customers."""

    def keys_of(self, tenant: str, customer_id: str) -> tuple[str, ...]:
        """The customer's id and ingest aliases: every key under which its events may come. Raise `NotFound`."""
        ...

    def customer_of(self, tenant: str, key: str) -> str | None:
        """The id of the customer who holds this key now, or None: usage under it is unmatched."""
        ...

    def name_of(self, tenant: str, customer_id: str) -> str:
        """The customer's name. Raise `NotFound`."""
        ...
