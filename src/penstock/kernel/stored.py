"""Stored events: what the aggregator keeps of every first occurrence, as columns. Append-only, never updated.

A row's key is (partition, offset, place): where its event stands in the log. `outcome` says whether it counts; a
quarantined event is kept but counts nowhere. The day of the log clock on which an id was accepted stands with the id.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from penstock.kernel.chunk import Chunk
from penstock.kernel.event import Outcome
from penstock.kernel.identity import BodyHashes, Identities
from penstock.kernel.window import Span

_TEXT = pa.dictionary(pa.int32(), pa.string())
SCHEMA = pa.schema(
    [
        ("tenant", _TEXT),
        ("event_type", _TEXT),
        ("customer", _TEXT),
        ("time", pa.timestamp("us", tz="UTC")),
        ("transaction_id", pa.string()),
        ("properties", pa.binary()),
        ("partition", pa.uint16()),
        ("offset", pa.uint64()),
        ("place", pa.uint32()),
        ("outcome", pa.uint8()),
    ]
)


class StoredEvents:
    """Rows of stored events; an Arrow table inside."""

    def __init__(self, table: pa.Table) -> None:
        self.table = table

    @classmethod
    def of_chunk(
        cls,
        chunk: Chunk,
        partition: int,
        offsets: npt.NDArray[np.int64],
        indices: npt.NDArray[np.int64],
        outcomes: npt.NDArray[np.uint8],
    ) -> StoredEvents:
        n = len(chunk)
        names = ("tenant", "event_type", "customer", "time", "transaction_id", "properties")
        columns = [chunk.arrow(name) for name in names]
        columns += [
            pa.array(np.full(n, partition, np.uint16)),
            pa.array(offsets.astype(np.uint64)),
            pa.array(indices.astype(np.uint32)),
            pa.array(outcomes),
        ]
        return cls(pa.Table.from_arrays(columns, schema=SCHEMA))

    @classmethod
    def concat(cls, parts: Sequence[StoredEvents]) -> StoredEvents:
        if not parts:
            return cls(SCHEMA.empty_table())
        return cls(pa.concat_tables([p.table for p in parts]).unify_dictionaries().combine_chunks())

    def __len__(self) -> int:
        return int(self.table.num_rows)

    def of(self, tenant: str, customers: Sequence[str] | None, span: Span | None) -> StoredEvents:
        """Those of a tenant, of some customer keys and in a span (all where None); quarantined ones are left out."""
        table = self.table
        keep = pc.and_(
            pc.equal(table["tenant"].cast(pa.string()), tenant),
            pc.not_equal(table["outcome"], int(Outcome.QUARANTINED)),
        )
        if customers is not None:
            keep = pc.and_(keep, pc.is_in(table["customer"].cast(pa.string()), pa.array(customers, pa.string())))
        if span is not None:
            keep = pc.and_(keep, pc.greater_equal(table["time"], pa.scalar(span.start, table["time"].type)))
            keep = pc.and_(keep, pc.less(table["time"], pa.scalar(span.end, table["time"].type)))
        return StoredEvents(table.filter(keep))

    def at(self, tenant: str, places: Sequence[LogPlace]) -> StoredEvents:
        """Those of a tenant that stand at one of the places."""
        columns = [np.asarray(self.table.column(name)).astype(np.int64) for name in ("partition", "offset", "place")]
        wanted = {(place.partition, place.offset, place.index) for place in places}
        is_wanted = [row in wanted for row in zip(*(column.tolist() for column in columns), strict=True)]
        is_tenant = pc.equal(self.table["tenant"].cast(pa.string()), tenant)
        return StoredEvents(self.table.filter(pc.and_(is_tenant, pa.array(is_wanted, pa.bool_()))))

    def codes(self, column: str) -> tuple[npt.NDArray[np.int32], list[str]]:
        """The dictionary-encoded `tenant`, `customer` or `event_type`: an index per row, and the distinct texts."""
        chunks = self.table.column(column).unify_dictionaries().combine_chunks()
        encoded = chunks if isinstance(chunks, pa.DictionaryArray) else chunks.chunk(0)
        return encoded.indices.to_numpy(zero_copy_only=False), encoded.dictionary.to_pylist()

    @property
    def times_us(self) -> npt.NDArray[np.int64]:
        return np.asarray(self.table.column("time").cast(pa.int64()))

    def ids(self) -> list[str]:
        """The transaction ids; a method for the reason that `Chunk.ids` is one."""
        out: list[str] = self.table.column("transaction_id").to_pylist()
        return out

    @property
    def properties(self) -> list[bytes]:
        out: list[bytes] = self.table.column("properties").to_pylist()
        return out


class StoredIds(msgspec.Struct, eq=False):
    """The ids that one run of records brought, with the generation they belong to; written beside their events."""

    day: int
    identities: Identities
    bodies: BodyHashes
    offsets: npt.NDArray[np.int64]
    indices: npt.NDArray[np.int64]
    times_us: npt.NDArray[np.int64]  # of the events: they lead from an id to its stored event

    def __len__(self) -> int:
        return len(self.identities)


class DroppedIds(msgspec.Struct, eq=False):
    """The events of one run of records that the fold did not keep: duplicates, conflicts and late ones, by id."""

    day: int
    identities: Identities
    outcomes: npt.NDArray[np.uint8]
    offsets: npt.NDArray[np.int64]
    indices: npt.NDArray[np.int64]
    times_us: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.identities)


class LogPlace(msgspec.Struct, frozen=True):
    """Where an event stands in the log, its own time, and the day of the log clock on which it was judged."""

    partition: int
    offset: int
    index: int
    time_us: int
    day: int


class Dropped(msgspec.Struct, frozen=True):
    """How often events of one id were dropped with one outcome, and the newest of them."""

    outcome: Outcome
    events: int
    newest: LogPlace


class Trace(msgspec.Struct, frozen=True):
    """What became of one id in the log. `kept` has more than one place only where the id outlived its window."""

    identity: bytes
    kept: tuple[LogPlace, ...]  # in log order
    dropped: tuple[Dropped, ...]  # in order of outcome
