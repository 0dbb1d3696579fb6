"""RFC 3339 instants to microseconds, a whole column at once.

Both readers below take the same grammar and give the same instant, so that an event's fate never depends on its
batch-mates: the slow one exists to say what is wrong, and for what Arrow's parser does not know.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime, timedelta

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from penstock.kernel.window import EPOCH

Times = npt.NDArray[np.int64]

ONE_BY_ONE_MAX = 64
# The shortest instant with seconds and a zone, and where its parts are set off.
_CHARS_MIN = len("2026-01-31T12:00:00Z")
_MINUTES_AT, _SECONDS_AT, _ZONE_MINUTES_AT = 13, 16, -3
_PARTS = re.compile(
    r"(\d{4})-(\d{2})-(\d{2})[Tt ](\d{2}):(\d{2}):(\d{2})(?:\.(\d{1,9}))?(?:[Zz]|([+-])(\d{2}):(\d{2}))?", re.ASCII
)

NOT_RFC_3339 = "timestamp is not RFC 3339, such as 2026-01-31T12:00:00Z"
NO_ZONE = "timestamp has no time zone: end it with Z or an offset such as +02:00"
LEAP_SECOND = "timestamp names a leap second, which is not supported: send second 59"


def parse_times(texts: pa.StringArray) -> tuple[Times, dict[int, str]]:
    """Microseconds since the epoch, finer digits cut off, and by row why it is no instant (its time is then 0).

    A column with a bad row is halved until the bad row stands among few, so that one costs little.
    """
    times = _all_at_once(texts)
    if times is not None:
        return times, {}
    if len(texts) <= ONE_BY_ONE_MAX:
        return _one_by_one(texts.to_pylist())
    half = len(texts) // 2
    (left, left_reasons), (right, right_reasons) = parse_times(texts[:half]), parse_times(texts[half:])
    reasons = left_reasons | {half + row: reason for row, reason in right_reasons.items()}
    return np.concatenate([left, right]), reasons


def _all_at_once(texts: pa.StringArray) -> Times | None:
    if not len(texts):
        return np.zeros(0, np.int64)
    try:
        nanoseconds: Times = texts.cast(pa.timestamp("ns", tz="UTC")).cast(pa.int64()).to_numpy()
    except pa.ArrowInvalid:
        return None
    return nanoseconds // 1_000 if _have_all_parts(texts) else None


def _have_all_parts(texts: pa.StringArray) -> bool:
    """Whether each text that Arrow's parser took has seconds, and minutes in its zone: Arrow does without either."""
    _, offsets, data = texts.buffers()
    edges = np.frombuffer(offsets, np.int32, len(texts) + 1, 4 * texts.offset)
    starts, ends, chars = edges[:-1], edges[1:], np.frombuffer(data, np.uint8)
    if (ends - starts).min() < _CHARS_MIN:
        return False
    if (chars[starts + _MINUTES_AT] != ord(":")).any() or (chars[starts + _SECONDS_AT] != ord(":")).any():
        return False
    utc = chars[ends - 1] == ord("Z")
    return bool((utc | (chars[ends + _ZONE_MINUTES_AT] == ord(":"))).all())


def _one_by_one(texts: Sequence[str]) -> tuple[Times, dict[int, str]]:
    times = np.zeros(len(texts), np.int64)
    reasons = {}
    for row, text in enumerate(texts):
        try:
            times[row] = parse_time(text)
        except ValueError as exc:
            reasons[row] = str(exc)
    return times, reasons


def parse_time(text: str) -> int:
    """One instant in microseconds since the epoch. Raise `ValueError` that says what is wrong with it."""
    parts = _PARTS.fullmatch(text)
    if parts is None:
        raise ValueError(NOT_RFC_3339)
    fraction, sign, zone_hours, zone_minutes = parts.group(7, 8, 9, 10)
    if sign is None and text[-1] not in "Zz":
        raise ValueError(NO_ZONE)
    if parts.group(6) == "60":
        raise ValueError(LEAP_SECOND)
    if sign is not None and (int(zone_hours) > 23 or int(zone_minutes) > 59):
        raise ValueError(NOT_RFC_3339)
    try:
        local = datetime(*map(int, parts.group(1, 2, 3, 4, 5, 6)), tzinfo=EPOCH.tzinfo)  # type: ignore[arg-type, misc]  # six parts, no zone among them
    except ValueError as exc:
        raise ValueError(NOT_RFC_3339) from exc
    offset = timedelta(hours=int(zone_hours or 0), minutes=int(zone_minutes or 0))
    since = local - EPOCH + (offset if sign == "-" else -offset)
    return since // timedelta(microseconds=1) + int((fraction or "")[:6].ljust(6, "0"))
