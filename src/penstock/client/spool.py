"""The disk spool: events in checksummed segments that survive kill -9 and a power cut, deleted once answered.

    DIR/lock                 held (flock) by the one client that uses the spool
    DIR/acknowledged         up to where the server has answered: segment number, records of it
    DIR/0000000000000001     segments, in order; only the last one may end in a torn record
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import logging
import os
import struct
import zlib
from pathlib import Path
from typing import BinaryIO

import msgspec

from penstock.client import records
from penstock.client.errors import SpoolDamaged, SpoolFull, SpoolLocked
from penstock.client.event import EVENT_BYTES_MAX
from penstock.client.store import Syncing

BYTES_MAX_AT_LEAST = 8 * EVENT_BYTES_MAX
SEGMENT_BYTES_MAX = 16 * 1024 * 1024
READ_AHEAD_BYTES = 256 * 1024
_ACKNOWLEDGED = struct.Struct("<QQI")

logger = logging.getLogger(__name__)


class _Segment(msgspec.Struct):
    """`first` is the number of its first event; below 0 where records at its head are answered. `end` is in bytes."""

    number: int
    path: Path
    first: int
    count: int
    end: int

    @property
    def below(self) -> int:
        """The number of the first event behind it."""
        return self.first + self.count


class Spool:
    """`Store` on disk, at most `bytes_max` of it. For one client at a time: `SpoolLocked` for a second one."""

    def __init__(self, folder: Path, bytes_max: int) -> None:
        if bytes_max < BYTES_MAX_AT_LEAST:
            raise ValueError(f"a spool needs at least {BYTES_MAX_AT_LEAST} bytes")
        self._folder, self._bytes_max = folder, bytes_max
        # A quarter: what is answered but shares a segment with what is not takes room until the segment is done.
        self._segment_bytes_max = min(SEGMENT_BYTES_MAX, bytes_max // 4)
        with contextlib.ExitStack() as undo:
            self._lock_file = _lock(folder)
            undo.callback(os.close, self._lock_file)
            self._acknowledged_file = os.open(folder / "acknowledged", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            undo.callback(os.close, self._acknowledged_file)
            self._segments, self._read_from, self._next_number = self._recover()
            undo.pop_all()
        self.recovered = self._segments[-1].below if self._segments else 0
        self._read_below = 0
        self._reader: tuple[_Segment, BinaryIO] | None = None
        self._writing: int | None = None  # the file of the last segment, where it is this life's
        self._bytes = sum(segment.end for segment in self._segments)

    def _recover(self) -> tuple[list[_Segment], int, int]:
        """The segments with events to send, the place in the first where they begin, the number for a new one."""
        number, answered = _read_acknowledged(self._acknowledged_file)
        paths = sorted(path for path in self._folder.iterdir() if path.name.isdecimal())
        next_number = max([number, *(int(path.name) for path in paths)]) + 1
        segments: list[_Segment] = []
        first, read_from = 0, len(records.MAGIC)
        for path in paths:
            skip = answered if int(path.name) == number else 0
            if int(path.name) < number or (found := _scan(path, skip, is_last=path == paths[-1])).count == skip:
                path.unlink()
                continue
            if not segments:
                read_from = found.skipped_end
            segments.append(_Segment(int(path.name), path, first - skip, found.count, found.end))
            first += found.count - skip
        return segments, read_from, next_number

    def has_room(self, event_bytes: int) -> bool:
        """`event.EVENT_BYTES_MAX` and the least size of a spool see to it that there will be room for any event."""
        return self._bytes + records.HEADER.size + event_bytes + len(records.MAGIC) <= self._bytes_max

    def full(self) -> SpoolFull:
        return SpoolFull(f"the spool has {self._bytes} bytes of the {self._bytes_max} that it may have")

    def append(self, event: bytes) -> None:
        if self._writing is not None and self._segments[-1].end >= self._segment_bytes_max:
            self._seal()
        if self._writing is None:
            self._start_segment()
        assert self._writing is not None
        record = records.pack(event)
        self._write(self._writing, record, self._segments[-1].end)
        self._segments[-1].count += 1
        self._segments[-1].end += len(record)
        self._bytes += len(record)

    def _write(self, file: int, data: bytes, at: int) -> None:
        """Write at the end of the file, all or nothing."""
        try:
            written = os.pwrite(file, data, at)
            while written < len(data):
                written += os.pwrite(file, data[written:], at + written)
        except OSError as exc:
            os.ftruncate(file, at)
            raise SpoolFull(f"the spool cannot be written: {exc}") from exc

    def _start_segment(self) -> None:
        path = self._folder / f"{self._next_number:016}"
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            self._write(file, records.MAGIC, 0)
            _sync_folder(self._folder)
        except (OSError, SpoolFull):
            os.close(file)
            path.unlink()
            raise
        first = self._segments[-1].below if self._segments else self._read_below
        self._segments.append(_Segment(self._next_number, path, first, 0, len(records.MAGIC)))
        self._bytes += len(records.MAGIC)
        self._next_number += 1
        self._writing = file

    def _seal(self) -> None:
        """What is behind the last segment only ever follows a durable one."""
        assert self._writing is not None
        os.fsync(self._writing)
        os.close(self._writing)
        self._writing = None

    def read(self, events_max: int, bytes_max: int) -> list[bytes]:
        taken: list[bytes] = []
        size = 0
        while len(taken) < events_max:
            reader = self._reader_at(self._read_below)
            if reader is None:
                break
            head = reader.read(records.HEADER.size)
            length, _ = records.HEADER.unpack(head)
            size += length
            if taken and size > bytes_max:
                reader.seek(-records.HEADER.size, os.SEEK_CUR)
                break
            taken.append(reader.read(length))
            self._read_below += 1
        return taken

    def _reader_at(self, number: int) -> BinaryIO | None:
        """The file that stands at event `number`, or None where there is no such event yet."""
        if self._reader is not None:
            segment, reader = self._reader
            if number < segment.below:
                return reader
        segment_of = next((segment for segment in self._segments if number < segment.below), None)
        if segment_of is None:
            return None
        if self._reader is not None:
            self._reader[1].close()
        reader = segment_of.path.open("rb", READ_AHEAD_BYTES)
        reader.seek(self._read_from if segment_of.first <= 0 else len(records.MAGIC))
        self._reader = (segment_of, reader)
        return reader

    def settle(self, below: int) -> None:
        done = [segment for segment in self._segments if segment.below <= below]
        if self._writing is not None and self._segments[-1] in done:
            done.pop()
        here = next((segment for segment in self._segments if segment not in done), None) or done[-1]
        _write_acknowledged(self._acknowledged_file, here.number, min(below - here.first, here.count))
        for segment in done:
            segment.path.unlink()
            self._segments.remove(segment)
            self._bytes -= segment.end

    def syncing(self) -> Syncing:
        below = self._segments[-1].below if self._segments else self._read_below
        if self._writing is None:
            return Syncing(below, lambda: None)
        # A copy, so that the segment may be sealed and closed meanwhile.
        return Syncing(below, functools.partial(_sync_and_close, os.dup(self._writing)))

    def close(self) -> None:
        """Let go of the spool; a segment whose events are all answered goes too."""
        if self._reader is not None:
            self._reader[1].close()
        if self._writing is not None:
            self._seal()
        number, answered = _read_acknowledged(self._acknowledged_file)
        for segment in self._segments:
            if segment.number == number and segment.count <= answered:
                segment.path.unlink()
        os.close(self._acknowledged_file)
        os.close(self._lock_file)


def _lock(folder: Path) -> int:
    folder.mkdir(parents=True, exist_ok=True)
    _sync_folder(folder.parent)
    file = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as exc:
        os.close(file)
        raise SpoolLocked(f"another client has the spool {folder}") from exc
    return file


def _scan(path: Path, answered: int, *, is_last: bool) -> records.Scan:
    """What the segment holds; a torn tail of the last one is cut off. Raise `SpoolDamaged` for what no kill can do."""
    segment = path.read_bytes()
    found = records.scan(memoryview(segment), answered)
    is_torn = found.end < len(segment)
    # What was answered had been made durable first, so that it cannot be in a torn tail.
    if (is_torn and not is_last) or found.count < answered:
        raise SpoolDamaged(f"{path} is damaged at byte {found.end}: move it away to go on without its events")
    if is_torn:
        logger.warning("%s: cut a torn record of %d bytes", path, len(segment) - found.end)
    if is_last:
        with path.open("r+b") as file:
            file.truncate(found.end)
            os.fsync(file.fileno())  # whole or not: the life that wrote it may have ended before its fsync
    return found


def _read_acknowledged(file: int) -> tuple[int, int]:
    """Segment number and records of it that are answered; nothing is known where the file is new or torn."""
    data = os.pread(file, _ACKNOWLEDGED.size, 0)
    if len(data) == _ACKNOWLEDGED.size:
        number, count, checksum = _ACKNOWLEDGED.unpack(data)
        if checksum == zlib.crc32(data[:16]):
            return number, count
    return 0, 0


def _write_acknowledged(file: int, number: int, count: int) -> None:
    """Without fsync: losing it only means that some events are sent again."""
    head = _ACKNOWLEDGED.pack(number, count, 0)[:16]
    os.pwrite(file, _ACKNOWLEDGED.pack(number, count, zlib.crc32(head)), 0)


def _sync_folder(folder: Path) -> None:
    file = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(file)
    finally:
        os.close(file)


def _sync_and_close(file: int) -> None:
    try:
        os.fsync(file)
    finally:
        os.close(file)
