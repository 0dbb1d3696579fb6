"""The sending: connections that take the next batch when it is due, send it until it is acknowledged, and go on.

Open loop: a batch has the instant at which it is meant to leave, and its latency counts from there, retries included,
so that a stall of the server shows in every batch that it held up.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Iterator
from typing import NamedTuple

from loadtest.drivers.base import REQUEST_TIMEOUT_S, Answer, Busy, Connection, Driver, Lost, Refused
from loadtest.freshness import Freshness
from loadtest.options import Options
from loadtest.schedule import due_times
from loadtest.tally import Tally
from loadtest.traffic import Part, Traffic
from loadtest.truth import Truth

RETRY_DELAY_S = 0.2
BUSY_DELAY_S_MAX = 2.0


class Job(NamedTuple):
    """A batch, or a part of it, on its way. The same job always has the same bytes."""

    number: int
    minute: int
    part: Part
    due: float


class _Line:
    """One of the run's connections, which may have to be opened anew."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver
        self._connection: Connection | None = None

    async def send(self, body: bytes) -> Answer:
        if self._connection is None:
            self._connection = await self._driver.connect()
        return await self._connection.send(body)

    async def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()


class Engine:
    """One run's sending. `tally`, `truth` and `freshness` are told of every acknowledgement."""

    def __init__(
        self, options: Options, driver: Driver, traffic: Traffic, truth: Truth, tally: Tally, freshness: Freshness
    ) -> None:
        self._options, self._driver, self._traffic = options, driver, traffic
        self._truth, self._tally, self._freshness = truth, tally, freshness
        self._number = 0
        self._repeats: deque[Job] = deque()
        # Events that are still to go over known ids; repeats of whole batches and of parts take turns.
        half = options.duplicates / 2
        self._shares = {Part.REPEAT: half, Part.FIRST: half, Part.DISPUTED: options.conflicts}
        self._owed = dict.fromkeys(self._shares, 0.0)

    async def run(self) -> None:
        """Send for as long as the options say; return when all of it is acknowledged.

        Raise `Refused` where the server will not have it, `Lost` where it was away for longer than the run's patience.
        """
        self._began = time.perf_counter()
        self._dues = self._due()
        senders = [asyncio.create_task(self._connection()) for _ in range(self._options.connections)]
        try:
            await asyncio.gather(*senders)
        finally:
            for sender in senders:
                sender.cancel()
            await asyncio.gather(*senders, return_exceptions=True)

    def _due(self) -> Iterator[float]:
        """When new batches are due, by `time.perf_counter`."""
        options = self._options
        if options.rate is not None:
            for due_s in due_times(options.rate, options.batch, options.duration_s, options.phases):
                yield self._began + due_s
            return
        while (now := time.perf_counter()) < self._began + options.duration_s:
            yield now

    async def _connection(self) -> None:
        line = _Line(self._driver)
        try:
            while (job := self._next()) is not None:
                early_s = job.due - time.perf_counter()
                if early_s > 0:
                    await asyncio.sleep(early_s)
                await self._deliver(line, job)
        finally:
            await line.close()

    def _next(self) -> Job | None:
        if self._repeats:
            return self._repeats.popleft()
        due = next(self._dues, None)
        if due is None:
            return None
        job = Job(self._number, int(time.time()) // 60, Part.NEW, due)
        self._number += 1
        self._owe(job, Part.REPEAT, due)  # races with the first copy
        return job

    async def _deliver(self, line: _Line, job: Job) -> None:
        """Send until it is acknowledged."""
        body = self._traffic.body(job.number, job.minute, job.part)
        while True:
            try:
                async with asyncio.timeout(REQUEST_TIMEOUT_S):
                    answer = await line.send(body)
            except Busy as exc:
                self._tally.counts.busy += 1
                await self._pause(exc, min(exc.retry_after_s, BUSY_DELAY_S_MAX))
            except (Lost, TimeoutError) as exc:
                self._tally.counts.lost += 1
                await line.close()
                await self._pause(exc, RETRY_DELAY_S)
            else:
                self._acknowledged(job, answer)
                return

    async def _pause(self, cause: Exception, delay_s: float) -> None:
        stalled_s = time.perf_counter() - self._tally.last_progress
        if stalled_s > self._options.give_up_s:
            raise Lost(f"nothing was acknowledged for {stalled_s:.0f} s: {cause}") from cause
        await asyncio.sleep(delay_s)

    def _acknowledged(self, job: Job, answer: Answer) -> None:
        now = time.perf_counter()
        if answer.rejected:
            raise Refused(f"{answer.rejected} events of a batch were rejected; every one that is sent is good")
        size = self._traffic.sizes[job.part]
        is_new = job.part is Part.NEW
        self._freshness.acknowledged(answer.receipts, job.due)
        self._tally.acknowledged(answer, size, size if is_new else 0, job.due, now)
        if is_new:
            self._truth.acknowledged(job.number, job.minute)
            self._owe(job, Part.FIRST, now)
            self._owe(job, Part.DISPUTED, now)  # only now: the first copy is the one that counts

    def _owe(self, job: Job, part: Part, due: float) -> None:
        """Queue a part of this batch over its ids, as often as its share asks."""
        self._owed[part] += self._shares[part] * self._traffic.sizes[Part.NEW]
        if self._owed[part] >= self._traffic.sizes[part]:
            self._owed[part] -= self._traffic.sizes[part]
            self._repeats.append(job._replace(part=part, due=due))
