"""What became of an event, by its id: where it stands in the log, what was dropped, and what it counted in.

Read from what the flush keeps of ids (DESIGN.md section 3): the markers first, then what is at or below them. Whether a
metric counts the event is evaluated now, by the reader and the tally that the fold uses.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec
import numpy as np

from penstock.aggregator.first_copies import FirstCopies, Lifetime
from penstock.aggregator.metrics import Definition, Metrics
from penstock.aggregator.verdict import Reason, refusal, unreadable
from penstock.kernel.correction import Corrected, Revision, as_stored, in_force
from penstock.kernel.event import Outcome
from penstock.kernel.identity import Identities, identify, partition_of
from penstock.kernel.ports.usage_store import TransactionStore, UsageStore
from penstock.kernel.record import LogIdentity, Marker, Vector
from penstock.kernel.stored import LogPlace, StoredEvents, Trace, joined

VOIDED = "was voided"
QUARANTINED_EARLIER = "holds what a metric of that time could not read"
_NEWEST = 2**63 - 1  # beyond every offset


class Fate(msgspec.Struct, frozen=True):
    """One id's story. `place` is that of the event that was kept last, `row` what it is now; None where none was.

    `corrections` are all that named the id, in log order.
    """

    transaction_id: str
    trace: Trace
    corrections: tuple[Corrected, ...] = ()
    place: LogPlace | None = None
    row: dict[str, Any] | None = None
    counted_in: tuple[Definition, ...] = ()
    reasons: tuple[Reason, ...] = ()

    @property
    def outcome(self) -> Outcome:
        """What the event is now: a metric that came later may have counted what was unmatched when it was folded."""
        if self.row is None:
            return self.trace.dropped[-1].outcome
        if self.row["outcome"] in (Outcome.QUARANTINED, Outcome.VOIDED):
            return Outcome(self.row["outcome"])
        return Outcome.COUNTED if self.counted_in else Outcome.UNMATCHED


class Transactions:
    """`log` is the identity of the newest log that the store was folded from."""

    def __init__(self, store: UsageStore, metrics: Metrics, log: LogIdentity) -> None:
        self._store = store
        self._metrics = metrics
        self._log = log
        self._first_copies = FirstCopies(store, log.end, log.first)

    def find(self, tenant: str, transaction_ids: Sequence[str]) -> list[Fate]:
        """The fates of those ids that the fold has seen, in the order asked."""
        wanted = list(dict.fromkeys(transaction_ids))
        if not wanted:
            return []
        identities = identify(self._log.hash_key, tenant, wanted)
        markers = self._store.markers()
        traces = self._traces(identities, markers)
        found = [
            (id, traces[key])
            for id, key in zip(wanted, map(np.ndarray.tobytes, identities), strict=True)
            if key in traces
        ]
        events = _events(self._store, tenant, [trace.kept[-1] for _, trace in found if trace.kept])
        as_of = tuple(markers[p].offset if p in markers else -1 for p in range(self._log.end))
        corrections = self._corrections(tenant, wanted, identities, as_of)
        definitions = [definition for _, definition in self._metrics.list(tenant)]
        lifetimes = [life for each in definitions for life in self._first_copies.lifetimes(each, as_of)]
        return [_fate(id, trace, events, lifetimes, tuple(corrections[id])) for id, trace in found]

    def _corrections(
        self, tenant: str, wanted: Sequence[str], identities: Identities, as_of: Vector
    ) -> dict[str, list[Corrected]]:
        """By transaction id what corrected it, log after log, in the order of each."""
        found: dict[str, list[Corrected]] = {id: [] for id in wanted}
        for log in self._log.logs:
            owners = partition_of(identities, len(log)).tolist()
            for partition in log:
                asked = [id for id, owner in zip(wanted, owners, strict=True) if log[owner] == partition]
                for corrected in self._store.corrections(tenant, asked, partition, as_of[partition]) if asked else ():
                    found[corrected.transaction_id].append(corrected)
        return found

    def _traces(self, identities: Identities, markers: Mapping[int, Marker]) -> dict[bytes, Trace]:
        """By identity, over this log and those that it follows: in each of them one partition has every copy."""
        found: dict[bytes, Trace] = {}
        for log in self._log.logs:
            owners = partition_of(identities, len(log))
            for partition in log:
                if partition in markers:
                    asked = identities[owners == log.index(partition)]
                    for trace in self._store.traces(partition, asked, markers[partition].offset):
                        earlier = found.get(trace.identity)
                        found[trace.identity] = trace if earlier is None else joined(earlier, trace)
        return found


def _events(
    store: TransactionStore, tenant: str, places: Sequence[LogPlace]
) -> dict[tuple[int, int, int], StoredEvents]:
    """Each stored event, as it came, by its partition, offset and index."""
    table = store.events_at(tenant, places).table
    keys = zip(*(table.column(name).to_pylist() for name in ("partition", "offset", "place")), strict=True)
    return {key: StoredEvents(table.slice(row, 1)) for row, key in enumerate(keys)}


def _fate(
    transaction_id: str,
    trace: Trace,
    events: dict[tuple[int, int, int], StoredEvents],
    lifetimes: Sequence[Lifetime],
    corrections: tuple[Corrected, ...],
) -> Fate:
    if not trace.kept:
        return Fate(transaction_id, trace, corrections)
    place = trace.kept[-1]
    original = Revision.original(events[place.partition, place.offset, place.index])
    event = in_force(corrections, original.place, _NEWEST) or original
    lives = [each for each in lifetimes if each.is_newest and not each.is_over_at(place.partition, place.offset)]
    counted, reasons = [], []
    for life in lives:
        # What a metric counted when it was archived stays, whatever corrected the event since.
        through = _NEWEST if life.until is None else life.until[place.partition]
        held = in_force(corrections, original.place, through) or original
        if held.is_countable and life.definition.metric.event_types.matches(held.event_type):
            reason = refusal(life.definition.metric, as_stored([held]))
            if reason is None:
                counted.append(life.definition)
            else:
                reasons.append(reason)
    if not event.is_countable:
        reasons = [_why_nowhere(event, lifetimes)]
    elif not counted and not reasons:
        reasons = [Reason(None, None, f"no metric counts events of type {event.event_type}")]
    [row] = as_stored([event]).table.to_pylist()
    return Fate(transaction_id, trace, corrections, place, row, tuple(counted), tuple(reasons))


def _why_nowhere(event: Revision, lifetimes: Iterable[Lifetime]) -> Reason:
    """Why an event that is kept counts nowhere."""
    if event.outcome is Outcome.VOIDED:
        return Reason(None, None, VOIDED)
    folded = [each.definition.metric for each in lifetimes if each.is_folded_at(event.partition, event.since)]
    looking = [metric for metric in folded if metric.event_types.matches(event.event_type)]
    return unreadable(looking, event.properties) or Reason(None, None, QUARANTINED_EARLIER)
