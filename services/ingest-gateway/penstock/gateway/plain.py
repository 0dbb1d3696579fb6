"""Plain JSON bodies: events that stay the bytes they came as until a whole batch becomes columns."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np

from penstock.gateway.loops import LOOPS, Spans

# A body of a few events is decoded sooner than a compiled loop is called.
BODY_BYTES_MIN = 4 * 1024


class Envelopes(msgspec.Struct, frozen=True):
    """The events of a body, by where their fields stand in it."""

    body: bytes
    spans: Spans

    @classmethod
    def concat(cls, parts: Sequence[Envelopes]) -> Envelopes:
        """The events of all parts, in order, as if one body had brought them."""
        if len(parts) == 1:
            return parts[0]
        bodies = [part.body for part in parts]
        starts = np.cumsum([0, *map(len, bodies[:-1])]).astype(np.int32)
        spans = np.concatenate([part.spans for part in parts])
        spans += np.repeat(starts, [*map(len, parts)])[:, None]
        return cls(b"".join(bodies), spans)

    def __len__(self) -> int:
        return len(self.spans)


def read_plain(body: bytes, events_max: int) -> Envelopes | None:
    """None for a body that is not plain, or has too many events; and while the loop that reads it is not compiled."""
    compiled = LOOPS.compiled
    if compiled is None or len(body) < BODY_BYTES_MIN:
        return None
    spans = compiled.envelopes(body, events_max)
    return None if spans is None else Envelopes(body, spans)
