"""The records of a spool segment: length, checksum, bytes; what a kill or a power cut leaves torn is told from whole.

    segment = MAGIC record*        record = length (uint32), CRC-32 of length and payload (uint32), payload
"""

from __future__ import annotations

import struct
import zlib

import msgspec

MAGIC = b"PNSPOOL1"
HEADER = struct.Struct("<II")
_LENGTH = struct.Struct("<I")


class Scan(msgspec.Struct, frozen=True):
    """The whole records at the head of a segment: how many, and where they end. `skipped_end`: where the skipped do."""

    count: int
    end: int
    skipped_end: int


def pack(payload: bytes) -> bytes:
    length = len(payload)
    return HEADER.pack(length, _checksum(length, payload)) + payload


def scan(segment: bytes | memoryview, skip: int = 0) -> Scan:
    """Read whole records up to the first that is torn or damaged. Without its magic a segment has none, and ends at 0.

    `skip` is how many records at its head are of no interest.
    """
    if bytes(segment[: len(MAGIC)]) != MAGIC:
        return Scan(0, 0, 0)
    count, at = 0, len(MAGIC)
    skipped_end = at
    while at + HEADER.size <= len(segment):
        length, checksum = HEADER.unpack_from(segment, at)
        payload = segment[at + HEADER.size : at + HEADER.size + length]
        if len(payload) != length or _checksum(length, payload) != checksum:
            break
        at += HEADER.size + length
        count += 1
        if count == skip:
            skipped_end = at
    return Scan(count, at, skipped_end)


def _checksum(length: int, payload: bytes | memoryview) -> int:
    return zlib.crc32(payload, zlib.crc32(_LENGTH.pack(length)))
