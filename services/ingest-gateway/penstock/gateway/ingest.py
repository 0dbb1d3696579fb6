"""THE VERB of the gateway: events in, durable and each at most once as far as the window reaches, verdicts out."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

import msgspec

from penstock.gateway.answer import IngestAnswer
from penstock.gateway.coalescer import Coalescer, CoalescerSettings, Room, room_always
from penstock.gateway.decode import decode
from penstock.gateway.dedupe import Window
from penstock.gateway.restore import restore
from penstock.gateway.ticker import tick_forever
from penstock.kernel.event import Verdict
from penstock.kernel.ports import Clock, EventLog
from penstock.kernel.record import US_PER_DAY
from penstock.kernel.window import to_us

# Told of every answered request: tenant, verdict, events. What is not durable is not counted.
Counter = Callable[[str, Verdict, int], None]


class GatewaySettings(msgspec.Struct, frozen=True):
    """The limits of one gateway. `window_*` bound the ids it remembers; the aggregator remembers for longer."""

    request_bytes_max: int = 32 * 1024 * 1024
    request_events_max: int = 10_000
    window_ids_max: int = 2_000_000
    window_days: int = 1
    tick_interval_ms: int = 5_000
    coalescer: CoalescerSettings = CoalescerSettings()


def count_nothing(tenant: str, verdict: Verdict, events: int) -> None:
    """The counter of a gateway that nobody watches."""


class Gateway:
    """One gateway in front of a log. `start` before the first `ingest`, `drain` before the log is closed."""

    def __init__(
        self,
        log: EventLog,
        clock: Clock,
        settings: GatewaySettings = GatewaySettings(),  # noqa: B008  # frozen
        counter: Counter = count_nothing,
        room: Room = room_always,
    ) -> None:
        self.settings = settings
        self._log, self._clock, self._counter = log, clock, counter
        self._window = Window(settings.window_ids_max, settings.window_days)
        self._coalescer = Coalescer(log, self._window, self._now_us, settings.coalescer, room)
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Remember the newest ids of the log, then take events and give the partitions their ticks."""
        today = self._now_us() // US_PER_DAY
        await restore(self._log, self._window, self.settings.window_ids_max, today - self.settings.window_days)
        self._tasks = [
            asyncio.create_task(self._coalescer.run(), name="gateway-coalescer"),
            asyncio.create_task(
                tick_forever(self._log, self._now_us, self.settings.tick_interval_ms), name="gateway-ticker"
            ),
        ]

    async def ingest(self, tenant: str, body: bytes) -> IngestAnswer:
        """Return once every accepted event is durable.

        Raise `BadRequest` or `TooLarge` for the request as a whole, `TooMany` with a time to wait, and
        `LogUnavailable` where the outcome is unknown: retry with the same ids.
        """
        self._coalescer.admit(len(body))
        request = decode(body, self.settings.request_events_max, self.settings.request_bytes_max)
        answer = await self._coalescer.submit(tenant, request, len(body))
        for verdict, events in answer.counts().items():
            if events:
                self._counter(tenant, verdict, events)
        return answer

    async def drain(self) -> None:
        """Take nothing more, append and answer what is waiting, stop the ticks. Idempotent."""
        self._coalescer.close()
        if not self._tasks:
            return
        coalescer, ticker = self._tasks
        self._tasks = []
        await coalescer
        ticker.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await ticker

    def _now_us(self) -> int:
        return to_us(self._clock.now())
