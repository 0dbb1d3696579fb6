"""Newline-delimited JSON: one event a line. Blank lines are passed over; one bad line never sinks the others."""

from __future__ import annotations

import io

import msgspec
import numpy as np

from penstock.gateway.decode import UNREADABLE, Decoded, judge_each, refuse_too_large, refuse_too_many
from penstock.kernel.event import UsageEvent
from penstock.kernel.problems import BadRequest

# So that a body of nothing but newlines is not walked line by line.
LINES_PER_EVENT_MAX = 10

_LINES = msgspec.json.Decoder(UsageEvent)


def decode_ndjson(body: bytes, events_max: int, bytes_max: int) -> Decoded:
    """The events of the lines that are not blank, numbered from 0. Raise as `decode` does."""
    refuse_too_large(len(body), bytes_max)
    lines = body.count(b"\n") + (not body.endswith(b"\n"))
    if lines > events_max * LINES_PER_EVENT_MAX:
        raise BadRequest(f"the request has {lines} lines, at most {events_max} events are taken: send them in parts")
    try:
        events = _LINES.decode_lines(body)
    except UNREADABLE:
        events = []
    if len(events) == lines and _ends_with_each_line(body):
        refuse_too_many(len(events), events_max)
        return Decoded(events, range(len(events)))
    written = [line for line in io.BytesIO(body) if line.strip()]
    refuse_too_many(len(written), events_max)
    return judge_each(written)


def _ends_with_each_line(body: bytes) -> bool:
    """Whether as many events as lines, which is what was decoded, are one on each line.

    The decoder looks at neither the ends of lines nor blank ones. But where `}` is followed by a line's end and `{`, no
    object goes on; so where all lines meet like that, none holds a part of an event, and thus each a whole one.
    """
    text = np.frombuffer(body, np.uint8)
    ends = np.flatnonzero(text[:-1] == ord("\n"))  # a last one is followed by nothing
    before = text[ends - 1]
    if (before == ord("\r")).any():
        before = np.where(before == ord("\r"), text[ends - 2], before)
    return bool(body[:1] == b"{" and (before == ord("}")).all() and (text[ends + 1] == ord("{")).all())
