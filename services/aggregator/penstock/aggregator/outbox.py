"""The outbox of control records: rows of the catalog, put in one transaction with what they announce, then sent.

A control that a crash kept from the log is sent later; the fold skips one that it has seen (DESIGN.md section 3).
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from penstock.kernel.control import Control
from penstock.kernel.ports.catalog import Catalog, Item
from penstock.kernel.ports.clock import Clock
from penstock.kernel.problems import Conflict
from penstock.kernel.record import Vector

CONTROL = "control"
PENDING, SENT = "pending", "sent"

# Appends a control to every partition of the log and returns its offsets, -1 for sealed logs'. Raises `LogUnavailable`.
Send = Callable[[Control], Vector]


class _Outgoing(msgspec.Struct, frozen=True):
    """A control on its way; `offsets` are known once every partition has it."""

    control: Control
    offsets: Vector | None = None


def outgoing(tenant: str, control: Control) -> Item:
    """What is put into the catalog beside the thing that the control announces."""
    return Item(tenant, CONTROL, control.id, msgspec.json.encode(_Outgoing(control)), parent=PENDING)


class Outbox:
    """Sends what is pending in a catalog. Safe for threads, and beside other processes that do the same."""

    def __init__(self, catalog: Catalog, clock: Clock, send: Send) -> None:
        self._catalog, self._clock, self._send = catalog, clock, send

    def send_pending(self) -> None:
        """Send every control that is not in the log yet. Idempotent: the fold skips a known control."""
        for item in self._catalog.list(None, CONTROL, parent=PENDING):
            held = msgspec.json.decode(item.body, type=_Outgoing)
            sent = msgspec.structs.replace(held, offsets=self._send(held.control))
            done = msgspec.structs.replace(item, body=msgspec.json.encode(sent), parent=SENT)
            try:
                self._catalog.put([done], self._clock.now())
            except Conflict:
                continue  # another thread sent it too, and noted the offsets of its own copy

    def offsets(self, tenant: str, control_id: str) -> Vector | None:
        """Where the control stands in each partition, at or behind its first copy there; None until all have it."""
        item = self._catalog.get(tenant, CONTROL, control_id)
        return None if item is None else msgspec.json.decode(item.body, type=_Outgoing).offsets
