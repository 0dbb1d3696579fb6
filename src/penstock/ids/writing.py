"""Writes runs of ids, from memory or from files, into one file: a slice of the hash range at a time."""

from __future__ import annotations

import os
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt
import xxhash

from penstock.ids import durable, filter_file
from penstock.ids.run_file import BLOCK_BYTES, MAGIC, ROW_BYTES, SUFFIX, RunFile, data_bytes
from penstock.ids.segment import HEAD_BYTES, VERSION, Head, Segment, pack
from penstock.kernel.idrun import Filter, IdRows, SortedRun

SLICE_ROWS = 1 << 19

Days = npt.NDArray[np.int64]


class Stopped(Exception):
    """The writing was given up because somebody asked for that. Nothing is left of it."""


def live_counts(sources: Sequence[SortedRun], since_day: int) -> dict[int, int]:
    """How many ids the sources hold of every day from `since_day` on."""
    counts: Counter[int] = Counter()
    for source in sources:
        counts.update({day: count for day, count in source.counts.items() if day >= since_day})
    return dict(sorted(counts.items()))


def write(folder: Path, segment: Segment, sources: Sequence[SortedRun], stop: threading.Event) -> RunFile:
    """One file of what the sources hold of the segment's days; durable on return. Raise `Stopped` soon after `stop`."""
    path = folder / (segment.name + SUFFIX)
    first_day = min(segment.counts)
    kept = Filter(segment.rows)
    done = 0
    with durable.replacing(path) as file:
        for rows, days in _merged(sources, first_day):
            if stop.is_set():
                raise Stopped
            _write_at(file, HEAD_BYTES + ROW_BYTES * done, rows)
            _write_at(file, HEAD_BYTES + ROW_BYTES * segment.rows + done, (days - first_day).astype(np.uint8))
            kept.add(rows)
            done += len(rows)
        assert done == segment.rows, f"{done} rows of {segment}"
        kept.finish()
        sums = _block_sums(file, data_bytes(done))
        _write_at(file, HEAD_BYTES + data_bytes(done), sums)
        head = Head(VERSION, segment, xxhash.xxh3_64_intdigest(sums.data))
        file.seek(0)
        file.write(pack(MAGIC, head))
        filter_file.save(path, head, kept)  # before the run has its name: no run waits for its filter
    return RunFile(path)


def _merged(sources: Sequence[SortedRun], since_day: int) -> Iterator[tuple[IdRows, Days]]:
    """All rows of days from `since_day` on, in order."""
    sizes = [sum(source.counts.values()) for source in sources]
    slices = -(-sum(sizes) // SLICE_ROWS)
    cuts = np.arange(1, slices, dtype=np.uint64) * np.uint64(2**64 // slices - 1)
    edges = [[0, *source.places(cuts).tolist(), size] for source, size in zip(sources, sizes, strict=True)]
    for n in range(slices):
        parts = [source.read(edge[n], edge[n + 1]) for source, edge in zip(sources, edges, strict=True)]
        rows = np.concatenate([part[0] for part in parts])
        days = np.concatenate([part[1] for part in parts])
        live = np.flatnonzero(days >= since_day)
        order = live[np.argsort(rows[live, 0])]
        yield rows[order], days[order]


def _write_at(file: BinaryIO, offset: int, array: npt.NDArray[np.generic]) -> None:
    file.seek(offset)
    file.write(array.data)


def _block_sums(file: BinaryIO, size: int) -> npt.NDArray[np.uint64]:
    """The checksum of every block, from what was written: a file is written in two places at once."""
    file.truncate(HEAD_BYTES + size)
    file.flush()
    starts = range(0, size, BLOCK_BYTES)
    blocks = (os.pread(file.fileno(), min(BLOCK_BYTES, size - at), HEAD_BYTES + at) for at in starts)
    return np.fromiter(map(xxhash.xxh3_64_intdigest, blocks), "<u8", len(starts))
