"""Many small requests become few large appends: one task takes what is queued, has it judged and lets it be appended.

One task judges, and of what is in flight it judges no copy: that waits until the first one's outcome is known.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Awaitable, Callable, Sequence

import msgspec

from penstock.gateway.answer import IngestAnswer, Receipt
from penstock.gateway.batch import Batch
from penstock.gateway.budget import Budget
from penstock.gateway.decode import Decoded
from penstock.gateway.dedupe import Window
from penstock.gateway.in_flight import InFlight
from penstock.gateway.watch import Watch
from penstock.kernel.event import PROPERTIES_BYTES_MAX
from penstock.kernel.ports.event_log import Appended, EventLog
from penstock.kernel.problems import LogUnavailable
from penstock.kernel.record import Kind

# Below this many queued events a batch waits `linger_ms` for company; above, it is worth an append of its own.
LINGER_EVENTS_MAX = 2_000


# Waits, for a bounded time, while what stands behind the log should not be given more.
Room = Callable[[], Awaitable[None]]


async def room_always() -> None:
    """Nothing behind the log asks for a pause."""


class CoalescerSettings(msgspec.Struct, frozen=True):
    """`queue_bytes_max` bounds the request bodies that arrive, wait or are being appended; beyond it `TooMany`."""

    linger_ms: int = 5
    batch_events_max: int = 5_000
    batch_bytes_max: int = 8 * 1024 * 1024  # of request bodies; a larger request is a batch of its own
    piece_bytes_max: int = 1024 * 1024  # of properties, before compression
    queue_bytes_max: int = 64 * 1024 * 1024
    appends_max: int = 3  # under way at a time
    properties_bytes_max: int = PROPERTIES_BYTES_MAX  # of one event


class _Waiting(msgspec.Struct):
    tenant: str
    request: Decoded
    body_bytes: int
    answer: asyncio.Future[IngestAnswer]


class Coalescer:
    """`admit` before decoding, `submit` after, `run` in one task. The settings bound what it holds."""

    def __init__(
        self,
        log: EventLog,
        window: Window,
        now_us: Callable[[], int],
        settings: CoalescerSettings,
        room: Room,
        budget: Budget,
        watch: Watch,
    ) -> None:
        self._budget, self._watch = budget, watch
        self._log, self._window, self._now_us, self._settings, self._room = log, window, now_us, settings, room
        self._in_flight = InFlight(settings.appends_max)
        self._queue: deque[_Waiting] = deque()
        self._queued_events = 0
        self._some = asyncio.Event()  # something waits, or the end
        self._enough = asyncio.Event()  # what waits is worth an append, or the end
        self._closing = False

    def admit(self, body_bytes: int) -> None:
        """Raise `TooMany` where the queue has no room for a body of this size, `LogUnavailable` once it is closing."""
        if self._closing:
            raise LogUnavailable("the gateway is shutting down", retry_after_s=1)
        self._budget.refuse_beyond(body_bytes)

    async def submit(self, tenant: str, request: Decoded, body_bytes: int) -> IngestAnswer:
        """Return once the request's accepted events are durable. Raise `LogUnavailable`: retry with the same ids.

        Raise `TooMany` where the queue has no room. The bytes are held until the outcome is known, even where nobody
        waits for it any more.
        """
        self._budget.take(body_bytes)
        answer: asyncio.Future[IngestAnswer] = asyncio.get_running_loop().create_future()
        self._queue.append(_Waiting(tenant, request, body_bytes, answer))
        self._queued_events += len(request.events)
        self._signal()
        return await answer

    def close(self) -> None:
        """Take nothing more; `run` returns when all that waits is answered."""
        self._closing = True
        self._signal()

    async def run(self) -> None:
        while group := await self._take():
            try:
                await self._room()
                batch = self._batch(group)
                await self._in_flight.clear_for(batch.identities)
                batch.judge(self._window)
            except Exception as exc:  # a bug in one batch: its callers hear of it, the gateway goes on
                self._refuse(group, exc)
            else:
                self._in_flight.begin(batch.identities, self._settle(group, batch))
        await self._in_flight.landed()

    async def _take(self) -> list[_Waiting]:
        """The next requests, as many as one batch may hold and at least one; none when closed and empty."""
        await self._some.wait()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._settings.linger_ms / 1000):
                await self._enough.wait()
        if not self._enough.is_set():  # few events are not worth an append beside another
            await self._in_flight.landed()
        group: list[_Waiting] = []
        events = body_bytes = 0
        while self._queue:
            events += len(self._queue[0].request.events)
            body_bytes += self._queue[0].body_bytes
            if group and (events > self._settings.batch_events_max or body_bytes > self._settings.batch_bytes_max):
                break
            group.append(self._queue.popleft())
            self._queued_events -= len(group[-1].request.events)
        self._signal()
        return group

    def _signal(self) -> None:
        """Let the two events say what the queue holds now."""
        for event, holds in (
            (self._some, bool(self._queue)),
            (self._enough, self._queued_events >= LINGER_EVENTS_MAX),
        ):
            if holds or self._closing:
                event.set()
            else:
                event.clear()

    def _batch(self, group: Sequence[_Waiting]) -> Batch:
        return Batch(
            [waiting.tenant for waiting in group],
            [waiting.request for waiting in group],
            self._log.identity,
            self._now_us(),
            self._settings.piece_bytes_max,
            self._settings.properties_bytes_max,
        )

    async def _settle(self, group: Sequence[_Waiting], batch: Batch) -> None:
        try:
            receipts = await self._appended(batch)
            batch.remember(self._window)
            self._watch.appended(len(group), batch.accepted, [len(piece.payload) for piece in batch.pieces])
            answers = [batch.answer(number, receipts) for number in range(len(group))]
        except Exception as exc:
            self._refuse(group, exc)
            return
        self._budget.give_back(sum(waiting.body_bytes for waiting in group))
        for waiting, answer in zip(group, answers, strict=True):
            if not waiting.answer.done():  # its caller may have gone away
                waiting.answer.set_result(answer)

    async def _appended(self, batch: Batch) -> list[Receipt]:
        """Return when every piece is durable. Where one is not, the outcome of all is told as unknown."""
        appends = [self._log.append(p.partition, Kind.CHUNK, batch.now_us, p.payload) for p in batch.pieces]
        outcomes = await asyncio.gather(*appends, return_exceptions=True)
        for outcome in outcomes:
            if isinstance(outcome, BaseException):
                raise outcome
        return [Receipt(o.partition, o.offset) for o in outcomes if isinstance(o, Appended)]

    def _refuse(self, group: Sequence[_Waiting], cause: BaseException) -> None:
        self._budget.give_back(sum(waiting.body_bytes for waiting in group))
        for waiting in group:
            if not waiting.answer.done():
                waiting.answer.set_exception(cause)
