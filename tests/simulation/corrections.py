"""Whoever amends and voids events, through the product's own catalog and outbox."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import msgspec

from builders import rfc3339, to_json
from penstock.aggregator.corrections import Corrections
from penstock.catalog.memory import MemoryCatalog
from penstock.kernel.control import Correction, EventAmended, EventVoided, encode_control
from penstock.kernel.ports.usage_store import UsageStore
from penstock.kernel.problems import LogUnavailable
from penstock.kernel.record import Kind
from penstock.kernel.window import to_us
from simulation.faulty_log import FaultyLog
from simulation.faulty_store import Tables
from simulation.traffic import CUSTOMERS, Clients
from simulation.world import World, run_now


class Correctors:
    """They know what clients sent, whether or not it came to the log."""

    def __init__(self, world: World, log: FaultyLog, tables: Tables, clients: Clients) -> None:
        self._world, self._log, self._clients = world, log, clients
        store = cast(UsageStore, tables)
        self._corrections = Corrections(MemoryCatalog(), world, store, log.identity, self._send)
        self._sent: list[tuple[Correction, int]] = []
        self._ordered = 0

    def order(self) -> None:
        """Correct one of the events that were sent of late."""
        chance = self._world.chance
        found = self._clients.lately()
        if not found:
            return
        tenant, event = found[-1 - chance.randrange(min(len(found), chance.choice([2, 6, 40])))]
        self._ordered += 1
        id, transaction_id = f"correction-{self._ordered}", event["transaction_id"]
        control: Correction = EventVoided(id, 0, tenant, transaction_id)
        if chance.random() < 0.6:
            changed = self._clients.some_properties()
            control = EventAmended(
                id=id,
                sequence=0,
                tenant=tenant,
                transaction_id=transaction_id,
                properties=msgspec.Raw(to_json(changed)),
                event_type=chance.choice([None, None, "call", "upload"]),
                customer=chance.choice([None, event["customer_id"], event["customer_id"], chance.choice(CUSTOMERS)]),
                time_us=to_us(self._world.now()) if chance.random() < 0.05 else None,
            )
        self._world.tell(f"order {control} at {rfc3339(self._world.now())}")
        self._try(lambda: self._corrections.order(control))

    def repeat(self) -> None:
        """An outbox sends a correction again, perhaps long after."""
        if self._sent:
            control, partition = self._sent[-1 - self._world.chance.randrange(min(len(self._sent), 8))]
            self._try(lambda: self._send(control, partition))

    def send_pending(self) -> None:
        self._try(self._corrections.send_pending)

    def _try(self, send: Callable[[], object]) -> None:
        try:
            send()
        except LogUnavailable:
            self._world.tell("it waits in the outbox")

    def _send(self, control: Correction, partition: int) -> int:
        self._sent.append((control, partition))
        appending = self._log.append(partition, Kind.CONTROL, self._world.now_us, encode_control(control))
        return run_now(appending).offset
