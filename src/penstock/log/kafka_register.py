"""What all processes of a log agree on, in a topic of one partition beside it, `<topic>.identity`, kept for ever.

The first record of a key counts. Whoever finds none appends one of his own and reads again: the topic decides who was
first, so all come to the same value.
"""

from __future__ import annotations

from aiokafka import AIOKafkaClient, AIOKafkaProducer
from aiokafka.record.memory_records import MemoryRecords

from penstock.log.kafka_leader import Leaders
from penstock.log.kafka_settings import KafkaSettings
from penstock.log.kafka_topic import TopicRefused, open_identity_topic

READ_BYTES_MAX = 2**20


class Register:
    """Open with `open`. Methods raise `KafkaError`."""

    def __init__(self, settings: KafkaSettings, name: str, leaders: Leaders) -> None:
        self._settings, self.name, self._leaders = settings, name, leaders

    @classmethod
    async def open(cls, client: AIOKafkaClient, settings: KafkaSettings) -> Register:
        """Of the log of these settings; made where it is not there. Raise `TopicRefused`, `KafkaError`."""
        name = await open_identity_topic(client, settings)
        await client.add_topic(name)
        return cls(settings, name, Leaders(client, name, settings.request_timeout_ms))

    async def first(self, wanted: str) -> bytes | None:
        """The value of the key, or None before there is one."""
        offset, end = await self._leaders.bounds(0)
        while offset < end:
            unpacked = MemoryRecords(await self._leaders.fetch(0, offset, READ_BYTES_MAX, 0, "bounds"))
            while unpacked.has_next():
                batch = unpacked.next_batch()
                for record in batch:
                    if record.key == wanted.encode():
                        value: bytes = record.value
                        return value
                offset = batch.next_offset
        return None

    async def settle(self, key: str, proposal: bytes) -> bytes:
        """The value of the key, for ever: the proposal where there was none. Raise `TopicRefused` where it is lost."""
        value = await self.first(key)
        if value is None:
            await self._append(key, proposal)
            value = await self.first(key)
        if value is None:
            raise TopicRefused(f"topic {self.name} does not keep what is written to it")
        return value

    async def _append(self, key: str, value: bytes) -> None:
        producer = AIOKafkaProducer(**self._settings.connection(), acks="all", enable_idempotence=True)
        try:
            await producer.start()
            await producer.send_and_wait(self.name, value, key.encode(), partition=0)
        finally:
            await producer.stop()
