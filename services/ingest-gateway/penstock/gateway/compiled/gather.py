"""A field of many events put together: a column, its bytes in one piece."""

from __future__ import annotations

import numpy as np
from numba import types

from penstock.gateway.compiled.compiler import BYTES, INT, NEW_BYTES, NEW_INTS, TABLE, compiled
from penstock.gateway.loops import Data, Edges, Spans


def gathered(text: bytes, spans: Spans, field: int) -> tuple[Edges, Data]:
    """The texts of a field of events, by their spans in `text`."""
    edges = np.empty(len(spans) + 1, np.int32)
    measure(spans, field, edges)
    data = np.empty(edges[-1], np.uint8)
    gather(np.frombuffer(text, np.uint8), spans, field, data)
    return edges, data


@compiled(types.void, TABLE, INT, NEW_INTS)
def measure(spans: Spans, field: int, edges: Edges) -> None:
    """Where each text of the field starts and ends in the column."""
    edges[0] = 0
    for row in range(len(spans)):
        edges[row + 1] = edges[row] + spans[row, 2 * field + 1] - spans[row, 2 * field]


@compiled(types.void, BYTES, TABLE, INT, NEW_BYTES)
def gather(text: Data, spans: Spans, field: int, data: Data) -> None:
    at = 0
    for row in range(len(spans)):
        start, end = spans[row, 2 * field], spans[row, 2 * field + 1]
        for place in range(end - start):
            data[np.uint64(at + place)] = text[np.uint64(start + place)]
        at += end - start
