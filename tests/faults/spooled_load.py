"""A sender that leaves it all to `penstock.client`: one gateway, a spool, and whatever it takes to get an answer."""

from __future__ import annotations

import random
import threading
from pathlib import Path

from builders import Body, to_json
from faults.events import some_events
from penstock.client.backoff import Backoff
from penstock.client.client import Client
from server import API_KEY, PenstockServer

QUICK = Backoff(first_ms=10, longest_ms=300)
EVENTS = 100
PENDING_MAX = 1_000
FLUSH_TIMEOUT_S = 300
PAUSE_S = 0.3


class SpooledLoad:
    """One client of one gateway. `acknowledged` once `run` has returned: until then the spool has them."""

    def __init__(self, gateway: PenstockServer, chance: random.Random, name: str, spool: Path) -> None:
        self._chance, self._name = chance, name
        self._client = Client(
            f"http://127.0.0.1:{gateway.port}", API_KEY, spool=spool, batch_events_max=100, linger_ms=5, backoff=QUICK
        )
        self.acknowledged: list[Body] = []

    def run(self, over: threading.Event) -> None:
        made = 0
        with self._client as client:
            while not over.is_set():
                if client.stats.pending < PENDING_MAX:
                    events = some_events(self._chance, made, EVENTS, self._name)
                    made += EVENTS
                    for event in events:
                        client.send_json(to_json(event))
                    self.acknowledged += events
                over.wait(PAUSE_S)
            assert client.flush(FLUSH_TIMEOUT_S), client.stats
            assert (client.rejected, client.conflicts) == ([], [])
