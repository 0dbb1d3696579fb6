"""THE VERB of the gateway: events in, durable and each at most once as far as the window reaches, verdicts out."""

from __future__ import annotations

import asyncio
import contextlib
import time

import msgspec

from penstock.gateway.answer import IngestAnswer
from penstock.gateway.budget import Budget
from penstock.gateway.coalescer import Coalescer, CoalescerSettings, Room, room_always
from penstock.gateway.decode import Decoded, refuse_too_large
from penstock.gateway.dedupe import Window
from penstock.gateway.formats import Format, decode_body
from penstock.gateway.loops import LOOPS
from penstock.gateway.memory import RecentVerdicts
from penstock.gateway.rate_limit import RateLimits, TenantRates
from penstock.gateway.restore import restore
from penstock.gateway.ticker import tick_forever
from penstock.gateway.warm_up import warm_up
from penstock.gateway.watch import Unwatched, Watch
from penstock.kernel.layer import Layer
from penstock.kernel.ports.clock import Clock
from penstock.kernel.ports.event_log import EventLog
from penstock.kernel.ports.siblings import OpenLayers
from penstock.kernel.problems import NotFound
from penstock.kernel.record import US_PER_DAY
from penstock.kernel.window import to_us

# Bodies unpacked at a time: what they become is not known, only how much it is at most.
UNPACKING_MAX = 2


class GatewaySettings(msgspec.Struct, frozen=True):
    """The limits of one gateway. `window_*` bound the ids it remembers; the aggregator remembers for longer."""

    request_bytes_max: int = 32 * 1024 * 1024  # packed and unpacked
    request_events_max: int = 10_000
    arrow_events_max: int = 100_000  # as columns an event costs so much less
    window_ids_max: int = 2_000_000
    window_days: int = 1
    tick_interval_ms: int = 5_000
    coalescer: CoalescerSettings = CoalescerSettings()
    tenant: RateLimits = RateLimits()


class Gateway:
    """One gateway in front of a log. `start` before the first `ingest`, `drain` before the log is closed."""

    def __init__(
        self,
        log: EventLog,
        clock: Clock,
        settings: GatewaySettings = GatewaySettings(),  # noqa: B008  # frozen
        watch: Watch = Unwatched(),  # noqa: B008  # holds nothing
        room: Room = room_always,
        layers: OpenLayers | None = None,
    ) -> None:
        self.settings = settings
        self._log, self._clock, self.watch = log, clock, watch
        self._layers = layers
        self.memory = RecentVerdicts()
        self._window = Window(settings.window_ids_max, settings.window_days)
        self.budget = Budget(settings.coalescer.queue_bytes_max)
        self.unpacking = asyncio.Semaphore(UNPACKING_MAX)
        self._rates = TenantRates(settings.tenant)
        self._coalescer = Coalescer(log, self._window, self._now_us, settings.coalescer, room, self.budget, watch)
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Remember the newest ids of the log, then take events and give the partitions their ticks."""
        await asyncio.to_thread(warm_up, self._log.identity)
        today = self._now_us() // US_PER_DAY
        await restore(self._log, self._window, self.settings.window_ids_max, today - self.settings.window_days)
        self._tasks = [
            asyncio.create_task(self._coalescer.run(), name="gateway-coalescer"),
            asyncio.create_task(
                tick_forever(self._log, self._now_us, self.settings.tick_interval_ms), name="gateway-ticker"
            ),
        ]

    async def ingest(
        self, tenant: str, body: bytes, form: Format = Format.JSON, backfill_id: str | None = None
    ) -> IngestAnswer:
        """Return once every accepted event is durable, in the live log or in the layer of an open backfill.

        Raise `BadRequest` or `TooLarge` for the request as a whole, `TooMany` with a time to wait, and
        `LogUnavailable` where the outcome is unknown: retry with the same ids. A backfill that is not there is
        `NotFound`, one that takes no events `Conflict`.
        """
        refuse_too_large(len(body), self.settings.request_bytes_max)
        LOOPS.seen(len(body))
        self._coalescer.admit(len(body))
        if self._rates.has_limits:
            self._rates.refuse_beyond(tenant, self._now_us())
        columns = form is Format.ARROW
        events_max = self.settings.arrow_events_max if columns else self.settings.request_events_max
        request = decode_body(form, body, events_max, self.settings.request_bytes_max)
        if backfill_id is not None:
            request = msgspec.structs.replace(request, layer=await self._layer(tenant, backfill_id))
        return await self._submit(tenant, request, len(body))

    async def _layer(self, tenant: str, backfill_id: str) -> Layer:
        if self._layers is None:
            raise NotFound("this gateway knows no backfills", field="backfill_id")
        return await asyncio.to_thread(self._layers.open_layer, tenant, backfill_id)

    async def ingest_arrow(self, tenant: str, stream: bytes) -> IngestAnswer:
        """`ingest` of an Arrow IPC stream."""
        return await self.ingest(tenant, stream, Format.ARROW)

    async def ingest_decoded(self, tenant: str, request: Decoded, body_bytes: int) -> IngestAnswer:
        """`ingest` for a caller with a decoder of its own; `body_bytes` is what it decoded."""
        LOOPS.seen(body_bytes)
        self._coalescer.admit(body_bytes)
        if self._rates.has_limits:
            self._rates.refuse_beyond(tenant, self._now_us())
        return await self._submit(tenant, request, body_bytes)

    async def _submit(self, tenant: str, request: Decoded, body_bytes: int) -> IngestAnswer:
        if self._rates.has_limits:
            self._rates.spend(tenant, len(request.events) + len(request.refusals), body_bytes, self._now_us())
        started_s = time.perf_counter()
        scope = tenant if request.layer is None else request.layer.scope
        answer = await self._coalescer.submit(scope, request, body_bytes)
        self.watch.answered(tenant, answer, body_bytes, time.perf_counter() - started_s)
        if answer.events:
            self.memory.note(scope, answer.events, self._clock.now())
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
