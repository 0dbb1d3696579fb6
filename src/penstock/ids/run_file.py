"""A run of ids in a file: sorted rows that are mapped when a look-up first passes their filter.

The file is a head, the rows, a byte per row that tells its day, and a checksum per block of 24 KiB of both. Rows, not
columns: to find an id is to read one page. Days are looked at only where some of a file's have expired. A block is
checked before the first look at it: opening a file reads its head and no more, and no unchecked byte ever decides.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import weakref
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt
import xxhash

from penstock.ids import filter_file
from penstock.ids.segment import HEAD_BYTES, Head, IdsDamaged, Segment, unpack
from penstock.kernel.idrun import Asked, Filter, IdRows, Places, Words, conflicts, first_places, search

MAGIC = b"PENSTKID"
SUFFIX = ".ids"
ROW_BYTES = 24
BLOCK_BYTES = 1024 * ROW_BYTES
SUM_BYTES = 8
FILTERED_ROWS = 1 << 19
CAN_PREFETCH = hasattr(os, "posix_fadvise")  # macOS has none

Days = npt.NDArray[np.uint8]  # from the segment's first day on


class RunFile:
    """One immutable file. Raise `IdsDamaged` wherever its bytes are wrong, after which the file is gone."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor = os.open(path, os.O_RDONLY)
        weakref.finalize(self, os.close, self._descriptor)
        self._head = self._read_head()
        self._first_day = min(self.segment.counts)
        self._live_day = self._first_day
        self._count = self._rows = self.segment.rows
        self._verified = np.zeros(blocks_of(self._rows), bool)
        self._is_verified = False

    @property
    def segment(self) -> Segment:
        return self._head.segment

    @property
    def counts(self) -> Mapping[int, int]:
        return self.segment.counts

    def __len__(self) -> int:
        return self._count

    def drop_before(self, day: int) -> None:
        self._live_day = max(self._live_day, day)
        self._count = sum(count for of, count in self.segment.counts.items() if of >= self._live_day)

    def find(self, asked: Asked) -> tuple[Places, Places]:
        places = self._filter.passing(asked)
        if not len(places):
            return places, places
        start, end = self._filter.reach(asked.prefix[places])
        if not self._is_verified:
            self._verify(ROW_BYTES * start, ROW_BYTES * end)
        found, rows = search(self._flat, asked, places, start, end)
        if self._live_day > self._first_day:
            live = self._days_at(rows) >= self._live_day
            found, rows = found[live], rows[live]
        return found, conflicts(self._flat, asked, found, rows)

    def places(self, high: Words) -> Places:
        # Unchecked: who reads all that lies between such places has it checked then.
        return first_places(self._flat, high)

    def read(self, start: int, end: int) -> tuple[IdRows, Places]:
        self._verify(np.array([ROW_BYTES * start]), np.array([ROW_BYTES * end]))
        return self._flat[3 * start : 3 * end].reshape(-1, 3), self._days_at(np.arange(start, end))

    @property
    def filter_bytes(self) -> int:
        return self._filter.nbytes

    def remove(self) -> None:
        """Take the file's name away; what is open stays readable."""
        self.path.unlink(missing_ok=True)
        filter_file.path_of(self.path).unlink(missing_ok=True)

    @cached_property
    def _filter(self) -> Filter:
        kept = filter_file.load(self.path, self._head)
        if kept is None:
            kept = Filter(self._rows)
            for start in range(0, self._rows, FILTERED_ROWS):
                kept.add(self.read(start, min(start + FILTERED_ROWS, self._rows))[0])
            kept.finish()
            with contextlib.suppress(OSError):  # a full disk: it is made again at the next start
                filter_file.save(self.path, self._head, kept)
        return kept

    @cached_property
    def _map(self) -> mmap.mmap:
        mapped = mmap.mmap(self._descriptor, 0, access=mmap.ACCESS_READ)
        mapped.madvise(mmap.MADV_RANDOM)  # else a look-up of one page reads 32, and drives out others
        return mapped

    @cached_property
    def _flat(self) -> Words:
        return np.frombuffer(self._map, "<u8", 3 * self._rows, HEAD_BYTES)

    @cached_property
    def _days(self) -> Days:
        return np.frombuffer(self._map, np.uint8, self._rows, HEAD_BYTES + ROW_BYTES * self._rows)

    @cached_property
    def _sums(self) -> Words:
        packed = self._pread(SUM_BYTES * len(self._verified), HEAD_BYTES + data_bytes(self._rows))
        if xxhash.xxh3_64_intdigest(packed) != self._head.content:
            raise self._damaged("its checksums are wrong")
        return np.frombuffer(packed, "<u8")

    def _days_at(self, rows: Places) -> Places:
        place = ROW_BYTES * self._rows + rows
        self._verify(place, place + 1)
        return self._days.take(rows).astype(np.int64) + self._first_day

    def _verify(self, start: Places, end: Places) -> None:
        """Check the blocks that hold the bytes from each `start` to its `end`, exclusive, unless they have been."""
        block, last = start // BLOCK_BYTES, (end - 1) // BLOCK_BYTES
        while len(block):
            pending = np.unique(block[~self._verified[block]]).tolist()
            if CAN_PREFETCH:
                for each in pending:  # the disk may fetch them side by side
                    place = HEAD_BYTES + each * BLOCK_BYTES
                    os.posix_fadvise(self._descriptor, place, BLOCK_BYTES, os.POSIX_FADV_WILLNEED)
            for each in pending:
                self._verify_block(each)
            if pending:
                row_blocks = -(-ROW_BYTES * self._rows // BLOCK_BYTES)
                self._is_verified = bool(self._verified[:row_blocks].all())
            more = block < last
            block, last = block[more] + 1, last[more]

    def _verify_block(self, block: int) -> None:
        start = block * BLOCK_BYTES
        size = min(BLOCK_BYTES, data_bytes(self._rows) - start)
        # Not through the map: there, a disk that cannot read would end the process.
        if xxhash.xxh3_64_intdigest(self._pread(size, HEAD_BYTES + start)) != self._sums[block]:
            raise self._damaged(f"block {block} is not what was written")
        self._verified[block] = True

    def _read_head(self) -> Head:
        try:
            head = unpack(MAGIC, self._pread(HEAD_BYTES, 0))
        except IdsDamaged as exc:
            raise self._damaged(str(exc)) from exc
        rows = head.segment.rows
        size = HEAD_BYTES + data_bytes(rows) + SUM_BYTES * blocks_of(rows)
        if os.fstat(self._descriptor).st_size != size:
            raise self._damaged("its length is wrong")
        return head

    def _pread(self, size: int, offset: int) -> bytes:
        try:
            return os.pread(self._descriptor, size, offset)
        except OSError as exc:
            raise self._damaged(str(exc)) from exc

    def _damaged(self, why: str) -> IdsDamaged:
        self.remove()
        return IdsDamaged(f"{self.path}: {why}; its ids will be read from the store")


def data_bytes(rows: int) -> int:
    """Rows and days, filled up so that the checksums behind them are aligned."""
    return -(-(ROW_BYTES + 1) * rows // SUM_BYTES) * SUM_BYTES


def blocks_of(rows: int) -> int:
    return -(-data_bytes(rows) // BLOCK_BYTES)
