"""Whatever bytes come, a decoder answers or raises a Problem; nothing else ever leaves it.

Each is fed noise, good bodies with some bytes changed, and good bodies cut short. What it takes must also pass the rest
of the gateway: validation, hashing and the chunk.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from typing import Any, TypeVar

import pyarrow as pa
import pytest
from backports import zstd
from hypothesis import example, given, settings
from hypothesis import strategies as st

from penstock.gateway.answer import Receipt
from penstock.gateway.batch import Batch
from penstock.gateway.dedupe import Window
from penstock.gateway.encodings import unpack
from penstock.gateway.formats import Format, decode_body
from penstock.kernel.chunk import Chunk
from penstock.kernel.problems import Problem
from penstock.kernel.record import LogIdentity
from penstock.kernel.window import to_us
from unit.gateway.arrow_bodies import a_column_set, a_stream
from unit.gateway.givens import NOON, an_event

T = TypeVar("T")

EVENTS_MAX = 50
BYTES_MAX = 1 << 20
EXAMPLES = 300
LOG = LogIdentity("log", 2, b"k" * 32)

_EVENTS = [an_event(f"txn-{number}", properties={"n": number, "text": 'a"\\[{,\n'}) for number in range(4)]
_LINES = [json.dumps(event).encode() for event in _EVENTS]
_VIEWS = {name: pa.array(["a", "a longer one than twelve"], pa.string_view()) for name in ("customer_id", "event_type")}
SEEDS: dict[Format, list[bytes]] = {
    Format.JSON: [b"[" + b",".join(_LINES) + b"]", _LINES[0]],
    Format.NDJSON: [b"\n".join(_LINES), b"\r\n".join(_LINES) + b"\n\n"],
    Format.ARROW: [
        a_stream(a_column_set(), a_column_set()),
        a_stream(a_column_set(customer_id=pa.array(["a", "b", "a"]).dictionary_encode())),
        a_stream(a_column_set(), options=pa.ipc.IpcWriteOptions(compression="lz4")),
        a_stream(a_column_set(), options=pa.ipc.IpcWriteOptions(compression="zstd")),
        a_stream(a_column_set(2, **_VIEWS)),
        a_stream(a_column_set(timestamp=pa.array(["2026-07-01T11:59:00Z", None, "noon"]))),
    ],
}
PACKED = {"gzip": gzip.compress(SEEDS[Format.JSON][0]), "zstd": zstd.compress(SEEDS[Format.JSON][0])}


@st.composite
def mutated(draw: Any, seeds: list[bytes]) -> bytes:
    """A good body after a few accidents: bytes changed, taken out, put in, doubled, cut off."""
    body = bytearray(draw(st.sampled_from(seeds)))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, max(0, len(body) - 1)))
        length = draw(st.integers(1, 16))
        match draw(st.sampled_from(["change", "delete", "insert", "double", "cut"])):
            case "change":
                body[at : at + 1] = draw(st.binary(min_size=1, max_size=1))
            case "delete":
                del body[at : at + length]
            case "insert":
                body[at:at] = draw(st.binary(min_size=1, max_size=8))
            case "double":
                body[at:at] = body[at : at + length]
            case "cut":
                del body[at:]
    return bytes(body)


def attempt(decode: Callable[[], T]) -> T | None:
    """What it gives, or None for a Problem that says to the caller what is wrong."""
    caught = None
    try:
        return decode()
    except Problem as problem:
        caught = problem
    assert 400 <= caught.status < 500
    assert caught.detail
    return None


def judged(form: Format, body: bytes) -> None:
    """What the decoder takes goes the whole way to a chunk, and each event has one fate."""
    decoded = attempt(lambda: decode_body(form, body, EVENTS_MAX, BYTES_MAX))
    if decoded is None:
        return
    places = [*decoded.indexes, *(refusal.index for refusal in decoded.refusals)]
    assert sorted(places) == list(range(len(places)))
    assert len(decoded.events) == len(decoded.indexes)
    batch = Batch(["t"], [decoded], LOG, to_us(NOON), 1 << 20)
    batch.judge(Window(1_000, 1))
    answer = batch.answer(0, [Receipt(piece.partition, 0) for piece in batch.pieces])
    assert answer.accepted + answer.duplicate + answer.conflict + answer.rejected == len(places)
    chunks = [Chunk.decode(piece.payload) for piece in batch.pieces]
    assert sum(map(len, chunks)) == answer.accepted
    for properties in (text for chunk in chunks for text in chunk.properties):
        assert properties.startswith(b"{")


@pytest.mark.parametrize("form", Format)
def test_the_bodies_that_are_changed_here_are_good(form: Format) -> None:
    for body in SEEDS[form]:
        assert len(decode_body(form, body, EVENTS_MAX, BYTES_MAX).events) >= 1


@settings(max_examples=EXAMPLES)
@given(st.binary(max_size=200) | mutated(SEEDS[Format.JSON]))
@example(b'[{"transaction_id":"\\ud800"}]')
def test_any_json_is_answered(body: bytes) -> None:
    judged(Format.JSON, body)


@settings(max_examples=EXAMPLES)
@given(st.binary(max_size=200) | mutated(SEEDS[Format.NDJSON]))
@example(_LINES[0] + _LINES[1] + b"\n\n" + _LINES[2])
def test_any_ndjson_is_answered(body: bytes) -> None:
    judged(Format.NDJSON, body)


@settings(max_examples=EXAMPLES)
@given(st.lists(st.sampled_from([b"{", b"}", b"\n", b"[", b"]", b",", b"\r\n", *_LINES[:2], b'{"x":[{}', b"{}]}"])))
def test_each_line_of_ndjson_has_the_fate_that_it_has_alone(parts: list[bytes]) -> None:
    body = b"".join(parts)
    together = attempt(lambda: decode_body(Format.NDJSON, body, EVENTS_MAX, BYTES_MAX))
    assert together is not None
    lines = [line for line in body.split(b"\n") if line.strip()]
    alone = [decode_body(Format.NDJSON, line, EVENTS_MAX, BYTES_MAX) for line in lines]
    assert list(together.indexes) == [index for index, one in enumerate(alone) if one.events]
    assert [refusal.index for refusal in together.refusals] == [
        index for index, one in enumerate(alone) if one.refusals
    ]


@settings(max_examples=4 * EXAMPLES)
@given(st.binary(max_size=200) | mutated(SEEDS[Format.ARROW]))
def test_any_arrow_stream_is_answered(body: bytes) -> None:
    judged(Format.ARROW, body)


_TEXTS = [
    b"{}",
    b'{"a":1}',
    b'{"a":[',
    b"]}",
    b"{},{}",
    b" {}",
    b"{",
    b"}",
    b"",
    b"1",
    b'"',
    b'{"a":"',
    b'"}',
    b",",
    b"[]",
]


@settings(max_examples=EXAMPLES)
@given(st.lists(st.sampled_from(_TEXTS), min_size=1, max_size=8))
def test_properties_of_an_arrow_stream_are_judged_each_by_itself(texts: list[bytes]) -> None:
    columns = a_column_set(len(texts), properties=pa.array(texts, pa.binary()))
    got = decode_body(Format.ARROW, a_stream(columns), EVENTS_MAX, BYTES_MAX)
    assert list(got.indexes) == [row for row, text in enumerate(texts) if _is_json(text)]


def _is_json(text: bytes) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


@settings(max_examples=EXAMPLES)
@given(st.sampled_from(sorted(PACKED)), st.binary(max_size=200) | mutated(list(PACKED.values())))
def test_any_packed_body_is_answered(encoding: str, body: bytes) -> None:
    unpacked = attempt(lambda: unpack(body, encoding, BYTES_MAX))
    assert unpacked is None or len(unpacked) <= BYTES_MAX
