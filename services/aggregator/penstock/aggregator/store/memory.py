"""The usage store in memory: the reference that every other adapter must agree with."""

from __future__ import annotations

import bisect
import copy
import threading
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np
import pyarrow as pa

from penstock.aggregator.store.audit_rows import outcomes_of, summed
from penstock.kernel.cell import CONSERVATION, Cell, CellAnswer, CellKey, CellQuestion, CellRow, merge, moved
from penstock.kernel.correction import Corrected, Move, Revision, as_corrected, as_stored, newest
from penstock.kernel.event import Outcome
from penstock.kernel.identity import BodyHashes, Identities
from penstock.kernel.meter import Aggregation
from penstock.kernel.ports.fold_store import Flush, Stretch
from penstock.kernel.quantity import exact
from penstock.kernel.record import Marker, Vector
from penstock.kernel.stored import Dropped, DroppedIds, LogPlace, StoredEvents, StoredIds, Trace
from penstock.kernel.window import Span, from_us

US_PER_HOUR = 3_600_000_000


class MemoryUsageStore:
    """Dicts and lists behind a lock."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._cells: dict[CellKey, Cell] = {}
        self._events: dict[tuple[int, int], StoredEvents] = {}
        self._ids: dict[tuple[int, int], StoredIds] = {}
        self._dropped: dict[LogPlace, tuple[bytes, Outcome]] = {}
        self._controls: dict[tuple[int, int], bytes] = {}
        self._corrections: dict[tuple[int, int], Corrected] = {}
        self._markers: dict[int, Marker] = {}
        self._fills: dict[tuple[int, str], int] = {}
        self._keys: set[tuple[str, str]] = set()

    def flush(self, flush: Flush) -> None:
        with self._lock:
            partition = flush.marker.partition
            for events in [*flush.events, *(chunk.events(partition) for chunk in flush.chunks)]:
                for offset, rows in _by_offset(events):
                    self._events[partition, offset] = rows
            for ids in flush.ids:
                for offset in np.unique(ids.offsets).tolist():
                    at = ids.offsets == offset
                    self._ids[partition, offset] = StoredIds(
                        ids.day, ids.identities[at], ids.bodies[at], ids.offsets[at], ids.indices[at], ids.times_us[at]
                    )
            for dropped in flush.dropped:
                for row, place in enumerate(_places(partition, dropped)):
                    self._dropped[place] = (dropped.identities[row].tobytes(), Outcome(dropped.outcomes[row]))
            for offset, payload in flush.controls:
                self._controls[partition, offset] = payload
            for corrected in flush.corrections:
                self._corrections[partition, corrected.offset] = corrected
            self._keys |= flush.touched
            self._put(flush.cells)
            marker = self._markers.get(partition)
            if marker is None or flush.marker.offset > marker.offset:
                self._markers[partition] = flush.marker

    def _put(self, cells: Mapping[CellKey, Cell]) -> None:
        for key, cell in cells.items():
            held = self._cells.get(key)
            if held is None or cell.version >= held.version:  # as the engine does: of equal versions the last
                self._cells[key] = copy.copy(cell)

    def event_hours(self, tenant: str, partition: int, through: int) -> list[tuple[int, int]]:
        with self._lock:
            parts = [rows for (p, offset), rows in self._events.items() if p == partition and offset <= through]
            parts.append(as_stored(self._revisions(tenant, None, None, {partition: through})))
        hours = [hour for rows in parts for hour in (rows.of(tenant, None, None).times_us // US_PER_HOUR).tolist()]
        return [(hour * US_PER_HOUR, events) for hour, events in sorted(Counter(hours).items())]

    def fills(self, partition: int | None) -> dict[tuple[int, str], int]:
        with self._lock:
            return {key: through_us for key, through_us in self._fills.items() if partition in (None, key[0])}

    def write_fill(self, partition: int, metric: str, cells: Mapping[CellKey, Cell], through_us: int) -> None:
        with self._lock:
            self._put(cells)
            self._fills[partition, metric] = max(through_us, self._fills.get((partition, metric), 0))

    def marker(self, partition: int) -> Marker | None:
        return self._markers.get(partition)

    def markers(self) -> dict[int, Marker]:
        with self._lock:
            return dict(self._markers)

    def ids(self, partition: int, stretch: Stretch) -> Iterator[tuple[int, Identities, BodyHashes]]:
        parts = self._stretch(partition, stretch)
        for day in sorted({i.day for i in parts}):
            of_day = [i for i in parts if i.day == day]
            yield day, np.concatenate([i.identities for i in of_day]), np.concatenate([i.bodies for i in of_day])

    def count_ids(self, partition: int, stretch: Stretch) -> dict[int, int]:
        return {day: len(bodies) for day, _, bodies in self.ids(partition, stretch)}

    def known(self, partition: int, stretch: Stretch, asked: Identities) -> tuple[Identities, BodyHashes]:
        wanted = set(map(bytes, np.ascontiguousarray(asked)))
        ids, bodies = [np.empty((0, 2), np.uint64)], [np.empty(0, np.uint64)]
        for part in self._stretch(partition, stretch):
            at = [row for row, id in enumerate(part.identities) if bytes(id) in wanted]
            ids.append(part.identities[at])
            bodies.append(part.bodies[at])
        return np.concatenate(ids), np.concatenate(bodies)

    def _stretch(self, partition: int, stretch: Stretch) -> list[StoredIds]:
        since_day, through, above, until_day = stretch
        with self._lock:
            stored = [(o, i) for (p, o), i in self._ids.items() if p == partition and o <= through]
        return [i for o, i in stored if (i.day, o) > (since_day, above) and i.day <= until_day]

    def controls(self, partition: int, through: int) -> list[tuple[int, bytes]]:
        with self._lock:
            return [(o, c) for (p, o), c in sorted(self._controls.items()) if p == partition and o <= through]

    def load_cells(self, keys: Sequence[CellKey]) -> dict[CellKey, Cell]:
        with self._lock:
            return {key: copy.copy(self._cells[key]) for key in keys if key in self._cells}

    def windows(self, partition: int) -> set[int]:
        with self._lock:
            return {key.window_us for key in self._cells if key.partition == partition}

    @exact
    def read_cells(self, question: CellQuestion) -> CellAnswer:
        with self._lock:
            asked = [(k, c) for k, c in self._cells.items() if _is_asked(question, k)]
            merged: dict[tuple[object, ...], CellRow] = {}
            distinct: dict[tuple[object, ...], set[object]] = {}
            for key, cell in asked:
                if question.versions_only or not cell.events:
                    continue
                row = _row(question, key)
                into = merged.setdefault(row[:4], row)
                if question.aggregation is Aggregation.TIME_WEIGHTED_SUM:
                    cell = moved(cell, key.window_us - row.start_us)
                merge(question.aggregation, into.cell, cell)
                distinct.setdefault(row[:4], set()).add(key.member)
            if question.aggregation is Aggregation.UNIQUE and not question.members:
                for at, row in merged.items():
                    row.cell.events = len(distinct[at])
            versions: dict[int, int] = {}
            for key, cell in asked:
                versions[key.partition] = max(cell.version, versions.get(key.partition, -1))
            return CellAnswer(tuple(merged.values()), versions)

    def read_events(
        self, tenant: str, customers: tuple[str, ...] | None, span: Span | None, as_of: Vector, partition: int | None
    ) -> Iterator[StoredEvents]:
        through = {p: offset for p, offset in enumerate(as_of) if partition in (None, p)}
        with self._lock:
            parts = sorted(self._events.items())
            revisions = self._revisions(tenant, customers, span, through)
        asked = [rows.of(tenant, customers, span) for (p, offset), rows in parts if offset <= through.get(p, -1)]
        yield from as_corrected(asked, revisions)

    def _revisions(
        self, tenant: str, customers: Sequence[str] | None, span: Span | None, through: Mapping[int, int]
    ) -> list[Revision]:
        """The revisions in force as of an offset per partition; a partition without one has none."""
        return [
            revision
            for revision in newest(c for (p, o), c in self._corrections.items() if o <= through.get(p, -1))
            if revision.tenant == tenant
            and (customers is None or revision.customer in customers)
            and (span is None or span.start <= from_us(revision.time_us) < span.end)
        ]

    def corrections(self, tenant: str, transaction_ids: Sequence[str], partition: int, through: int) -> list[Corrected]:
        with self._lock:
            return [
                corrected
                for (p, offset), corrected in sorted(self._corrections.items())
                if p == partition
                and offset <= through
                and corrected.tenant == tenant
                and corrected.transaction_id in transaction_ids
            ]

    def moves(self, partition: int, edges: Sequence[int], through: int) -> dict[Move, int]:
        with self._lock:
            corrections = [c for (p, offset), c in self._corrections.items() if p == partition and offset <= through]
        return dict(_moves(corrections, edges))

    def traces(self, partition: int, identities: Identities, through: int) -> list[Trace]:
        with self._lock:
            kept = [
                (ids.identities[row].tobytes(), place)
                for (owner, offset), ids in sorted(self._ids.items(), key=lambda item: item[0])
                if owner == partition and offset <= through
                for row, place in enumerate(_places(partition, ids))
            ]
            dropped = [(p, *d) for p, d in self._dropped.items() if p.partition == partition and p.offset <= through]
        found = []
        for identity in dict.fromkeys(row.tobytes() for row in np.ascontiguousarray(identities)):
            places = tuple(place for each, place in kept if each == identity)
            drops = tuple(_drops([(p, outcome) for p, each, outcome in dropped if each == identity]))
            if places or drops:
                found.append(Trace(identity, places, drops))
        return found

    def events_at(self, tenant: str, places: Sequence[LogPlace]) -> StoredEvents:
        with self._lock:
            offsets = sorted({(place.partition, place.offset) for place in places})
            stored = [self._events[at] for at in offsets if at in self._events]
        return StoredEvents.concat([rows.at(tenant, places) for rows in stored])

    def customer_keys(self, tenant: str, after: str, limit: int) -> list[str]:
        with self._lock:
            return sorted(c for t, c in self._keys if t == tenant and c > after)[:limit]

    def stored_cells(
        self,
        tenant: str | None,
        metric: str | None,
        customers: tuple[str, ...] | None,
        span_us: tuple[int, int] | None,
        partition: int | None,
    ) -> dict[CellKey, Cell]:
        with self._lock:
            return {
                key: copy.copy(cell)
                for key, cell in self._cells.items()
                if tenant in (None, key.tenant)
                and metric in (None, key.metric)
                and (customers is None or key.customer in customers)
                and (span_us is None or span_us[0] <= key.window_us < span_us[1])
                and partition in (None, key.partition)
            }

    def control_records(self, partition: int) -> list[tuple[int, bytes]]:
        with self._lock:
            return [(o, c) for (p, o), c in sorted(self._controls.items()) if p == partition]

    def hours(self, partition: int) -> list[tuple[int, int]]:
        found: dict[int, int] = {}
        for key, cell in self.stored_cells(None, CONSERVATION, None, None, partition).items():
            found[key.window_us] = max(cell.version, found.get(key.window_us, -1))
        return sorted(found.items())

    def outcomes(self, partition: int, edges: Sequence[int]) -> dict[tuple[int, str | None, Outcome], int]:
        with self._lock:
            kept = [rows for (owner, _), rows in self._events.items() if owner == partition]
            rows: list[tuple[int, str | None, int, int]] = [
                (bisect.bisect_left(edges, place.offset) - 1, None, outcome, 1)
                for place, (_, outcome) in self._dropped.items()
                if place.partition == partition and edges[0] < place.offset <= edges[-1]
            ]
        for events in kept:
            rows += outcomes_of(events, edges)
        return summed(rows)

    def close(self) -> None:
        """Nothing to let go of."""


def _moves(corrections: Iterable[Corrected], edges: Sequence[int]) -> Counter[Move]:
    """Changes of outcome by stretch of the events' offsets, tenant, outcome before and after."""
    found: Counter[Move] = Counter()
    for each in corrections:
        revision = each.revision
        if revision is None or each.before is None or each.before is revision.outcome:
            continue
        if edges[0] < revision.offset <= edges[-1]:
            stretch = bisect.bisect_left(edges, revision.offset) - 1
            found[stretch, each.tenant, each.before, revision.outcome] += 1
    return found


