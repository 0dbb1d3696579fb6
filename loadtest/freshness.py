"""From the instant at which a batch was meant to leave until usage shows it: receipts against the folded offsets."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Iterable, Mapping
from contextlib import suppress

import msgspec
from loadtest.drivers.base import Endpoint, Lost, Receipt
from loadtest.drivers.http_connection import HttpConnection
from loadtest.drivers.over_http import request_head
from loadtest.histogram import Histogram

LOOK_EVERY_S = 0.05


class _Folded(msgspec.Struct):
    partition: int
    folded: int


class _Pipeline(msgspec.Struct):
    data: list[_Folded]


_PIPELINE = msgspec.json.Decoder(_Pipeline)


class Freshness:
    """Receipts that wait to be visible, and how long the others waited. A look is every 50 ms; it errs upwards."""

    def __init__(self) -> None:
        self.waited = Histogram()
        self.last_progress = time.perf_counter()
        self._waiting: dict[int, deque[tuple[int, float]]] = {}
        self._newest: dict[int, int] = {}
        self._folded: dict[int, int] = {}

    def acknowledged(self, receipts: Iterable[Receipt], due: float) -> None:
        for receipt in receipts:
            self._waiting.setdefault(receipt.partition, deque()).append((receipt.offset, due))
            if receipt.offset > self._newest.get(receipt.partition, -1):
                self._newest[receipt.partition] = receipt.offset

    def folded(self, offsets: Mapping[int, int], now: float) -> None:
        """Usage shows what lies at or below `offsets`."""
        if offsets != self._folded:
            self._folded = dict(offsets)
            self.last_progress = now
        for partition, waiting in self._waiting.items():
            offset = self._folded.get(partition, -1)
            while waiting and waiting[0][0] <= offset:
                self.waited.add(int((now - waiting.popleft()[1]) * 1_000_000))

    @property
    def is_complete(self) -> bool:
        """Whether usage shows every receipt."""
        return self.lag_records() == 0 and not any(self._waiting.values())

    def lag_records(self) -> int:
        """Records of the log between the newest receipt and what is folded."""
        return sum(max(0, newest - self._folded.get(p, -1)) for p, newest in self._newest.items())

    def lag_ms(self, now: float) -> int:
        """How long the oldest receipt has waited."""
        oldest = min((waiting[0][1] for waiting in self._waiting.values() if waiting), default=now)
        return max(0, int((now - oldest) * 1_000))


async def watch(freshness: Freshness, endpoint: Endpoint) -> None:
    """Look again and again, until cancelled. A server that is away is looked for."""
    head = request_head(endpoint, "GET", "/v1/pipeline")
    connection: HttpConnection | None = None
    try:
        while True:
            with suppress(Lost):
                connection = connection or await HttpConnection.open(endpoint.url)
                try:
                    answer = await connection.exchange(head)
                except Lost:
                    connection = None
                    raise
                if answer.status == 200:
                    found = {row.partition: row.folded for row in _PIPELINE.decode(answer.body).data}
                    freshness.folded(found, time.perf_counter())
            await asyncio.sleep(LOOK_EVERY_S)
    finally:
        if connection is not None:
            connection.close()
