"""The client: `send` puts events in a queue, threads deliver them in batches until the server has answered each.

    with Client("http://127.0.0.1:8600", key, spool=Path("spool")) as client:
        client.send(customer_id="acme", event_type="completion", properties={"tokens": 1500})
"""

from __future__ import annotations

import os
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

import msgspec

from penstock.client.answer import Hopeless, NotAcknowledged, raise_refusal
from penstock.client.backoff import Backoff
from penstock.client.connection import Connection, Server
from penstock.client.delivery import Delivery
from penstock.client.errors import Closed, Refused, Unsent
from penstock.client.event import EVENT_BYTES_MAX, check_text, encode_event
from penstock.client.spool import Spool
from penstock.client.store import MemoryStore
from penstock.client.tally import Refusal, Stats, Tally
from penstock.client.visible import Pipeline, is_visible
from penstock.client.waiting import BatchShape, Waiting

PIPELINE_PATH = "/v1/pipeline"
VISIBLE_EVERY_S = 0.05
BATCH_EVENTS_LIMIT = 10_000  # what the server takes in one request
JOIN_TIMEOUT_S = 5


class Client:
    """Sends usage events to a Penstock server; safe for threads. Make it after a fork, and close it.

    With a `spool`, an event that `send` took survives this process, and is sent by the next client on the same folder.
    Without one it waits in memory, and `close` raises `Unsent` where the server did not answer in time.
    """

    def __init__(
        self,
        base_url: str,
        api_key: str,
        *,
        spool: Path | str | None = None,
        spool_bytes_max: int = 2**30,
        queue_events_max: int = 100_000,
        queue_bytes_max: int = 64 * 2**20,
        when_full: Literal["block", "raise"] = "block",
        batch_events_max: int = 1_000,
        batch_bytes_max: int = 4 * 2**20,
        linger_ms: int = 50,
        connections: int = 2,
        timeout_ms: int = 30_000,
        backoff: Backoff = Backoff(),  # noqa: B008  # frozen
        on_refused: Callable[[Refusal], None] | None = None,
    ) -> None:
        """`queue_*` bound what waits in memory without a spool, `spool_bytes_max` what waits on the disk with one.

        Raise `SpoolLocked` and `SpoolDamaged`, and `ValueError` for an address, a key or a bound that cannot be one.
        """
        if not 1 <= batch_events_max <= BATCH_EVENTS_LIMIT or batch_bytes_max < EVENT_BYTES_MAX or connections < 1:
            raise ValueError(
                f"batch_events_max must be from 1 to {BATCH_EVENTS_LIMIT}, batch_bytes_max at least {EVENT_BYTES_MAX}, "
                "connections at least 1"
            )
        self._server = Server.at(base_url, api_key, timeout_ms)
        self._is_spooled, self._waits_for_room = spool is not None, when_full == "block"
        self._process_id = os.getpid()
        self._tally = Tally(on_refused)
        store = MemoryStore(queue_events_max, queue_bytes_max) if spool is None else Spool(Path(spool), spool_bytes_max)
        self._store, self._recovered = store, store.recovered
        self._waiting = Waiting(store, BatchShape(batch_events_max, batch_bytes_max, linger_ms))
        self._is_closed = False
        self._close_lock = threading.Lock()
        self._connections = [Connection(self._server) for _ in range(connections)]
        self._threads = [
            threading.Thread(target=self._deliver, args=(each, backoff), name="penstock-client", daemon=True)
            for each in self._connections
        ]
        for thread in self._threads:
            thread.start()

    def send(self, event: Mapping[str, Any] | None = None, /, *, durable: bool = False, **fields: Any) -> str:
        """Take an event, given as a mapping or as its fields, and return its transaction id.

        `transaction_id` is made and `timestamp` is now where they are not given. With `durable`, return once the event
        is in the spool and survives a power cut. Raise `BadEvent`, and `QueueFull` or `SpoolFull` without room.
        """
        transaction_id, text = encode_event({**(event or {}), **fields}, str(uuid.uuid4()), datetime.now(UTC))
        self.send_json(text, durable=durable)
        return transaction_id

    def send_json(self, event: bytes, *, durable: bool = False) -> int:
        """Take an event that is JSON text already, as it stands, and return its number among this client's events.

        Raise `BadEvent` where it is not one JSON value. What is wrong inside, the server's verdict tells.
        """
        if durable and not self._is_spooled:
            raise ValueError("only a client with a spool makes events durable by itself")
        if os.getpid() != self._process_id:
            raise Closed("this client belongs to the process that was forked; make one in each process")
        number = self._waiting.put(check_text(event), wait=self._waits_for_room)
        if durable:
            self._waiting.sync(number + 1)
        return number

    def sync(self) -> None:
        """Return once all events taken so far are in the spool and survive a power cut."""
        if not self._is_spooled:
            raise ValueError("only a client with a spool makes events durable by itself")
        self._waiting.sync()

    def flush(self, timeout_s: float | None = None) -> bool:
        """Send what waits, and return whether the server has answered all events taken so far within `timeout_s`.

        Raise `Refused` where the server refuses this client.
        """
        return self._waiting.wait_settled(timeout_s)

    def wait_visible(self, timeout_s: float) -> bool:
        """Flush, then return whether all that was acknowledged has become visible in usage within `timeout_s`.

        Needs a key with the scope `read`; raise `Refused` without it.
        """
        deadline_s = time.monotonic() + timeout_s
        if not self.flush(timeout_s):
            return False
        connection = Connection(self._server)
        try:
            while not self._is_visible(connection):
                if time.monotonic() >= deadline_s:
                    return False
                time.sleep(VISIBLE_EVERY_S)
        finally:
            connection.close()
        return True

    def _is_visible(self, connection: Connection) -> bool:
        try:
            reply = connection.request("GET", PIPELINE_PATH)
            raise_refusal(reply, datetime.now(UTC))
            pipeline = msgspec.json.decode(reply.body, type=Pipeline)
        except (NotAcknowledged, msgspec.DecodeError):
            return False
        except Hopeless as exc:
            raise Refused(exc.status, str(exc)) from exc
        return is_visible(pipeline, self._tally.receipts(), self._tally.duplicates_at())

    @property
    def is_spooled(self) -> bool:
        """Whether what is not answered survives this client."""
        return self._is_spooled

    @property
    def stats(self) -> Stats:
        """What has become of this client's events so far."""
        taken, pending = self._waiting.counts()
        return self._tally.stats(taken - self._recovered, self._recovered, pending)

    @property
    def rejected(self) -> list[Refusal]:
        """The newest events that the server rejected; they are never sent again. `on_refused` hears of all."""
        return self._tally.refused("rejected")

    @property
    def conflicts(self) -> list[Refusal]:
        """The newest events whose id had been accepted before with another body; the first one stays."""
        return self._tally.refused("conflict")

    @property
    def receipts(self) -> dict[int, int]:
        """By partition, the greatest offset at which events of this client are durable."""
        return self._tally.receipts()

    def close(self, timeout_s: float | None = 30) -> None:
        """Take no more, and flush for `timeout_s`. Idempotent.

        What is not answered then stays in the spool; without one, raise `Unsent`. Raise `Refused` where the server
        refuses this client.
        """
        with self._close_lock:
            if self._is_closed:
                return
            self._is_closed = True
            self._waiting.refuse_more()
            try:
                is_done = self._waiting.wait_settled(timeout_s)
            finally:
                self._let_go()
        if not is_done and not self._is_spooled:
            raise Unsent(self.stats.pending, self.stats.last_error)

    def _let_go(self) -> None:
        self._waiting.stop()
        for connection in self._connections:
            connection.abort()
        for thread in self._threads:
            thread.join(JOIN_TIMEOUT_S)
        self._store.close()

    def _deliver(self, connection: Connection, backoff: Backoff) -> None:
        """What a delivering thread does, until it is told to stop or no retry can help."""
        delivery = Delivery(connection, backoff, self._tally, self._waiting.settle, self._waiting.pause)
        try:
            while (batch := self._waiting.take()) is not None:
                delivery.deliver(batch)
        except Exception as exc:  # of `on_refused` too: every call from now on raises it
            self._waiting.fail(exc)
        finally:
            connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        self.close()
