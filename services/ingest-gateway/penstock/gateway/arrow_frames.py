"""The frames of an Arrow IPC stream, walked before Arrow reads it: is it whole, and how large does it claim to be?

Buffers inside may be compressed, and Arrow allocates what they claim; so their claims are added up first. Reads the few
fields of the messages' flatbuffers that say so (format/Message.fbs of Apache Arrow), and nothing else.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from penstock.kernel.problems import BadRequest, TooLarge

CONTINUATION = b"\xff\xff\xff\xff"
FILE_MAGIC = b"ARROW1"
SCHEMA, DICTIONARY_BATCH, RECORD_BATCH = 1, 2, 3
FRAMES_MAX = 1_000
_NOT_COMPRESSED = -1
_CUT_OFF = "the Arrow stream is cut off"


class Frame(NamedTuple):
    """A message of the stream. `rows` are those of a record batch; `bytes_claimed` once its buffers are unpacked."""

    kind: int
    rows: int
    bytes_claimed: int


def rows_of(stream: bytes, bytes_max: int) -> int:
    """The rows of a whole stream. Raise `BadRequest` for what is none, `TooLarge` where it claims too many bytes."""
    if stream[: len(FILE_MAGIC)] == FILE_MAGIC:
        raise BadRequest("the body is an Arrow file, send the stream format: pyarrow.ipc.new_stream writes it")
    rows = claimed = 0
    try:
        for number, frame in enumerate(_frames(stream)):
            if number >= FRAMES_MAX:
                raise BadRequest(f"the Arrow stream has more than {FRAMES_MAX} messages: send fewer, larger batches")
            claimed += frame.bytes_claimed
            if claimed > bytes_max:
                raise TooLarge(f"the Arrow stream has more than {bytes_max} bytes uncompressed")
            rows += frame.rows if frame.kind == RECORD_BATCH else 0
    except (struct.error, ValueError, IndexError, OverflowError) as exc:
        raise BadRequest("the body is not an Arrow IPC stream, or a corrupt one") from exc
    return rows


def _frames(stream: bytes) -> Iterator[Frame]:
    at = 0
    while True:
        head = stream[at : at + 8]
        if len(head) < 8:
            raise BadRequest(_CUT_OFF if at else "the body is not an Arrow IPC stream")
        if head[:4] != CONTINUATION:
            raise BadRequest("the body is not an Arrow IPC stream")
        (length,) = struct.unpack("<i", head[4:])
        if not length:
            break
        message = _Table.root(_sub(stream, at + 8, length))
        body_bytes = message.number(3, "<q")
        body = _sub(stream, at + 8 + length, body_bytes)
        yield _frame(message, body)
        at += 8 + length + body_bytes
    if at + 8 != len(stream):
        raise BadRequest("the body goes on after the end of the Arrow stream")


def _sub(stream: bytes, start: int, length: int) -> memoryview:
    if length < 0:
        raise ValueError("a negative length")
    if start + length > len(stream):
        raise BadRequest(_CUT_OFF)
    return memoryview(stream)[start : start + length]


def _frame(message: _Table, body: memoryview) -> Frame:
    kind = message.number(1, "<B")
    if kind not in (DICTIONARY_BATCH, RECORD_BATCH):
        return Frame(kind, 0, 0)
    batch = message.table(2)
    if kind == DICTIONARY_BATCH:
        batch = batch.table(1)
    rows = batch.number(0, "<q")
    if rows < 0:
        raise ValueError("a negative number of rows")
    return Frame(kind, rows, _claimed(batch, body) if batch.has(3) else len(body))


def _claimed(batch: _Table, body: memoryview) -> int:
    """The bytes of compressed buffers once unpacked: each says so in its first eight bytes."""
    total = 0
    for start, length in batch.pairs(2):
        if length:
            (claim,) = struct.unpack_from("<q", body, start)
            if claim < _NOT_COMPRESSED:
                raise ValueError("a negative length")
            total += length if claim == _NOT_COMPRESSED else claim
    return total


class _Table:
    """A flatbuffers table. Whatever points outside the message raises `struct.error` or `ValueError`."""

    def __init__(self, data: memoryview, at: int) -> None:
        self._data, self._at = data, at
        self._fields = at - self._read("<i", at)
        self._fields_bytes = self._read("<H", self._fields)

    @classmethod
    def root(cls, data: memoryview) -> _Table:
        (at,) = struct.unpack_from("<I", data)
        return cls(data, at)

    def _read(self, kind: str, at: int) -> int:
        if at < 0:
            raise ValueError("a place before the message")
        value: int = struct.unpack_from(kind, self._data, at)[0]
        return value

    def _place(self, field: int) -> int:
        """Where the field's value is, 0 where it is left out."""
        entry = 4 + 2 * field
        offset = self._read("<H", self._fields + entry) if entry < self._fields_bytes else 0
        return self._at + offset if offset else 0

    def has(self, field: int) -> bool:
        return self._place(field) > 0

    def number(self, field: int, kind: str) -> int:
        place = self._place(field)
        return self._read(kind, place) if place else 0

    def table(self, field: int) -> _Table:
        place = self._place(field)
        if not place:
            raise ValueError("a part of the message is missing")
        return _Table(self._data, place + self._read("<I", place))

    def pairs(self, field: int) -> list[tuple[int, int]]:
        """A vector of structs of two 64-bit numbers."""
        place = self._place(field)
        if not place:
            return []
        place += self._read("<I", place)
        count = self._read("<I", place)
        pairs = np.frombuffer(self._data, "<i8", 2 * count, place + 4).reshape(-1, 2)
        if (pairs < 0).any():
            raise ValueError("a buffer before the message")
        return [(int(start), int(length)) for start, length in pairs]
