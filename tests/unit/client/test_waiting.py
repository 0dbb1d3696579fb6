"""When a batch is due, what a full queue does, and what a flush waits for."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from penstock.client.errors import Closed, QueueFull
from penstock.client.store import MemoryStore, Syncing
from penstock.client.waiting import Batch, BatchShape, Waiting

FOR_EVER_MS = 3_600_000
JOIN_S = 30


def a_queue(linger_ms: int = FOR_EVER_MS, events_max: int = 3, room: int = 100) -> Waiting:
    return Waiting(MemoryStore(room, 1_000_000), BatchShape(events_max, 1_000_000, linger_ms))


def put(waiting: Waiting, *events: bytes) -> None:
    for event in events:
        waiting.put(event, wait=False)


@contextmanager
def in_another_thread(target: object) -> Iterator[None]:
    """Run `target` beside the body, which must let it end."""
    assert callable(target)
    thread = threading.Thread(target=target, daemon=True)
    thread.start()
    yield
    thread.join(JOIN_S)
    assert not thread.is_alive()


def test_a_full_batch_is_due_at_once() -> None:
    waiting = a_queue()
    put(waiting, b"1", b"2", b"3", b"4")

    assert waiting.take() == Batch(0, [b"1", b"2", b"3"])


def test_a_lone_event_is_due_after_its_linger() -> None:
    waiting = a_queue(linger_ms=1)
    put(waiting, b"1")

    assert waiting.take() == Batch(0, [b"1"])


def test_a_flush_makes_a_part_of_a_batch_due() -> None:
    waiting = a_queue()
    put(waiting, b"1")
    flushed: list[bool] = []

    with in_another_thread(lambda: flushed.append(waiting.wait_settled(JOIN_S))):
        batch = waiting.take()
        assert batch == Batch(0, [b"1"])
        waiting.settle(0, 1)

    assert flushed == [True]


def test_closing_gives_out_what_waits_and_then_ends() -> None:
    waiting = a_queue()
    put(waiting, b"1")
    waiting.refuse_more()

    assert waiting.take() == Batch(0, [b"1"])
    assert waiting.take() is None
    with pytest.raises(Closed):
        put(waiting, b"2")


def test_a_stopped_queue_gives_out_nothing() -> None:
    waiting = a_queue()
    put(waiting, b"1")
    waiting.stop()

    assert waiting.take() is None
    assert waiting.wait_settled(None) is False
    assert waiting.pause(JOIN_S) is False


def test_a_full_queue_refuses_or_waits_for_room() -> None:
    waiting = a_queue(events_max=1, room=1)
    put(waiting, b"1")

    with pytest.raises(QueueFull):
        waiting.put(b"2", wait=False)
    numbers: list[int] = []
    with in_another_thread(lambda: numbers.append(waiting.put(b"2", wait=True))):
        assert waiting.take() == Batch(0, [b"1"])
    assert numbers == [1]


def test_a_flush_waits_for_the_oldest_however_the_answers_come() -> None:
    waiting = a_queue(events_max=1)
    put(waiting, b"1", b"2")
    waiting.take()
    waiting.take()
    waiting.settle(1, 1)

    assert waiting.wait_settled(0) is False
    assert waiting.counts() == (2, 1)
    waiting.settle(0, 1)
    assert waiting.wait_settled(0) is True
    assert waiting.counts() == (2, 0)


def test_a_batch_may_be_settled_in_parts() -> None:
    waiting = a_queue()
    put(waiting, b"1", b"2", b"3")
    waiting.take()
    waiting.settle(0, 2)

    assert waiting.wait_settled(0) is False
    waiting.settle(2, 1)
    assert waiting.wait_settled(0) is True


def test_a_failure_is_raised_by_every_call() -> None:
    waiting = a_queue()
    put(waiting, b"1")
    waiting.fail(ValueError("the first"))
    waiting.fail(ValueError("the second"))

    with pytest.raises(ValueError, match="the first"):
        put(waiting, b"2")
    with pytest.raises(ValueError, match="the first"):
        waiting.wait_settled(None)


def test_a_failure_wakes_who_waits_for_room() -> None:
    waiting = a_queue(room=1)
    put(waiting, b"1")
    raised: list[Exception] = []

    def put_another() -> None:
        try:
            waiting.put(b"2", wait=True)
        except ValueError as exc:
            raised.append(exc)

    with in_another_thread(put_another):
        waiting.fail(ValueError("no key"))
    assert [str(exc) for exc in raised] == ["no key"]


class SyncedStore(MemoryStore):
    """A store that writes down its fsyncs, and fails them where told to."""

    def __init__(self) -> None:
        super().__init__(100, 1_000_000)
        self.synced: list[int] = []
        self.fails = False

    def syncing(self) -> Syncing:
        below = super().syncing().below

        def run() -> None:
            if self.fails:
                raise OSError(5, "Input/output error")
            self.synced.append(below)

        return Syncing(below, run)


def test_a_batch_is_durable_before_it_is_given_out_and_one_fsync_serves_many() -> None:
    store = SyncedStore()
    waiting = Waiting(store, BatchShape(2, 1_000_000, FOR_EVER_MS))
    put(waiting, b"1", b"2", b"3", b"4")
    waiting.take()

    assert store.synced == [4]
    waiting.take()
    waiting.sync()
    assert store.synced == [4]
    put(waiting, b"5")
    waiting.sync()
    assert store.synced == [4, 5]


def test_after_a_failed_fsync_nothing_more_is_taken() -> None:
    store = SyncedStore()
    waiting = Waiting(store, BatchShape(2, 1_000_000, FOR_EVER_MS))
    put(waiting, b"1")
    store.fails = True
    with pytest.raises(OSError, match="Input/output error"):
        waiting.sync()
    store.fails = False

    with pytest.raises(OSError, match="Input/output error"):
        put(waiting, b"2")
