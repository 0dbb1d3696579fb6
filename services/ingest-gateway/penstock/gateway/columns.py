"""The events of many requests as columns: what is checked, hashed and logged a whole column at a time."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from penstock.kernel.event import UsageEvent


class Columns(msgspec.Struct, frozen=True):
    """One entry per event. `properties` are views of the request bodies; `joined` is their bytes on end."""

    transaction_ids: list[str]
    customers: list[str]
    event_types: list[str]
    timestamps: list[str]
    properties: list[bytes]
    joined: bytes
    ends: npt.NDArray[np.int64]  # where each event's properties end in `joined`

    @classmethod
    def of(cls, events: Sequence[UsageEvent]) -> Columns:
        properties: list[bytes] = [event.properties for event in events]
        lengths = np.fromiter(map(len, properties), np.int64, len(properties))
        return cls(
            [event.transaction_id for event in events],
            [event.customer_id for event in events],
            [event.event_type for event in events],
            [event.timestamp for event in events],
            properties,
            b"".join(properties),
            np.cumsum(lengths),
        )

    def __len__(self) -> int:
        return len(self.transaction_ids)

    @property
    def starts(self) -> npt.NDArray[np.int64]:
        return np.concatenate([[0], self.ends[:-1]]) if len(self.ends) else self.ends

    def arrow_properties(self) -> pa.Array:
        """The properties as an Arrow column that shares `joined`: no copy per event."""
        offsets = np.concatenate([[0], self.ends]).astype(np.int32)
        buffers = [None, pa.py_buffer(offsets), pa.py_buffer(self.joined)]
        return pa.Array.from_buffers(pa.binary(), len(self), buffers)
