"""Clients and their gateways: events of several tenants, sent until a gateway says what became of them, and later."""

from __future__ import annotations

import copy
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from builders import Body, rfc3339, to_json
from penstock.gateway.answer import IngestAnswer
from penstock.gateway.budget import Budget
from penstock.gateway.coalescer import Coalescer, CoalescerSettings, _Waiting, room_always
from penstock.gateway.decode import decode
from penstock.gateway.dedupe import Window
from penstock.gateway.restore import restore
from penstock.gateway.ticker import tick
from penstock.gateway.watch import Unwatched
from penstock.kernel.event import Verdict
from penstock.kernel.problems import LogUnavailable
from penstock.kernel.record import US_PER_DAY
from penstock.kernel.window import from_us
from simulation.faulty_log import FaultyLog
from simulation.world import DAY_US, HOUR_US, MINUTE_US, World, run_now

TENANTS = ("north", "south")
CUSTOMERS = ("acme", "globex", "initech")
REQUEST_MAX = 2**20
HOT_US = 5 * DAY_US
SKEW_US = 4 * MINUTE_US  # of a gateway's clock


class Answer:
    """What a request is answered: a future that nobody waits for."""

    def __init__(self) -> None:
        self.result: IngestAnswer | None = None
        self.error: BaseException | None = None

    def done(self) -> bool:
        return self.result is not None or self.error is not None

    def set_result(self, result: IngestAnswer) -> None:
        self.result = result

    def set_exception(self, error: BaseException) -> None:
        self.error = error


