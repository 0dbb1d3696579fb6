"""The events of many requests as columns: what is checked, hashed and logged a whole column at a time.

Rows of JSON and columns of Arrow both become this; from here on nobody knows which they were.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from penstock.gateway.loops import LOOPS, Data, Edges
from penstock.gateway.plain import Envelopes
from penstock.gateway.timestamps import Times, parse_times
from penstock.kernel.event import UsageEvent

Codes = npt.NDArray[np.integer[Any]]


class Columns(msgspec.Struct, frozen=True):
    """One entry per event, none null, no properties empty."""

    transaction_ids: pa.StringArray
    customers: pa.DictionaryArray  # of distinct texts, each of them used
    event_types: pa.DictionaryArray
    times_us: Times
    bad_times: Mapping[int, str]  # by row, why its timestamp is none; its time is then 0
    properties: pa.BinaryArray

    @classmethod
    def of(cls, events: Sequence[UsageEvent]) -> Columns:
        times_us, bad_times = parse_times(pa.array([event.timestamp for event in events], pa.string()))
        return cls.of_lists(
            [event.transaction_id for event in events],
            [event.customer_id for event in events],
            [event.event_type for event in events],
            times_us,
            [event.properties for event in events],
            bad_times,
        )

    @classmethod
    def of_envelopes(cls, parts: Sequence[Envelopes]) -> Columns:
        """The events of plain bodies, in order."""
        gathered = LOOPS.load().gathered
        whole = Envelopes.concat(parts)
        ids, customers, event_types, timestamps, properties = (
            gathered(whole.body, whole.spans, field) for field in range(5)
        )
        times_us, bad_times = parse_times(_column(pa.string(), *timestamps))
        return cls(
            _column(pa.string(), *ids),
            _column(pa.string(), *customers).dictionary_encode(),
            _column(pa.string(), *event_types).dictionary_encode(),
            times_us,
            bad_times,
            _column(pa.binary(), *properties),
        )

    @classmethod
    def of_lists(
        cls,
        transaction_ids: Sequence[str],
        customers: Sequence[str],
        event_types: Sequence[str],
        times_us: Times,
        properties: Sequence[bytes],
        bad_times: Mapping[int, str] | None = None,
    ) -> Columns:
        return cls(
            pa.array(transaction_ids, pa.string()),
            pa.array(customers, pa.string()).dictionary_encode(),
            pa.array(event_types, pa.string()).dictionary_encode(),
            times_us,
            bad_times or {},
            join(properties),
        )

    @classmethod
    def concat(cls, parts: Sequence[Columns]) -> Columns:
        """The events of all parts, in order."""
        if len(parts) == 1:
            return parts[0]
        edges = np.cumsum([0, *map(len, parts)]).tolist()
        return cls(
            pa.concat_arrays([part.transaction_ids for part in parts]),
            _concat_coded([part.customers for part in parts]),
            _concat_coded([part.event_types for part in parts]),
            np.concatenate([part.times_us for part in parts]),
            {edge + row: why for edge, part in zip(edges, parts, strict=False) for row, why in part.bad_times.items()},
            pa.concat_arrays([part.properties for part in parts]),
        )

    def take(self, rows: npt.NDArray[np.int64]) -> Columns:
        """The events at `rows`, all of good times, in that order."""
        places = pa.array(rows)
        return Columns(
            self.transaction_ids.take(places),
            take_coded(self.customers, rows),
            take_coded(self.event_types, rows),
            self.times_us[rows],
            {},
            self.properties.take(places),
        )

    def __len__(self) -> int:
        return len(self.times_us)


def join(texts: Sequence[bytes]) -> pa.BinaryArray:
    """Texts as an Arrow column over their joined bytes: no Arrow value is made per text."""
    lengths = np.fromiter(map(len, texts), np.int32, len(texts))
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
    return _column(pa.binary(), offsets, b"".join(texts))


def _column(kind: pa.DataType, edges: Edges, data: bytes | Data) -> pa.Array:
    """Texts as they are cut out of joined bytes."""
    return pa.Array.from_buffers(kind, len(edges) - 1, [None, pa.py_buffer(edges), pa.py_buffer(data)])


def cuts_of(texts: pa.Array) -> tuple[Edges, Data] | None:
    """Where the texts of a column are cut out of its bytes, and these; None where it has none."""
    _, edges, data = texts.buffers()
    if data is None:
        return None
    return np.frombuffer(edges, np.int32, len(texts) + 1, 4 * texts.offset), np.frombuffer(data, np.uint8)


def code(codes: Codes, texts: pa.StringArray) -> pa.DictionaryArray:
    """A coded column of those of the distinct `texts` that are used."""
    used = np.bincount(codes.astype(np.int64), minlength=len(texts)) > 0
    if not used.all():
        codes = (np.cumsum(used) - 1)[codes]
        texts = texts.filter(pa.array(used))
    return pa.DictionaryArray.from_arrays(pa.array(codes.astype(np.int32)), texts)


def codes_of(column: pa.DictionaryArray) -> Codes:
    codes: Codes = column.indices.to_numpy(zero_copy_only=False)
    return codes


def take_coded(column: pa.DictionaryArray, rows: npt.NDArray[np.int64]) -> pa.DictionaryArray:
    return code(codes_of(column)[rows], column.dictionary)


def _concat_coded(parts: Sequence[pa.DictionaryArray]) -> pa.DictionaryArray:
    return pa.concat_arrays(pa.chunked_array(parts).unify_dictionaries().chunks)
