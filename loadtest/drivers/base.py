"""A driver writes events in one protocol's form, and opens connections that send batches and hear of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import msgspec
from loadtest.traffic import Planned

REQUEST_TIMEOUT_S = 60
PROTOCOLS = ("http", "ndjson", "arrow", "grpc", "grpc-arrow")


class Receipt(msgspec.Struct, frozen=True, gc=False):
    """Where accepted events are durable."""

    partition: int
    offset: int


class Answer(msgspec.Struct, frozen=True, gc=False):
    """What became of a batch. Per-event verdicts are left unread."""

    accepted: int = 0
    duplicate: int = 0
    conflict: int = 0
    rejected: int = 0
    receipts: tuple[Receipt, ...] = ()


class Busy(Exception):
    """The server asks to come back later with the same batch."""

    def __init__(self, retry_after_s: float) -> None:
        super().__init__(f"busy for {retry_after_s} s")
        self.retry_after_s = retry_after_s


class Lost(Exception):
    """No answer: the outcome is unknown, so the same batch is sent again, over a new connection."""


class Refused(Exception):
    """The server does not take the batch and never will: the run ends."""


class NotServed(Refused):
    """The server does not speak this protocol (yet)."""


class Endpoint(msgspec.Struct, frozen=True):
    """Where to send. `url` is the HTTP base; `grpc` is host:port; `compress` is gzip, zstd or None."""

    url: str
    grpc: str
    api_key: str
    compress: str | None = None


class Connection(Protocol):
    """One batch at a time."""

    async def send(self, body: bytes) -> Answer:
        """Return once the batch is acknowledged. Raise `Busy`, `Lost` or `Refused`."""
        ...

    async def close(self) -> None: ...


class Driver(Protocol):
    """One protocol."""

    def encode(self, events: Sequence[Planned], minute: int) -> bytes:
        """A batch as bytes, uncompressed, in which every id stands as it is: its mark is written over later."""
        ...

    async def connect(self) -> Connection:
        """Raise `Lost` where nobody answers."""
        ...
