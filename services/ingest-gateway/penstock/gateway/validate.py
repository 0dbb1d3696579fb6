"""What the gateway refuses, event by event, and why. Pure: columns and the time in, times and reasons out.

Column operations, so that a good batch costs no Python statement per event. Who refuses what is settled in DESIGN.md
section 5: what `properties` hold is the fold's to judge, here only their shape.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

from penstock.gateway.brackets import nesting, opens
from penstock.gateway.columns import Columns
from penstock.gateway.timestamps import Times, parse_times
from penstock.kernel.event import (
    BACKDATE_DAYS_MAX,
    CUSTOMER_KEY_CHARS_MAX,
    EVENT_TYPE_CHARS_MAX,
    FUTURE_HOURS_MAX,
    NESTING_MAX,
    PROPERTIES_BYTES_MAX,
    TRANSACTION_ID_CHARS_MAX,
)

US_PER_HOUR = 3_600_000_000
Reasons = dict[int, str]


def validate(columns: Columns, now_us: int) -> tuple[Times, Reasons]:
    """The instant of each event, and by row the first reason why it is rejected; the rows without one are good."""
    times_us, bad_times = parse_times(columns.timestamps)
    reasons: Reasons = {}
    for found in (
        _bad_texts("transaction_id", columns.transaction_ids, TRANSACTION_ID_CHARS_MAX),
        _bad_texts("customer_id", columns.customers, CUSTOMER_KEY_CHARS_MAX),
        _bad_texts("event_type", columns.event_types, EVENT_TYPE_CHARS_MAX),
        bad_times.items(),
        _out_of_reach(times_us, now_us),
        _bad_properties(columns),
    ):
        for row, reason in found:
            reasons.setdefault(row, reason)
    return times_us, reasons


def _rows(bad: npt.NDArray[np.bool_]) -> list[int]:
    rows: list[int] = np.flatnonzero(bad).tolist()
    return rows


def _bad_texts(name: str, texts: Sequence[str], chars_max: int) -> Iterable[tuple[int, str]]:
    lengths = np.fromiter(map(len, texts), np.int64, len(texts))
    for row in _rows((lengths == 0) | (lengths > chars_max)):
        yield row, f"{name} has {lengths[row]} characters, at most {chars_max}" if lengths[row] else f"{name} is empty"


def _out_of_reach(times_us: Times, now_us: int) -> Iterable[tuple[int, str]]:
    for row in _rows(times_us < now_us - BACKDATE_DAYS_MAX * 24 * US_PER_HOUR):
        yield row, f"timestamp is more than {BACKDATE_DAYS_MAX} days ago"
    for row in _rows(times_us > now_us + FUTURE_HOURS_MAX * US_PER_HOUR):
        yield row, f"timestamp is more than {FUTURE_HOURS_MAX} hours ahead"


def _bad_properties(columns: Columns) -> Iterable[tuple[int, str]]:
    starts, lengths = columns.starts, columns.ends - columns.starts
    for row in _rows(np.frombuffer(columns.joined, np.uint8)[starts] != ord("{")):
        yield row, "properties must be a JSON object"
    for row in _rows(lengths > PROPERTIES_BYTES_MAX):
        yield row, f"properties have {lengths[row]} bytes, at most {PROPERTIES_BYTES_MAX}"
    # Each object opens one bracket; nothing can be too deep unless there are this many more.
    if opens(columns.joined) >= len(columns) + NESTING_MAX:
        for row, properties in enumerate(columns.properties):
            if len(properties) <= PROPERTIES_BYTES_MAX and _too_deep(bytes(properties)):
                yield row, f"properties are nested more than {NESTING_MAX} levels deep"


def _too_deep(text: bytes) -> bool:
    return opens(text) > NESTING_MAX and nesting(text) > NESTING_MAX
