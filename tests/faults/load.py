"""Senders that know the truth: each batch is sent until it is acknowledged, and then it is written down."""

from __future__ import annotations

import contextlib
import random
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

from builders import Body
from faults.events import some_events
from faults.protocols import WAYS, Taken, Unanswered, Way
from server import PenstockServer

BATCH_EVENTS = 100
ANSWER_TIMEOUT_S = 300
PAUSE_S = 0.3


class Sender(Protocol):
    """Sends until it is told that it is over, and returns when all of it is `acknowledged`."""

    acknowledged: list[Body]

    def run(self, over: threading.Event) -> None: ...


class Load:
    """One sender with events of its own name. Some gateway gets a batch in some way; without an answer, some other."""

    def __init__(
        self, gateways: Sequence[PenstockServer], chance: random.Random, name: str, ways: Sequence[Way] = WAYS
    ) -> None:
        self._gateways, self._chance, self._name, self._ways = gateways, chance, name, ways
        self._made = 0
        self.acknowledged: list[Body] = []  # in any order: copies of an event are the same
        self.unanswered = self.duplicates = 0

    def batch(self, count: int = BATCH_EVENTS) -> list[Body]:
        """New events."""
        self._made += count
        return some_events(self._chance, self._made - count, count, self._name)

    def send(self, events: Sequence[Body]) -> None:
        """Return once all of them are acknowledged."""
        deadline = time.monotonic() + ANSWER_TIMEOUT_S
        while time.monotonic() < deadline:
            try:
                self.duplicates += self.try_once(events).duplicate
                return
            except Unanswered:
                self.unanswered += 1
                time.sleep(PAUSE_S)
        raise AssertionError(f"no gateway answered in {ANSWER_TIMEOUT_S} s")

    def try_once(self, events: Sequence[Body]) -> Taken:
        """Raise `Unanswered`: whether they were taken is not known."""
        taken = self._chance.choice(self._ways)(self._chance.choice(self._gateways), events)
        assert taken.accepted + taken.duplicate == len(events)
        self.acknowledged += events
        return taken

    def run(self, over: threading.Event) -> None:
        while not over.is_set():
            self.send(self.batch())
            over.wait(PAUSE_S)


@contextlib.contextmanager
def under_load(loads: Sequence[Sender]) -> Iterator[None]:
    """Inside, all of them send; on leaving, all that they began to send is acknowledged."""
    over = threading.Event()
    with ThreadPoolExecutor(len(loads)) as threads:
        running = [threads.submit(load.run, over) for load in loads]
        try:
            yield
        finally:
            over.set()
    for each in running:
        each.result()


def acknowledged(loads: Sequence[Sender]) -> list[Body]:
    return [event for load in loads for event in load.acknowledged]
