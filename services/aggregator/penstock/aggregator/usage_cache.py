"""Answers kept by question and marker vector, bounded by bytes: the least recently used go first.

Nothing but the vector says whether an answer still holds. There is one answer per question, the newest.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import NamedTuple

from penstock.kernel.cell import KeptGroup
from penstock.kernel.meter import GroupValue, Metric
from penstock.kernel.record import Vector, covers
from penstock.kernel.usage import Usage, UsageQuery

# What CPython takes for the structs, the decimal and the tuples of one row, for a span, for a text beside its
# characters, and for the rest of an entry.
ROW_BYTES, SPAN_BYTES, TEXT_BYTES, ENTRY_BYTES = 400, 200, 60, 3_000

# Told of every answer whether it came from the cache.
OnLookup = Callable[[bool], None]


class Asked(NamedTuple):
    """A question: what the answer follows from beside the marker vector. `over` is where the metric's log ends.

    `layers` are the ids of the backfills' layers that the answer may rest on.
    """

    query: UsageQuery
    metric: Metric
    kept: tuple[KeptGroup, ...] | None
    over: Vector | None
    layers: tuple[str, ...] = ()


class UsageCache:
    """Safe to use from several threads. `on_lookup` is called once per question with whether it was a hit."""

    def __init__(self, bytes_max: int, on_lookup: OnLookup = lambda is_hit: None) -> None:
        self._bytes_max = bytes_max
        self.on_lookup = on_lookup
        self._lock = threading.Lock()
        self._held: OrderedDict[Asked, tuple[Usage, int]] = OrderedDict()
        self.held_bytes = 0

    def newest(self, question: Asked, at_most: Vector) -> Usage | None:
        """The answer that is held, if it is as of `at_most` or earlier."""
        with self._lock:
            held = self._held.get(question)
            if held is None or not covers(at_most, held[0].vector):
                return None
            self._held.move_to_end(question)
            return held[0]

    def put(self, question: Asked, answer: Usage) -> None:
        """Keep the answer, unless one that is at least as new is held or it does not fit at all."""
        size = size_of(question, answer)
        with self._lock:
            held = self._held.get(question)
            if size > self._bytes_max or (held is not None and covers(held[0].vector, answer.vector)):
                return
            self._held[question] = answer, size
            self._held.move_to_end(question)
            self.held_bytes += size - (held[1] if held is not None else 0)
            while self.held_bytes > self._bytes_max:
                _, (_, gone) = self._held.popitem(last=False)
                self.held_bytes -= gone


def size_of(question: Asked, answer: Usage) -> int:
    """About how many bytes a question and its answer take; errs upwards."""
    query = question.query
    texts: list[GroupValue] = [*query.customers, *query.owners, *question.layers]
    texts += [value for _, values in (*query.filters, *query.excluded) for value in values]
    texts += [value for groups, owner in question.kept or () for value in (*groups, owner)]
    texts += [value for row in answer.rows for value in (*row.groups, row.customer_key)]
    held = ENTRY_BYTES + ROW_BYTES * len(answer.rows) + SPAN_BYTES * len(query.spans)
    return held + sum(TEXT_BYTES + 4 * len(text) for text in texts if text is not None)