class GatewayPod:
    """A gateway with a clock of its own; made again, it remembers what the log tells it, or nothing."""

    def __init__(self, world: World, log: FaultyLog, skew_us: int, remembers: bool) -> None:
        self._world, self._skew_us = world, skew_us
        self._log = log
        self._window = Window(ids_max=1_000_000, days=1)
        if remembers:
            run_now(restore(log, self._window, 1_000_000, self._now_us() // US_PER_DAY - 1))
        self._coalescer = Coalescer(
            log, self._window, self._now_us, CoalescerSettings(), room_always, Budget(2**30), Unwatched()
        )

    def _now_us(self) -> int:
        return self._world.now_us + self._skew_us

    def ingest(self, tenant: str, events: list[Body]) -> IngestAnswer | None:
        """The answer, or None where the outcome is unknown."""
        body = to_json(events)
        answer: Any = Answer()
        request = decode(body, 1_000, REQUEST_MAX)
        self.settle(_Waiting(tenant, request, len(body), answer))
        if answer.error is not None and not isinstance(answer.error, LogUnavailable):
            raise answer.error
        result: IngestAnswer | None = answer.result
        return result

    def settle(self, waiting: _Waiting) -> None:
        """What `Coalescer.run` does with a request, when nothing else is in flight."""
        batch = self._coalescer._batch([waiting])
        batch.judge(self._window)
        run_now(self._coalescer._settle([waiting], batch))

    def tick(self) -> None:
        run_now(tick(self._log, self._now_us()))


class Clients:
    """Everyone who sends. `acknowledged` are the tenants and ids of which a gateway said that they are in the log."""

    def __init__(self, world: World, log: FaultyLog) -> None:
        self._world, self._log = world, log
        self._gateways = [self._gateway() for _ in range(world.plan.gateways)]
        self._sent: list[tuple[str, Body]] = []
        self._numbers = dict.fromkeys(TENANTS, 0)
        self.unanswered: list[tuple[str, list[Body]]] = []
        self.acknowledged: set[tuple[str, str]] = set()
        self.accepted: set[tuple[str, str]] = set()

    def _gateway(self) -> GatewayPod:
        chance = self._world.chance
        return GatewayPod(self._world, self._log, chance.randrange(-SKEW_US, SKEW_US), chance.random() < 0.5)

    def restart_gateway(self) -> None:
        at = self._world.chance.randrange(len(self._gateways))
        self._gateways[at] = self._gateway()

    def tick(self) -> None:
        try:
            self._world.chance.choice(self._gateways).tick()
        except LogUnavailable:
            self._world.tell("a tick was lost")

    def send(self) -> None:
        """New events of one tenant, with some that were sent before."""
        chance = self._world.chance
        tenant = chance.choice(TENANTS)
        events = [self._new(tenant) for _ in range(chance.randrange(1, 5))]
        again = [event for owner, event in self._sent[-30:] if owner == tenant and chance.random() < 0.15]
        for event in again:
            if chance.random() < 0.2:
                event = event | {"properties": {"units": 77, "model": "changed"}}
            events.insert(chance.randrange(len(events) + 1), event)
        self._submit(tenant, events)

    def retry(self) -> None:
        if self.unanswered:
            self._submit(*self.unanswered.pop(self._world.chance.randrange(len(self.unanswered))))

    def _submit(self, tenant: str, events: list[Body]) -> None:
        world = self._world
        answer = world.chance.choice(self._gateways).ingest(tenant, events)
        if answer is None or world.fault(world.plan.log_fault_share):  # a gateway killed between append and answer
            self.unanswered.append((tenant, events))
            return
        others = {verdict.index: verdict.verdict for verdict in answer.events}
        for index, event in enumerate(events):
            verdict = others.get(index, Verdict.ACCEPTED)
            name = (tenant, event["transaction_id"])
            if verdict is Verdict.ACCEPTED:
                self.accepted.add(name)
            if verdict is not Verdict.REJECTED:
                self.acknowledged.add(name)

    def _new(self, tenant: str) -> Body:
        world, chance = self._world, self._world.chance
        self._numbers[tenant] += 1
        event: Body = {
            "transaction_id": f"e{self._numbers[tenant]}",
            "customer_id": chance.choice(CUSTOMERS) if chance.random() < 0.95 else f"guest-{self._numbers[tenant]}",
            "event_type": chance.choice(["call", "call", "upload"]),
            "timestamp": rfc3339(from_us(world.now_us + self._age_us())),
            "properties": self._properties(),
        }
        self._sent.append((tenant, event))
        if world.plan.days > 40:
            self._send_later(tenant, event)
        return event

    def lately(self) -> list[tuple[str, Body]]:
        """Tenant and body of what was sent last, whatever became of it."""
        return self._sent[-60:]

    def some_properties(self) -> Body:
        """What an event might hold."""
        return self._properties()

    def _age_us(self) -> int:
        """How far from now an event happened: mostly just before, sometimes as far as a gateway lets it."""
        chance, now_us = self._world.chance, self._world.now_us
        choice = chance.random()
        if choice < 0.3:
            return -chance.randrange(40 * MINUTE_US)
        if choice < 0.65:  # few windows, that many records meet in
            return now_us // HOT_US * HOT_US + chance.randrange(40 * MINUTE_US) - now_us
        if choice < 0.75:
            return -chance.randrange(3 * DAY_US)
        if choice < 0.85:
            return -34 * DAY_US + chance.randrange(2 * HOUR_US) - 10 * MINUTE_US
        return DAY_US - chance.randrange(3 * HOUR_US) + 5 * MINUTE_US

    def _properties(self) -> Body:
        chance = self._world.chance
        units: Any = chance.choice([chance.randrange(-50, 50), Decimal(chance.randrange(10**6)) / 1_000, "12.5", "1e3"])
        if chance.random() < 0.08:
            units = chance.choice(["text", True, None, 10**26, "9" * 30])
        found: Body = {"units": units, "model": chance.choice(["a", "b", "c"]), "region": chance.choice(["eu", "us"])}
        return {name: value for name, value in found.items() if chance.random() < 0.93}

    def _send_later(self, tenant: str, event: Body) -> None:
        """The same again as late as a gateway takes it, or around the day on which its id is forgotten."""
        world, chance = self._world, self._world.chance
        happened_us = world.now_us + (datetime.fromisoformat(event["timestamp"]) - world.now()) // timedelta(
            microseconds=1
        )
        choice = chance.random()
        if choice < 0.12:
            self._submit_at(happened_us + 34 * DAY_US - chance.randrange(20 * HOUR_US), tenant, event)
        elif choice < 0.18:
            self._submit_at(world.now_us + chance.randrange(30 * DAY_US, 38 * DAY_US), tenant, event)
        elif choice < 0.32:
            # An id taken again for something new, around the midnight on which the first is forgotten.
            forgotten_us = (world.now_us // DAY_US + 37) * DAY_US
            self._reuse_at(forgotten_us + chance.randrange(-2 * HOUR_US, 12 * HOUR_US), tenant, event)
            if chance.random() < 0.5:
                self._submit_at(world.now_us + chance.randrange(DAY_US, 20 * DAY_US), tenant, event)

    def _submit_at(self, at_us: int, tenant: str, event: Body) -> None:
        if at_us > self._world.now_us:
            self._world.at(at_us, lambda: self._submit(tenant, [copy.copy(event)]))

    def _reuse_at(self, at_us: int, tenant: str, event: Body) -> None:
        def send() -> None:
            self._submit(tenant, [event | {"timestamp": rfc3339(self._world.now()), "properties": self._properties()}])

        self._world.at(at_us, send)
