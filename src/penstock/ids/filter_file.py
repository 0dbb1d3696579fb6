"""The filter of a run in a file of its own, so that a run can be asked without reading its rows.

Only a convenience: a filter that is missing, damaged or of other rows is made again from the rows.
"""

from __future__ import annotations

from pathlib import Path

import xxhash

from penstock.ids import durable
from penstock.ids.segment import HEAD_BYTES, Head, IdsDamaged, pack, unpack
from penstock.kernel.idrun import Filter

MAGIC = b"PENSTKFI"
SUFFIX = ".filter"


def path_of(run: Path) -> Path:
    return run.with_name(run.name + SUFFIX)


def is_orphan(path: Path) -> bool:
    """Whether this is the filter of a run that is not there."""
    return path.suffix == SUFFIX and not path.with_suffix("").exists()


def save(run: Path, head: Head, kept: Filter) -> None:
    """Write the filter of the run at `run`, whose head says which rows it speaks for."""
    with durable.replacing(path_of(run)) as file:
        file.write(pack(MAGIC, head))
        state = xxhash.xxh3_64()
        for part in (kept.first, kept.second, kept.starts):
            file.write(part.data)
            state.update(part.data)
        file.write(state.digest())


def load(run: Path, head: Head) -> Filter | None:
    """The filter of the run at `run`, or None where there is none that can be believed."""
    kept = Filter(head.segment.rows)
    state = xxhash.xxh3_64()
    try:
        with path_of(run).open("rb", buffering=0) as file:
            if unpack(MAGIC, file.read(HEAD_BYTES)) != head:
                return None
            for part in (kept.first, kept.second, kept.starts):
                if file.readinto(part.data) != part.nbytes:
                    return None
                state.update(part.data)
            return kept if file.read() == state.digest() else None
    except (FileNotFoundError, IdsDamaged):
        return None
