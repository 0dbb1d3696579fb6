"""The events of many requests, judged together: verdicts, the chunks to append, and each request's answer.

Pure. What belongs to a request is a slice of the batch's arrays; nothing is made per event that was accepted.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from penstock.gateway.answer import EventVerdict, IngestAnswer, Receipt
from penstock.gateway.columns import Columns, code, codes_of, take_coded
from penstock.gateway.decode import Decoded
from penstock.gateway.dedupe import Window
from penstock.gateway.identities import hash_column, identify_column
from penstock.gateway.plain import Envelopes
from penstock.gateway.validate import OfLayer, Reasons, validate
from penstock.kernel.chunk import Chunk
from penstock.kernel.event import PROPERTIES_BYTES_MAX, TRANSACTION_ID_CHARS_MAX, Verdict
from penstock.kernel.identity import (
    BodyHashes,
    Identities,
    hash_texts,
    mix_bodies,
    partition_of,
)
from penstock.kernel.idset import Verdicts
from penstock.kernel.record import US_PER_DAY, LogIdentity

NOWHERE = -1
REASONS = {
    Verdict.DUPLICATE: "this transaction_id was accepted before",
    Verdict.CONFLICT: "this transaction_id was accepted before with another body; the first stays",
}


class Piece(NamedTuple):
    """A chunk on its way to a partition: the payload of one record."""

    partition: int
    payload: bytes


class Batch:
    """Requests read at one instant. `tenants` are their scopes: a tenant, or the layer of a backfill.

    `judge`, append `pieces`, `remember`, and `answer` each request, in this order.
    """

    def __init__(
        self,
        tenants: Sequence[str],
        requests: Sequence[Decoded],
        log: LogIdentity,
        now_us: int,
        piece_bytes_max: int,
        properties_bytes_max: int = PROPERTIES_BYTES_MAX,
    ) -> None:
        self.now_us = now_us
        self._tenants, self._requests, self._log, self._piece_bytes_max = tenants, requests, log, piece_bytes_max
        self._edges = np.cumsum([0, *(len(request.events) for request in requests)]).tolist()
        self._columns = _gather(requests)
        of_layers = [
            OfLayer(self._edges[number], self._edges[number + 1], request.layer)
            for number, request in enumerate(requests)
            if request.layer is not None
        ]
        self._reasons = validate(self._columns, now_us, properties_bytes_max, of_layers)
        self.identities = self._identify(tenants, log.hash_key)
        self._bodies = _hash(self._columns)

    def judge(self, window: Window) -> None:
        """What `window` remembers is a copy, what is first here is accepted and cut into `pieces`."""
        self._verdicts = _judge(window, self.identities, self._bodies, self._reasons)
        # How many of the events before each edge were not accepted: mostly as many as before the edge behind it.
        refused = np.concatenate([[0], np.cumsum(self._verdicts != Verdict.ACCEPTED)])
        self._refused_before = refused[self._edges].tolist()
        self._piece_of = np.full(len(self._columns), NOWHERE, np.int32)
        self.pieces = self._cut()

    def _identify(self, tenants: Sequence[str], hash_key: bytes) -> Identities:
        edges = iter(itertools.pairwise(self._edges))
        parts: list[Identities] = []
        for tenant, group in itertools.groupby(tenants):
            spans = [next(edges) for _ in group]
            texts = self._columns.transaction_ids[spans[0][0] : spans[-1][1]]
            parts.append(identify_column(hash_key, tenant, texts))
        return np.concatenate(parts)

    def _cut(self) -> list[Piece]:
        """The accepted events as chunks, by partition, each of about `piece_bytes_max` of properties at most."""
        log = self._log
        accepted = np.flatnonzero(self._verdicts == Verdict.ACCEPTED)
        if not len(accepted):
            return []
        partition = partition_of(self.identities[accepted], log.partitions)
        order = np.argsort(partition, kind="stable")
        rows = accepted[order]
        chunk = self._chunk(rows)
        lengths = pc.binary_length(self._columns.properties).to_numpy(zero_copy_only=False)[rows]
        edges = np.searchsorted(partition[order], np.arange(log.partitions + 1)).tolist()
        pieces: list[Piece] = []
        for number, (start, end) in zip(log.own, itertools.pairwise(edges), strict=True):
            parts = 1 + int(lengths[start:end].sum()) // self._piece_bytes_max
            for part in np.array_split(np.arange(start, end), parts):
                if len(part):  # none for this partition, or fewer events than parts
                    self._piece_of[rows[part]] = len(pieces)
                    pieces.append(Piece(number, chunk.slice(int(part[0]), len(part)).encode()))
        return pieces

    def _chunk(self, rows: npt.NDArray[np.int64]) -> Chunk:
        """The events at `rows`. What only the others say stays out of its dictionaries too."""
        columns = self._columns
        tenant = _repeat(self._tenants, np.diff(self._edges))
        if not np.array_equal(rows, np.arange(len(columns))):
            columns, tenant = columns.take(rows), take_coded(tenant, rows)
        return Chunk.of_columns(
            identities=self.identities[rows],
            body_hashes=self._bodies[rows],
            tenants=tenant,
            customers=columns.customers,
            event_types=columns.event_types,
            times_us=columns.times_us,
            transaction_ids=columns.transaction_ids,
            properties=columns.properties,
        )

    @property
    def accepted(self) -> int:
        """How many events are in the pieces."""
        return int(np.count_nonzero(self._verdicts == Verdict.ACCEPTED))

    def remember(self, window: Window) -> None:
        """Call once every piece is durable: what is lost before must be accepted again."""
        accepted = self._verdicts == Verdict.ACCEPTED
        window.remember(self.now_us // US_PER_DAY, self.identities[accepted], self._bodies[accepted])

    def answer(self, number: int, receipts: Sequence[Receipt]) -> IngestAnswer:
        """The answer to request `number`; `receipts` has one entry per piece."""
        start, end = self._edges[number], self._edges[number + 1]
        is_plain = self._refused_before[number] == self._refused_before[number + 1]
        if is_plain and not self._requests[number].refusals and len(receipts) == 1 and start < end:
            return IngestAnswer(accepted=end - start, receipts=tuple(receipts))
        rows = slice(start, end)
        verdicts = self._verdicts[rows]
        counts = np.bincount(verdicts, minlength=len(Verdict)).tolist()
        # Piece -1 is nowhere; shifted by one it is the first bin, which is left out.
        places = np.flatnonzero(np.bincount(self._piece_of[rows] + 1)[1:]).tolist()
        refusals = self._requests[number].refusals
        return IngestAnswer(
            accepted=counts[Verdict.ACCEPTED],
            duplicate=counts[Verdict.DUPLICATE],
            conflict=counts[Verdict.CONFLICT],
            rejected=counts[Verdict.REJECTED] + len(refusals),
            receipts=tuple(receipts[place] for place in places),
            events=self._not_accepted(number) if counts[Verdict.ACCEPTED] < len(verdicts) or refusals else (),
        )

    def _not_accepted(self, number: int) -> tuple[EventVerdict, ...]:
        start, end = self._edges[number], self._edges[number + 1]
        request = self._requests[number]
        found = [EventVerdict(r.index, r.transaction_id, Verdict.REJECTED, r.reason) for r in request.refusals]
        for row in (start + np.flatnonzero(self._verdicts[start:end])).tolist():
            verdict = Verdict(self._verdicts[row])
            transaction_id = self._columns.transaction_ids[row].as_py()[:TRANSACTION_ID_CHARS_MAX]
            reason = self._reasons[row] if verdict is Verdict.REJECTED else REASONS[verdict]
            found.append(EventVerdict(request.indexes[row - start], transaction_id, verdict, reason))
        return tuple(sorted(found, key=lambda event: event.index))


def _gather(requests: Sequence[Decoded]) -> Columns:
    """The events of all requests, in order. They become columns all at once: requests are many and may be small."""
    parts: list[Columns] = []
    for kind, group in itertools.groupby((request.events for request in requests), key=type):
        events: list[Any] = list(group)
        if kind is list:
            parts.append(Columns.of(list(itertools.chain.from_iterable(events))))
        elif kind is Envelopes:
            parts.append(Columns.of_envelopes(events))
        else:
            parts += events
    return Columns.concat(parts)


def _hash(columns: Columns) -> BodyHashes:
    customers, event_types = columns.customers, columns.event_types
    return mix_bodies(
        hash_texts(customers.dictionary.to_pylist())[codes_of(customers)],
        hash_texts(event_types.dictionary.to_pylist())[codes_of(event_types)],
        columns.times_us,
        hash_column(columns.properties),
    )


def _repeat(tenants: Sequence[str], events: npt.NDArray[np.int64]) -> pa.DictionaryArray:
    """Each request's tenant, once for each of its events."""
    places = {tenant: place for place, tenant in enumerate(dict.fromkeys(tenants))}
    codes = np.repeat(np.array([places[tenant] for tenant in tenants], np.int32), events)
    return code(codes, pa.array(list(places), pa.string()))


def _judge(window: Window, identities: Identities, bodies: BodyHashes, reasons: Reasons) -> Verdicts:
    """Rejected events are not looked up: a bad copy must not make a duplicate of the good one after it."""
    if not reasons:
        return window.probe(identities, bodies)
    verdicts = np.full(len(bodies), Verdict.REJECTED, np.uint8)
    good = np.ones(len(bodies), bool)
    good[list(reasons)] = False
    verdicts[good] = window.probe(identities[good], bodies[good])
    return verdicts
