"""A segment: the stretch of a partition's log whose ids a file holds, and the head of the file that says so.

A place in the log is (day of the log clock, offset): ids are accepted in that order. So segments that touch make a
chain, and what a chain leaves out is a stretch that the store can be asked for.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

import msgspec
import xxhash

from penstock.kernel.event import GENERATIONS_KEPT
from penstock.kernel.record import Marker

HEAD_BYTES = 4096
_PREFIX = struct.Struct("<8sIQ")  # magic, length of the JSON text, its checksum


class IdsDamaged(OSError):
    """A file's bytes are not what was written. It has been put away; its ids are to be read from the store."""


class Position(NamedTuple):
    """The ids of earlier days, and of this day up to and with the record at `offset`."""

    day: int
    offset: int


class Segment(msgspec.Struct, frozen=True):
    """The ids of one partition accepted after `start` and up to `end`; `counts` says how many on which day."""

    log_id: str
    partition: int
    start: Position
    end: Position
    counts: dict[int, int]

    @property
    def rows(self) -> int:
        return sum(self.counts.values())

    @property
    def name(self) -> str:
        return f"{self.start.day}.{self.start.offset}-{self.end.day}.{self.end.offset}"


class Head(msgspec.Struct, frozen=True):
    """What the first bytes of a file say. `content` is the checksum of the checksums of the blocks."""

    version: int
    segment: Segment
    content: int


VERSION = 1


def first_live(marker: Marker) -> Position:
    """The place before which every id has expired as of the marker."""
    return Position(marker.clock_day - GENERATIONS_KEPT + 1, -1)


def pack(magic: bytes, head: Head) -> bytes:
    text = msgspec.json.encode(head)
    packed = _PREFIX.pack(magic, len(text), xxhash.xxh3_64_intdigest(text)) + text
    assert len(packed) <= HEAD_BYTES
    return packed.ljust(HEAD_BYTES, b"\0")


def unpack(magic: bytes, packed: bytes) -> Head:
    """Raise `IdsDamaged` for bytes that are no head, or one of another version."""
    if len(packed) == HEAD_BYTES:
        found, length, checksum = _PREFIX.unpack_from(packed)
        text = packed[_PREFIX.size : _PREFIX.size + length]
        if (found, checksum) == (magic, xxhash.xxh3_64_intdigest(text)):
            head = msgspec.json.decode(text, type=Head)
            if head.version == VERSION:
                return head
    raise IdsDamaged("not a file of ids, or damaged, or of another version")
