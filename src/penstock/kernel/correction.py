"""What a correction made of an event: a revision beside the stored event, which itself is never touched.

Of an event's revisions at or below an offset the greatest is in force as of that offset; with none, the event is as it
came (DESIGN.md section 3).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from enum import StrEnum

import msgspec
import numpy as np
import pyarrow as pa

from penstock.kernel.event import COUNTABLE_OUTCOMES, Outcome
from penstock.kernel.stored import SCHEMA, StoredEvents
from penstock.kernel.window import from_us, to_us

# Stretch of offsets of the events, tenant, outcome before and after.
Move = tuple[int, str, Outcome, Outcome]


class Refusal(StrEnum):
    """Why a correction is without effect, for ever."""

    NO_EVENT = "NO_EVENT"
    VOIDED = "VOIDED"
    OTHER_CUSTOMER = "OTHER_CUSTOMER"
    OTHER_TIME = "OTHER_TIME"
    OVERTAKEN = "OVERTAKEN"
    NOT_KEPT = "NOT_KEPT"
    SEALED = "SEALED"
    BACKFILLED = "BACKFILLED"


class Revision(msgspec.Struct, frozen=True):
    """An event as it is from the record at `since` on. `partition`, `offset` and `index` are where the event stands.

    Customer and time never change: they lead to the cells that the event is in.
    """

    partition: int
    offset: int
    index: int
    tenant: str
    customer: str
    time_us: int
    transaction_id: str
    event_type: str
    properties: bytes
    outcome: Outcome
    since: int

    @classmethod
    def original(cls, event: StoredEvents) -> Revision:
        """The one stored event as it came."""
        [row] = event.table.to_pylist()
        return cls(
            partition=row["partition"],
            offset=row["offset"],
            index=row["place"],
            tenant=row["tenant"],
            customer=row["customer"],
            time_us=to_us(row["time"]),
            transaction_id=row["transaction_id"],
            event_type=row["event_type"],
            properties=row["properties"],
            outcome=Outcome(row["outcome"]),
            since=row["offset"],
        )

    @property
    def place(self) -> tuple[int, int, int]:
        return self.partition, self.offset, self.index

    @property
    def is_countable(self) -> bool:
        return self.outcome in COUNTABLE_OUTCOMES


class Corrected(msgspec.Struct, frozen=True):
    """What the fold made of the correction in the record at `offset`: a revision, or why it is without effect.

    `before` is the event's outcome until then, where the correction found it.
    """

    partition: int
    offset: int
    id: str
    sequence: int
    tenant: str
    transaction_id: str
    refusal: Refusal | None = None
    before: Outcome | None = None
    revision: Revision | None = None


def in_force(corrections: Iterable[Corrected], place: tuple[int, int, int], through: int) -> Revision | None:
    """The revision of the event at `place` as of offset `through`, None where it is as it came."""
    found = [r for c in corrections if (r := c.revision) is not None and r.place == place and r.since <= through]
    return max(found, key=lambda revision: revision.since, default=None)


def newest(corrections: Iterable[Corrected]) -> list[Revision]:
    """Of every event among them its greatest revision."""
    found: dict[tuple[int, int, int], Revision] = {}
    for revision in (each.revision for each in corrections):
        if revision is not None and (revision.place not in found or revision.since > found[revision.place].since):
            found[revision.place] = revision
    return list(found.values())


def as_stored(revisions: Sequence[Revision]) -> StoredEvents:
    """Revisions in the shape of stored events, whatever their outcome."""
    rows = [
        {
            "tenant": each.tenant,
            "event_type": each.event_type,
            "customer": each.customer,
            "time": from_us(each.time_us),
            "transaction_id": each.transaction_id,
            "properties": each.properties,
            "partition": each.partition,
            "offset": each.offset,
            "place": each.index,
            "outcome": int(each.outcome),
        }
        for each in revisions
    ]
    return StoredEvents(pa.Table.from_pylist(rows, schema=SCHEMA))


def without(events: StoredEvents, places: set[tuple[int, int, int]]) -> StoredEvents:
    """The events that stand at none of the places."""
    if not places or not len(events):
        return events
    offsets = np.asarray(events.table.column("offset"))
    near = np.flatnonzero(np.isin(offsets, np.array(sorted({offset for _, offset, _ in places}), np.uint64)))
    if not len(near):
        return events
    columns = (np.asarray(events.table.column(name))[near].tolist() for name in ("partition", "offset", "place"))
    keep = np.ones(len(events), bool)
    keep[near] = [place not in places for place in zip(*columns, strict=True)]
    return StoredEvents(events.table.filter(pa.array(keep)))


def as_corrected(events: Iterable[StoredEvents], revisions: Sequence[Revision]) -> Iterator[StoredEvents]:
    """Events with the revisions in force in their stead; what those make uncountable is left out."""
    places = {revision.place for revision in revisions}
    for part in events:
        kept = without(part, places)
        if len(kept):
            yield kept
    countable = [revision for revision in revisions if revision.is_countable]
    if countable:
        yield as_stored(countable)
