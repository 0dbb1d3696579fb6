"""What the gateway refuses, event by event, and why. Pure: columns and the time in, reasons out.

Column operations, so that a good batch costs no Python statement per event. Who refuses what is settled in DESIGN.md
section 5: what `properties` hold is the fold's to judge, here only their shape.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from penstock.gateway.brackets import nesting, opens
from penstock.gateway.columns import Columns, codes_of
from penstock.gateway.timestamps import Times
from penstock.kernel.event import (
    BACKDATE_DAYS_MAX,
    CUSTOMER_KEY_CHARS_MAX,
    EVENT_TYPE_CHARS_MAX,
    FUTURE_HOURS_MAX,
    NESTING_MAX,
    PROPERTIES_BYTES_MAX,
    TRANSACTION_ID_CHARS_MAX,
)
from penstock.kernel.layer import Layer

US_PER_HOUR = 3_600_000_000
Reasons = dict[int, str]


class OfLayer(NamedTuple):
    """Rows [start, end) that a backfill's layer takes, or refuses."""

    start: int
    end: int
    layer: Layer


def validate(
    columns: Columns,
    now_us: int,
    properties_bytes_max: int = PROPERTIES_BYTES_MAX,
    of_layers: Sequence[OfLayer] = (),
) -> Reasons:
    """By row the first reason why an event is rejected; the rows without one are good. Those of no layer are live."""
    reasons: Reasons = {}
    for found in (
        _bad_texts("transaction_id", columns.transaction_ids, TRANSACTION_ID_CHARS_MAX),
        _bad_codes("customer_id", columns.customers, CUSTOMER_KEY_CHARS_MAX),
        _bad_codes("event_type", columns.event_types, EVENT_TYPE_CHARS_MAX),
        columns.bad_times.items(),
        _out_of_reach(columns.times_us, now_us, of_layers),
        *(_out_of_layer(columns, rows) for rows in of_layers),
        _bad_properties(columns, properties_bytes_max),
    ):
        for row, reason in found:
            reasons.setdefault(row, reason)
    return reasons


def _rows(bad: npt.NDArray[np.bool_]) -> list[int]:
    rows: list[int] = np.flatnonzero(bad).tolist()
    return rows


def _bad_texts(name: str, texts: pa.StringArray, chars_max: int) -> Iterable[tuple[int, str]]:
    lengths = pc.binary_length(texts).to_numpy(zero_copy_only=False)
    for row in _rows((lengths == 0) | (lengths > chars_max)):
        chars = len(texts[row].as_py())
        if not chars:
            yield row, f"{name} is empty"
        elif chars > chars_max:  # more bytes than that may still be few enough characters
            yield row, f"{name} has {chars} characters, at most {chars_max}"


def _bad_codes(name: str, column: pa.DictionaryArray, chars_max: int) -> Iterable[tuple[int, str]]:
    bad = dict(_bad_texts(name, column.dictionary, chars_max))
    if bad:
        codes = codes_of(column)
        for row in _rows(np.isin(codes, list(bad))):
            yield row, bad[int(codes[row])]


def _out_of_reach(times_us: Times, now_us: int, of_layers: Sequence[OfLayer]) -> Iterable[tuple[int, str]]:
    for start, end, _ in of_layers:
        times_us = times_us.copy()
        times_us[start:end] = now_us  # a layer says itself what it reaches
    for row in _rows(times_us < now_us - BACKDATE_DAYS_MAX * 24 * US_PER_HOUR):
        yield row, f"timestamp is more than {BACKDATE_DAYS_MAX} days ago"
    for row in _rows(times_us > now_us + FUTURE_HOURS_MAX * US_PER_HOUR):
        yield row, f"timestamp is more than {FUTURE_HOURS_MAX} hours ahead"


def _out_of_layer(columns: Columns, rows: OfLayer) -> Iterable[tuple[int, str]]:
    start, end, layer = rows
    times_us = columns.times_us[start:end]
    for row in _rows((times_us < layer.start_us) | (times_us >= layer.end_us)):
        yield start + row, "timestamp is not in the interval of the backfill"
    has = np.array([layer.has(key) for key in columns.customers.dictionary.to_pylist()], bool)
    for row in _rows(~has[codes_of(columns.customers)[start:end]]):
        yield start + row, "customer_id is not one of the backfill's customers"


def _bad_properties(columns: Columns, bytes_max: int) -> Iterable[tuple[int, str]]:
    if not len(columns):
        return
    _, offsets, data = columns.properties.buffers()
    edges = np.frombuffer(offsets, np.int32, len(columns) + 1, 4 * columns.properties.offset)
    lengths = np.diff(edges)
    for row in _rows(np.frombuffer(data, np.uint8)[edges[:-1]] != ord("{")):
        yield row, "properties must be a JSON object"
    for row in _rows(lengths > bytes_max):
        yield row, f"properties have {lengths[row]} bytes, at most {bytes_max}"
    # What is nested deeper than this has as many brackets. Each object opens one; nothing is too deep unless there are
    # so many more of them.
    long = _rows((lengths > 2 * NESTING_MAX) & (lengths <= bytes_max))
    if long and opens(data.to_pybytes()) >= len(columns) + NESTING_MAX:
        for row in long:
            if _too_deep(columns.properties[row].as_py()):
                yield row, f"properties are nested more than {NESTING_MAX} levels deep"


def _too_deep(text: bytes) -> bool:
    return opens(text) > NESTING_MAX and nesting(text) > NESTING_MAX
