"""Where events wait until they are answered: the seam between the queue and memory or disk.

Not safe for threads: the queue holds its lock around every call but `Syncing.run`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import NamedTuple, Protocol

from penstock.client.errors import QueueFull


class Syncing(NamedTuple):
    """An fsync to be run without the lock: after `run`, events numbered below `below` survive a power cut."""

    below: int
    run: Callable[[], None]


class Store(Protocol):
    """Events in order, numbered from 0 (those of an earlier life first)."""

    @property
    def recovered(self) -> int:
        """How many events an earlier life left behind."""
        ...

    def has_room(self, event_bytes: int) -> bool:
        """Whether an event of this size can be appended now. Raise `QueueFull` where it never can."""
        ...

    def full(self) -> QueueFull:
        """The error that says that there is no room."""
        ...

    def append(self, event: bytes) -> None:
        """Keep an event: it survives a kill -9 where the store is a spool. Raise `SpoolFull` for a full disk."""
        ...

    def read(self, events_max: int, bytes_max: int) -> list[bytes]:
        """The next events that were not read yet: at least one, and no more bytes than given unless it is one."""
        ...

    def settle(self, below: int) -> None:
        """All events numbered below are answered: they need not be kept."""
        ...

    def syncing(self) -> Syncing:
        """What makes all that was appended so far durable."""
        ...

    def close(self) -> None: ...


class MemoryStore:
    """`Store` in memory: bounded by events and bytes, gone with the process. Events are let go when they are read."""

    recovered = 0

    def __init__(self, events_max: int, bytes_max: int) -> None:
        self._events_max, self._bytes_max = events_max, bytes_max
        self._events: deque[bytes] = deque()
        self._bytes = 0
        self._appended = 0

    def has_room(self, event_bytes: int) -> bool:
        if event_bytes > self._bytes_max:
            raise QueueFull(f"an event of {event_bytes} bytes, but the queue takes {self._bytes_max}")
        return len(self._events) < self._events_max and self._bytes + event_bytes <= self._bytes_max

    def full(self) -> QueueFull:
        return QueueFull(f"{len(self._events)} events wait already: the server takes them more slowly than they come")

    def append(self, event: bytes) -> None:
        self._events.append(event)
        self._bytes += len(event)
        self._appended += 1

    def read(self, events_max: int, bytes_max: int) -> list[bytes]:
        taken: list[bytes] = []
        size = 0
        while self._events and len(taken) < events_max:
            size += len(self._events[0])
            if taken and size > bytes_max:
                break
            taken.append(self._events.popleft())
            self._bytes -= len(taken[-1])
        return taken

    def settle(self, below: int) -> None:
        """Nothing to do: the queue holds what is under way."""

    def syncing(self) -> Syncing:
        return Syncing(self._appended, lambda: None)

    def close(self) -> None:
        self._events.clear()
