"""Corrections on their way: first a row in the catalog, then a control record in the partition of their event.

What became of one is told by the fold alone: only the log decides. The catalog's own order is the sequence by which an
older correction of an event does not overtake a newer one (DESIGN.md section 3).
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from datetime import datetime

import msgspec

from penstock.kernel.control import Correction
from penstock.kernel.correction import Corrected
from penstock.kernel.identity import identify, partition_of
from penstock.kernel.ports.catalog import Catalog, Item
from penstock.kernel.ports.clock import Clock
from penstock.kernel.ports.usage_store import UsageStore
from penstock.kernel.problems import Conflict
from penstock.kernel.record import LogIdentity

CORRECTION = "correction"
PENDING, SENT = "pending", "sent"

# Appends a control to one partition and returns its offset. Raises `LogUnavailable`.
SendTo = Callable[[Correction, int], int]


class _Ordered(msgspec.Struct, frozen=True):
    """A correction on its way; `offset` is known once the partition has it."""

    control: Correction
    offset: int | None = None


class Told(msgspec.Struct, frozen=True):
    """A correction that was ordered, and what became of it: None until its partition's marker has passed it."""

    control: Correction
    created_at: datetime
    corrected: Corrected | None


class Corrections:
    """The corrections of every tenant. `log` is the identity of the log that they go to."""

    def __init__(self, catalog: Catalog, clock: Clock, store: UsageStore, log: LogIdentity, send: SendTo) -> None:
        self._catalog = catalog
        self._clock = clock
        self._store = store
        self._log = log
        self._send = send
        self._sending = threading.Lock()  # two senders would send everything twice

    def order(self, control: Correction) -> Told:
        """Store and send a correction; its sequence is the catalog's. One that is known is told as it stands.

        Raise `Conflict` where its id stands for another one, `LogUnavailable` where it waits: it will be sent.
        """
        held = self._catalog.get(control.tenant, CORRECTION, control.id)
        if held is None:
            item = Item(control.tenant, CORRECTION, control.id, _encoded(_Ordered(control)), parent=PENDING)
            with contextlib.suppress(Conflict):  # the same was ordered at the same moment: it is looked at below
                self._catalog.put([item], self._clock.now())
        told = self.find(control.tenant, control.id)
        assert told is not None, "it is in the catalog"
        if msgspec.structs.replace(told.control, sequence=control.sequence) != control:
            raise Conflict(f"uniqueness_key {control.id} stands for another correction", field="uniqueness_key")
        self.send_pending()
        return told

    def send_pending(self) -> None:
        """Send every correction that is not in the log yet. Idempotent: the fold skips a known one."""
        with self._sending:
            for item in self._catalog.list(None, CORRECTION, parent=PENDING):
                control = _control(item)
                sent = _Ordered(control, self._send(control, _owner(control, self._log.hash_key, self._log.own)))
                done = msgspec.structs.replace(item, body=_encoded(sent), parent=SENT)
                try:
                    self._catalog.put([done], self._clock.now())
                except Conflict:
                    continue  # another process sent it too

    def find(self, tenant: str, id: str) -> Told | None:
        """The correction that was ordered under an id, or None."""
        first = self._catalog.get(tenant, CORRECTION, id)
        if first is None:
            return None
        assert first.recorded_at is not None, "it was put"
        control = _control(first)
        return Told(control, first.recorded_at, self._corrected(control))

    def _corrected(self, control: Correction) -> Corrected | None:
        """What a fold has made of it, in this log or in one that it follows."""
        for log in self._log.logs:
            partition = _owner(control, self._log.hash_key, log)
            marker = self._store.marker(partition)
            through = marker.offset if marker else -1
            known = self._store.corrections(control.tenant, [control.transaction_id], partition, through)
            found = next((each for each in known if each.id == control.id), None)
            if found is not None:
                return found
        return None


def _owner(control: Correction, hash_key: bytes, log: range) -> int:
    """The partition, of those of a log, that has the event."""
    return log[int(partition_of(identify(hash_key, control.tenant, [control.transaction_id]), len(log))[0])]


def _control(item: Item) -> Correction:
    control = msgspec.json.decode(item.body, type=_Ordered).control
    return msgspec.structs.replace(control, sequence=item.sequence)


def _encoded(ordered: _Ordered) -> bytes:
    return msgspec.json.encode(ordered)
