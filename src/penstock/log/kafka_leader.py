"""Requests to the leader of a partition, sent again while the leader moves or its broker is away."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from aiokafka import AIOKafkaClient
from aiokafka.errors import KafkaError, LeaderNotAvailableError, for_code
from aiokafka.protocol.admin import DeleteRecordsRequest
from aiokafka.protocol.fetch import FetchRequest
from aiokafka.protocol.offset import OffsetRequest
from aiokafka.structs import TopicPartition

READ_UNCOMMITTED = 0
CONSUMER = -1
EARLIEST, LATEST = -2, -1
BACKOFF_MS = 100
Answered = tuple[int, Any]  # the error code, and what came with it


class Leaders:
    """The leaders of one topic's partitions. No good answer in `patience_ms` raises `KafkaError`."""

    def __init__(self, client: AIOKafkaClient, topic: str, patience_ms: int) -> None:
        self._client, self._topic, self._patience_ms = client, topic, patience_ms

    async def fetch(self, partition: int, start: int, bytes_max: int, wait_ms: int, lane: str) -> bytes:
        """Whole and torn batches from offset `start` on; empty where none came within `wait_ms`.

        At least one whole batch, if any is durable: the broker shows nothing above its high watermark. A broker answers
        the requests of one connection one after the other; `lane` names a connection that is this request's alone.
        """
        topics = [(self._topic, [(partition, start, bytes_max)])]
        request = FetchRequest(wait_ms, 1, bytes_max, READ_UNCOMMITTED, topics)
        batches: bytes | None = await self._ask(partition, request, _fetched, lane)
        return batches or b""

    async def bounds(self, partition: int) -> tuple[int, int]:
        """The log start offset and the high watermark."""
        return await self._offset(partition, EARLIEST), await self._offset(partition, LATEST)

    async def _offset(self, partition: int, which: int) -> int:
        request = OffsetRequest(CONSUMER, READ_UNCOMMITTED, [(self._topic, [(partition, which)])])
        offset: int = await self._ask(partition, request, _offset, "bounds")
        return offset

    async def delete(self, partition: int, before: int) -> None:
        """Move the log start offset to `before`, which is at most the high watermark."""
        topics = [(self._topic, [(partition, before)])]
        await self._ask(partition, DeleteRecordsRequest(topics, self._patience_ms), _deleted, "bounds")

    async def _ask(self, partition: int, request: Any, read: Callable[[Any], Answered], lane: str) -> Any:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._patience_ms / 1000
        while True:
            try:
                code, answer = read(await self._send(partition, request, lane))
                if code:
                    raise for_code(code)(f"{self._topic} partition {partition}")
                return answer
            except KafkaError as exc:
                if not exc.retriable or loop.time() > deadline:
                    raise
            await self._client.force_metadata_update()
            await asyncio.sleep(BACKOFF_MS / 1000)

    async def _send(self, partition: int, request: Any, lane: str) -> Any:
        leader = self._client.cluster.leader_for_partition(TopicPartition(self._topic, partition))
        if leader is None or leader < 0:
            raise LeaderNotAvailableError(f"{self._topic} partition {partition}")
        return await self._client.send(leader, request, group=lane)


def _only(response: Any) -> Any:
    """The fields of the one partition that was asked for."""
    [(_, [fields, *_], *_)] = response.topics
    return fields


def _fetched(response: Any) -> Answered:
    _, code, *_, batches = _only(response)
    return code, batches


def _offset(response: Any) -> Answered:
    _, code, _, offset = _only(response)
    return code, offset


def _deleted(response: Any) -> Answered:
    _, _, code, *_ = _only(response)
    return code, None
