"""The identity of a log in Kafka: the topic's own id, and one hash key that all processes share.

The key is kept in a topic of one partition beside the log, `<topic>.identity`, which forgets nothing. Its records are
(topic id, key), and the first one of a topic id counts. Whoever finds none appends one of his own and reads again: the
log decides who was first, so all come to the same key. A re-made topic has another id, finds no key, and gets another.
The log's id carries a fingerprint of the key: were the identity topic lost, the next start would see another log, and
every marker would refuse it.
"""

from __future__ import annotations

import secrets
from hashlib import blake2b

from aiokafka import AIOKafkaClient, AIOKafkaProducer
from aiokafka.record.memory_records import MemoryRecords

from penstock.kernel.identity import HASH_KEY_BYTES
from penstock.kernel.record import LogIdentity
from penstock.log.kafka_leader import Leaders
from penstock.log.kafka_protocol import Topic
from penstock.log.kafka_settings import KafkaSettings
from penstock.log.kafka_topic import TopicRefused, open_identity_topic

READ_BYTES_MAX = 2**20


async def identity_of(client: AIOKafkaClient, settings: KafkaSettings, topic: Topic) -> LogIdentity:
    """The same for every process, as long as the topic lives. Raise `TopicRefused`, `KafkaError`."""
    name = await open_identity_topic(client, settings)
    leaders = Leaders(client, name, settings.request_timeout_ms)
    await client.add_topic(name)
    hash_key = await _first_key(leaders, topic.id)
    if hash_key is None:
        await _propose(settings, name, topic.id)
        hash_key = await _first_key(leaders, topic.id)
    if hash_key is None or len(hash_key) != HASH_KEY_BYTES:
        raise TopicRefused(f"topic {name} does not keep the hash key of {settings.topic}")
    fingerprint = blake2b(hash_key, digest_size=4).hexdigest()
    return LogIdentity(f"{topic.id}.{fingerprint}", topic.partitions, hash_key)


async def _first_key(leaders: Leaders, topic_id: str) -> bytes | None:
    offset, end = await leaders.bounds(0)
    while offset < end:
        unpacked = MemoryRecords(await leaders.fetch(0, offset, READ_BYTES_MAX, 0, "bounds"))
        while unpacked.has_next():
            batch = unpacked.next_batch()
            for record in batch:
                if record.key == topic_id.encode():
                    key: bytes = record.value
                    return key
            offset = batch.next_offset
    return None


async def _propose(settings: KafkaSettings, name: str, topic_id: str) -> None:
    producer = AIOKafkaProducer(**settings.connection(), acks="all", enable_idempotence=True)
    try:
        await producer.start()
        await producer.send_and_wait(name, secrets.token_bytes(HASH_KEY_BYTES), topic_id.encode(), partition=0)
    finally:
        await producer.stop()
