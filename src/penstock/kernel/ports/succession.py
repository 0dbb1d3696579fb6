"""How one log follows another: what is asked of a log that is to be sealed.

The partition count of a log is fixed for its life. Another count is another log: the old one is drained and sealed, and
a new one begins, whose partitions have numbers of their own (docs/partitions.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import msgspec

from penstock.kernel.ports.event_log import EventLog


class Seal(msgspec.Struct, frozen=True):
    """The payload of a SEAL record: how many partitions the log has that will follow."""

    partitions: int


def encode_seal(seal: Seal) -> bytes:
    return msgspec.json.encode(seal)


def decode_seal(payload: bytes) -> Seal:
    return msgspec.json.decode(payload, type=Seal)


class SealableLog(EventLog, Protocol):
    """A log whose end may be written, by one process at a time."""

    async def seal(self, now_us: int, partitions: int) -> None:
        """End every partition by a SEAL that announces a log of so many; from then on an append is `LogSealed`.

        Idempotent. Raise `Refused` where the log is sealed for another count.
        """
        ...

    async def succeed(self, now_us: int, controls: Sequence[bytes]) -> None:
        """Begin the log that the seal announces: in every partition a tick, then the control records.

        From its return on the log, opened anew, is the new one. It may be cut anywhere, and be called again.
        """
        ...
