"""The queue between the threads that send events and those that deliver them: batches out, answers in, flushes told."""

from __future__ import annotations

import threading
import time
from typing import NamedTuple

import msgspec

from penstock.client.errors import Closed
from penstock.client.store import Store


class Batch(NamedTuple):
    """Events on their way, numbered from `first` on."""

    first: int
    events: list[bytes]


class BatchShape(msgspec.Struct, frozen=True):
    """A batch is due when it is full, or its oldest event has waited for `linger_ms`, or somebody waits for it."""

    events_max: int
    bytes_max: int
    linger_ms: int


class Waiting:
    """Events from `put` until they are settled. Safe for threads; after `fail` every call raises what it was given."""

    def __init__(self, store: Store, shape: BatchShape) -> None:
        self._store, self._shape = store, shape
        self._lock = threading.Lock()
        self._sync_lock = threading.Lock()
        self._room = threading.Condition(self._lock)
        self._more = threading.Condition(self._lock)
        self._settled = threading.Condition(self._lock)
        self._stop = threading.Event()
        self._put = self._hurried = store.recovered
        self._taken = self._answered = self._settled_below = self._synced_below = 0
        self._in_flight: dict[int, int] = {}  # number of the first event: how many
        self._oldest_at_s = time.monotonic()
        self._closing = False
        self._failure: Exception | None = None

    def counts(self) -> tuple[int, int]:
        """How many events there were so far, recovered ones among them, and how many of them have no answer yet."""
        with self._lock:
            return self._put, self._put - self._answered

    def put(self, event: bytes, *, wait: bool) -> int:
        """Keep an event and return its number. Without room, wait for it, or raise `QueueFull` where not to `wait`."""
        with self._lock:
            self._check_open()
            while not self._store.has_room(len(event)):
                if not wait:
                    raise self._store.full()
                self._room.wait()
                self._check_open()
            try:
                self._store.append(event)
            except OSError as exc:
                self._fail(exc)
                raise
            self._put += 1
            unread = self._put - self._taken
            if unread == 1:
                self._oldest_at_s = time.monotonic()
            # Waking a thread costs more than the append: only for a new wait, and for a whole batch.
            if unread == 1 or unread % self._shape.events_max == 0:
                self._more.notify()
            return self._put - 1

    def take(self) -> Batch | None:
        """The next batch once it is due, durable as far as the store can make it; None when there will be no more."""
        with self._lock:
            while not self._is_due():
                if self._stop.is_set() or (self._closing and self._put == self._taken):
                    return None
                self._more.wait(self._linger_left_s())
            batch = Batch(self._taken, self._store.read(self._shape.events_max, self._shape.bytes_max))
            self._taken += len(batch.events)
            self._in_flight[batch.first] = len(batch.events)
            if self._put > self._taken:
                self._oldest_at_s = time.monotonic()
                self._more.notify()
            self._room.notify_all()
        self.sync(batch.first + len(batch.events))
        return batch

    def _is_due(self) -> bool:
        unread = self._put - self._taken
        if self._stop.is_set() or not unread:
            return False
        is_wanted = self._closing or self._taken < self._hurried or unread >= self._shape.events_max
        return is_wanted or self._linger_left_s() == 0

    def _linger_left_s(self) -> float | None:
        if self._put == self._taken:
            return None
        return max(0, self._oldest_at_s + self._shape.linger_ms / 1_000 - time.monotonic())

    def settle(self, first: int, events: int) -> None:
        """The next `events` events of the batch, or of what is left of it, that starts at `first` are answered."""
        with self._lock:
            if self._stop.is_set():
                return  # the store may be closed by now; what is not settled is sent again in another life
            left = self._in_flight.pop(first) - events
            if left:
                self._in_flight[first + events] = left
            self._answered += events
            below = min(self._in_flight, default=self._taken)
            if below > self._settled_below:
                self._store.settle(below)
                self._settled_below = below
                self._settled.notify_all()
                self._room.notify_all()

    def sync(self, below: int | None = None) -> None:
        """Return once all events numbered below `below`, all put so far where None, are as durable as the store can."""
        with self._sync_lock:
            with self._lock:
                wanted = self._put if below is None else below
                if self._stop.is_set() or self._synced_below >= wanted:
                    return
                syncing = self._store.syncing()
            try:
                syncing.run()
            except OSError as exc:
                # The kernel forgets what it could not write: a second fsync would succeed and prove nothing.
                self.fail(exc)
                raise
            with self._lock:
                self._synced_below = syncing.below

    def wait_settled(self, timeout_s: float | None) -> bool:
        """Whether all events put so far are answered within `timeout_s`. Raise the failure, if there is one."""
        deadline_s = None if timeout_s is None else time.monotonic() + timeout_s
        with self._lock:
            wanted = self._put
            self._hurried = max(self._hurried, wanted)
            self._more.notify_all()
            while self._settled_below < wanted:
                if self._failure is not None:
                    raise self._failure
                left_s = None if deadline_s is None else deadline_s - time.monotonic()
                if self._stop.is_set() or (left_s is not None and left_s <= 0):
                    return False
                self._settled.wait(left_s)
            return True

    def pause(self, seconds: float) -> bool:
        """Wait, and return whether to go on."""
        return not self._stop.wait(seconds)

    def fail(self, failure: Exception) -> None:
        """Stop, and raise `failure` from now on; the first one stays."""
        with self._lock:
            self._fail(failure)

    def _fail(self, failure: Exception) -> None:
        self._failure = self._failure or failure
        self._stop_all()

    def refuse_more(self) -> None:
        """Take no more events; what waits is due at once."""
        with self._lock:
            self._closing = True
            self._wake_all()

    def stop(self) -> None:
        """Take no more and give no more out."""
        with self._lock:
            self._stop_all()

    def _stop_all(self) -> None:
        self._stop.set()
        self._closing = True
        self._wake_all()

    def _wake_all(self) -> None:
        for condition in (self._room, self._more, self._settled):
            condition.notify_all()

    def _check_open(self) -> None:
        if self._failure is not None:
            raise self._failure
        if self._closing:
            raise Closed("the client is closed")