def _by_offset(events: StoredEvents) -> list[tuple[int, StoredEvents]]:
    offsets = np.asarray(events.table.column("offset"))
    return [(int(o), StoredEvents(events.table.filter(pa.array(offsets == o)))) for o in np.unique(offsets)]


def _places(partition: int, ids: StoredIds | DroppedIds) -> list[LogPlace]:
    rows = zip(ids.offsets.tolist(), ids.indices.tolist(), ids.times_us.tolist(), strict=True)
    return [LogPlace(partition, *row, ids.day) for row in rows]


def _drops(found: Sequence[tuple[LogPlace, Outcome]]) -> Iterator[Dropped]:
    for outcome in sorted({outcome for _, outcome in found}):
        places = [place for place, each in found if each is outcome]
        yield Dropped(outcome, len(places), max(places, key=lambda place: (place.offset, place.index)))


def _is_asked(question: CellQuestion, key: CellKey) -> bool:
    return (
        question.is_in_scope(key.tenant, key.customer, key.window_us)
        and key.metric == question.metric
        and (question.customers is None or key.customer in question.customers)
        and question.start_us <= key.window_us < question.end_us
        and all(key.groups[place] in values for place, values in question.filters)
        and all(key.groups[place] not in values for place, values in question.excluded)
    )


def _row(question: CellQuestion, key: CellKey) -> CellRow:
    start_us = max(start for start in question.starts if start <= key.window_us)
    groups = tuple(key.groups[place] for place in question.group_at)
    customer = question.owner_of(key.customer) if question.by_customer else None
    if question.kept is not None and (groups, customer) not in question.kept:
        groups, customer = (), None
    return CellRow(start_us, groups, customer, key.member if question.members else None, Cell())
