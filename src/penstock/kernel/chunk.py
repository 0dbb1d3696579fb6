"""A chunk: many events as the columns of one Arrow record batch; the payload of one log record.

Any consumer in any language can read the topic. Keep the inside private to this module: it is the one shape that the
hot path may change.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from penstock.kernel.identity import BodyHashes, Identities

SCHEMA = pa.schema(
    [
        pa.field("identity", pa.binary(16), nullable=False),
        pa.field("body_hash", pa.uint64(), nullable=False),
        pa.field("tenant", pa.dictionary(pa.int32(), pa.string()), nullable=False),
        pa.field("customer", pa.dictionary(pa.int32(), pa.string()), nullable=False),
        pa.field("event_type", pa.dictionary(pa.int32(), pa.string()), nullable=False),
        pa.field("time", pa.timestamp("us", tz="UTC"), nullable=False),
        pa.field("transaction_id", pa.string(), nullable=False),
        pa.field("properties", pa.binary(), nullable=False),
    ]
)
# Windows are stored as seconds in 32 bits.
TIME_US_END = 2**32 * 1_000_000
# One thread: handing a chunk's few small buffers to Arrow's pool costs twice to four times the work itself (measured).
_ALONE = pa.ipc.IpcReadOptions(use_threads=False)
_LZ4 = pa.ipc.IpcWriteOptions(compression="lz4", use_threads=False)


class Chunk:
    """Events in arrival order. Immutable; every accessor returns one entry per event."""

    def __init__(self, batch: pa.RecordBatch) -> None:
        self._batch = batch

    @classmethod
    def build(
        cls,
        *,
        identities: Identities,
        body_hashes: BodyHashes,
        tenants: Sequence[str],
        customers: Sequence[str],
        event_types: Sequence[str],
        times_us: npt.NDArray[np.int64],
        transaction_ids: Sequence[str],
        properties: Sequence[bytes],
    ) -> Chunk:
        return cls.of_columns(
            identities=identities,
            body_hashes=body_hashes,
            tenants=pa.array(tenants, pa.string()).dictionary_encode(),
            customers=pa.array(customers, pa.string()).dictionary_encode(),
            event_types=pa.array(event_types, pa.string()).dictionary_encode(),
            times_us=times_us,
            transaction_ids=pa.array(transaction_ids, pa.string()),
            properties=pa.array(properties, pa.binary()),
        )

    @classmethod
    def of_columns(
        cls,
        *,
        identities: Identities,
        body_hashes: BodyHashes,
        tenants: pa.DictionaryArray,
        customers: pa.DictionaryArray,
        event_types: pa.DictionaryArray,
        times_us: npt.NDArray[np.int64],
        transaction_ids: pa.StringArray,
        properties: pa.BinaryArray,
    ) -> Chunk:
        """`build` for a caller that has Arrow columns; the texts of a dictionary are distinct."""
        raw = pa.py_buffer(np.ascontiguousarray(identities))
        columns = [
            pa.FixedSizeBinaryArray.from_buffers(pa.binary(16), len(tenants), [None, raw]),
            pa.array(body_hashes),
            tenants,
            customers,
            event_types,
            pa.array(times_us).cast(pa.timestamp("us", tz="UTC")),
            transaction_ids,
            properties,
        ]
        return cls(pa.RecordBatch.from_arrays(columns, schema=SCHEMA))

    @classmethod
    def decode(cls, payload: bytes) -> Chunk:
        """Read a record's payload. Raise `ValueError` for bytes that are no chunk."""
        try:
            with pa.ipc.open_stream(payload, options=_ALONE) as reader:
                batch = reader.read_next_batch()
                batch.validate(full=True)
        except (MemoryError, pa.ArrowCancelled):
            raise  # passes, and so it is no verdict on the bytes
        except (pa.ArrowException, StopIteration, OSError) as exc:
            raise ValueError("not a chunk") from exc
        if not batch.schema.equals(SCHEMA):
            raise ValueError("a chunk of another schema")
        coded = [column.dictionary for column in batch.columns if pa.types.is_dictionary(column.type)]
        if any(column.null_count for column in [*batch.columns, *coded]):
            raise ValueError("a chunk with a null in it")
        chunk = cls(batch)
        times_us = chunk.times_us
        if len(times_us) and not 0 <= times_us.min() <= times_us.max() < TIME_US_END:
            raise ValueError("a chunk with a time before 1970 or after 2105")
        return chunk

    def encode(self) -> bytes:
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, SCHEMA, options=_LZ4) as writer:
            writer.write_batch(self._batch)
        return sink.getvalue().to_pybytes()  # type: ignore[no-any-return]  # pyarrow ships no types

    def __len__(self) -> int:
        return int(self._batch.num_rows)

    @property
    def nbytes(self) -> int:
        """Bytes in memory, uncompressed."""
        return int(self._batch.nbytes)

    def take(self, rows: npt.NDArray[np.int64]) -> Chunk:
        """The events at `rows`, in that order."""
        return Chunk(self._batch.take(pa.array(rows)))

    def slice(self, start: int, length: int) -> Chunk:
        """`length` events from `start` on, sharing memory with this chunk."""
        return Chunk(self._batch.slice(start, length))

    @staticmethod
    def concat(chunks: Sequence[Chunk]) -> Chunk:
        """All events of `chunks`, in order, dictionaries unified."""
        table = pa.Table.from_batches([c._batch for c in chunks], SCHEMA).unify_dictionaries().combine_chunks()
        return Chunk(table.to_batches()[0] if len(table) else pa.RecordBatch.from_pylist([], SCHEMA))

    @property
    def identities(self) -> Identities:
        column = self._batch.column("identity")
        flat = np.frombuffer(column.buffers()[1], "<u8", 2 * len(column), 16 * column.offset)
        identities: Identities = flat.reshape(-1, 2)
        return identities

    @property
    def body_hashes(self) -> BodyHashes:
        out: BodyHashes = self._batch.column("body_hash").to_numpy(zero_copy_only=False)
        return out

    @property
    def times_us(self) -> npt.NDArray[np.int64]:
        out: npt.NDArray[np.int64] = self._batch.column("time").cast(pa.int64()).to_numpy(zero_copy_only=False)
        return out

    def codes(self, column: str) -> tuple[npt.NDArray[np.int32], list[str]]:
        """The dictionary-encoded `tenant`, `customer` or `event_type`: an index per event, and the distinct texts."""
        encoded = self._batch.column(column)
        return encoded.indices.to_numpy(zero_copy_only=False), encoded.dictionary.to_pylist()

    def ids(self) -> list[str]:
        """The transaction ids. A method, so that it can be handed on and asked only where LATEST needs it."""
        out: list[str] = self._batch.column("transaction_id").to_pylist()
        return out

    @property
    def properties(self) -> list[bytes]:
        """The JSON bytes of each event's properties, as received."""
        out: list[bytes] = self._batch.column("properties").to_pylist()
        return out

    def arrow(self, column: str) -> Any:
        """The Arrow array of a column, for a store that takes Arrow."""
        return self._batch.column(column)
