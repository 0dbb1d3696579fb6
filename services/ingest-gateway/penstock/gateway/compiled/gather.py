"""Pieces of a body put together, field by field: the columns of its events, each with its bytes in one piece."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from penstock.gateway.compiled.compiler import BYTES, INT, NEW_BYTES, TABLE, compiled
from penstock.gateway.loops import Data, Edges, Spans


def gathered(parts: Sequence[tuple[bytes, Spans]], field: int) -> tuple[Edges, Data]:
    """The texts of a field, over bodies and the spans of their events, in order."""
    lengths = np.concatenate([spans[:, 2 * field + 1] - spans[:, 2 * field] for _, spans in parts])
    edges = np.zeros(len(lengths) + 1, np.int32)
    np.cumsum(lengths, out=edges[1:])
    data = np.empty(edges[-1], np.uint8)
    at = 0
    for body, spans in parts:
        at = gather(np.frombuffer(body, np.uint8), spans, field, data, at)
    return edges, data


@compiled(INT, BYTES, TABLE, INT, NEW_BYTES, INT)
def gather(text: Data, spans: Spans, field: int, data: Data, at: int) -> int:
    """Copy `field` of every row of `spans` to `data` from `at` on; return the end."""
    for row in range(len(spans)):
        start, end = spans[row, 2 * field], spans[row, 2 * field + 1]
        for place in range(end - start):
            data[np.uint64(at + place)] = text[np.uint64(start + place)]
        at += end - start
    return at
