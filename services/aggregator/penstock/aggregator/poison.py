"""Which records no fold can read: a verdict that is a function of a record's bytes, and of nothing else."""

from __future__ import annotations

from penstock.kernel.chunk import Chunk
from penstock.kernel.record import Kind, LogRecord

FOREIGN = "not a record of Penstock"
Poison = tuple[LogRecord, str]  # the record, and why it cannot be read


def chunk_of(record: LogRecord) -> Chunk | str | None:
    """The chunk that a record holds, None where it is to hold none, or why what it holds cannot be read."""
    if record.kind is Kind.FOREIGN:
        return FOREIGN
    if record.kind is not Kind.CHUNK:
        return None
    try:
        return Chunk.decode(record.payload)
    except ValueError as exc:
        return str(exc)
