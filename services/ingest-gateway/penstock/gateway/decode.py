"""From the bytes of a request to its events. A JSON array, or one object; one bad element never sinks the others.

A plain body stays bytes (`plain.py`). Of another the whole array is decoded at once and `properties` are left unread.
Only where that fails is the body cut into its elements, by brackets and quotes alone, and each judged by itself.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence

import msgspec

from penstock.gateway.brackets import element_edges
from penstock.gateway.columns import Columns
from penstock.gateway.plain import Envelopes, read_plain
from penstock.kernel.event import NESTING_MAX, UsageEvent
from penstock.kernel.problems import BadRequest, TooLarge

_ARRAY = msgspec.json.Decoder(list[UsageEvent])
_ONE = msgspec.json.Decoder(UsageEvent)
UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
TOO_DEEP = f"nested more than {NESTING_MAX} levels deep"


class Refusal(msgspec.Struct, frozen=True):
    """Why the event at `index` of the request is rejected."""

    index: int
    transaction_id: str | None
    reason: str


class Decoded(msgspec.Struct, frozen=True):
    """What a body holds. `indexes` are the places of `events` in the request; with no refusal, simply 0, 1, 2, ..."""

    events: list[UsageEvent] | Envelopes | Columns
    indexes: Sequence[int]
    refusals: tuple[Refusal, ...] = ()


def decode(body: bytes, events_max: int, bytes_max: int) -> Decoded:
    """Raise `BadRequest` for what is no array of elements or has too many of them, `TooLarge` for too many bytes."""
    refuse_too_large(len(body), bytes_max)
    plain = read_plain(body, events_max)
    if plain is not None:
        return Decoded(plain, range(len(plain)))
    if body.lstrip()[:1] == b"{":
        body = b"[" + body + b"]"
    try:
        events = _ARRAY.decode(body)
    except UNREADABLE as exc:
        return _judge_alone(body, events_max, exc)
    refuse_too_many(len(events), events_max)
    return Decoded(events, range(len(events)))


def refuse_too_large(body_bytes: int, bytes_max: int) -> None:
    if body_bytes > bytes_max:
        raise TooLarge(f"the body has {body_bytes} bytes, at most {bytes_max} are taken")


def refuse_too_many(events: int, events_max: int) -> None:
    if events > events_max:
        raise BadRequest(f"the request has {events} events, at most {events_max} are taken: send them in parts")


def _judge_alone(body: bytes, events_max: int, cause: Exception) -> Decoded:
    edges = element_edges(body)
    if edges is None:
        raise BadRequest(f"the body is not a JSON array of events: {cause}") from cause
    refuse_too_many(len(edges) - 1, events_max)
    return judge_each(body[start + 1 : end] for start, end in itertools.pairwise(edges.tolist()))


def judge_each(elements: Iterable[bytes]) -> Decoded:
    """Elements of which one at least may be bad, one by one."""
    events: list[UsageEvent] = []
    indexes: list[int] = []
    refusals: list[Refusal] = []
    for index, element in enumerate(elements):
        try:
            events.append(_ONE.decode(element))
            indexes.append(index)
        except UNREADABLE as exc:
            refusals.append(Refusal(index, None, why_unreadable(exc)))
    return Decoded(events, indexes, tuple(refusals))


def why_unreadable(exc: Exception) -> str:
    return TOO_DEEP if isinstance(exc, RecursionError) else str(exc)
