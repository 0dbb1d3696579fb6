"""The identity of a log in Kafka: the topic's own id, and one hash key that all processes share.

The key is kept in the register beside the log, under the topic's id. A re-made topic has another id, finds no key, and
gets another. The log's id carries a fingerprint of the key: were the register lost, the next start would see another
log, and every marker would refuse it.
"""

from __future__ import annotations

import secrets
from hashlib import blake2b

from penstock.kernel.identity import HASH_KEY_BYTES
from penstock.kernel.record import LogIdentity
from penstock.log.kafka_protocol import Topic
from penstock.log.kafka_register import Register
from penstock.log.kafka_topic import TopicRefused


async def identity_of(register: Register, topic: Topic, sealed: tuple[int, ...]) -> LogIdentity:
    """The same for every process, as long as the topic lives. Raise `TopicRefused`, `KafkaError`."""
    hash_key = await register.settle(topic.id, secrets.token_bytes(HASH_KEY_BYTES))
    if len(hash_key) != HASH_KEY_BYTES:
        raise TopicRefused(f"topic {register.name} keeps a hash key of {len(hash_key)} bytes")
    fingerprint = blake2b(hash_key, digest_size=4).hexdigest()
    return LogIdentity(f"{topic.id}.{fingerprint}", topic.partitions, hash_key, sealed)
