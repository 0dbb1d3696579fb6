"""Logs that follow one another in Kafka: topics `<topic>`, `<topic>.2`, `<topic>.3`, of which the newest takes appends.

Their lineage is in the register: under `log.2` the partition counts of those before the second, and so on; under
`seal.1` what follows the first. A sealed topic is fenced as well: its brokers take no record that could hold an event
or a control, whoever sends it and whatever he knows. Only ticks are small enough to come behind the seal.
"""

from __future__ import annotations

import msgspec
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import for_code

from penstock.kernel.record import LogIdentity
from penstock.log.kafka_register import Register
from penstock.log.kafka_settings import KafkaSettings
from penstock.log.kafka_topic import FENCE_BYTES, LIMIT, entries_of

DYNAMIC_TOPIC_CONFIG = 1


def topic_of(topic: str, sealed: tuple[int, ...]) -> str:
    """The name of the topic that follows so many sealed ones."""
    return f"{topic}.{len(sealed) + 1}" if sealed else topic


def of_log(settings: KafkaSettings, log: LogIdentity) -> KafkaSettings:
    """The settings of the first log as those of this one."""
    return msgspec.structs.replace(settings, topic=topic_of(settings.topic, log.sealed), partitions=log.partitions)


def seal_key(sealed: tuple[int, ...]) -> str:
    return f"seal.{len(sealed) + 1}"


def log_key(sealed: tuple[int, ...]) -> str:
    return f"log.{len(sealed) + 1}"


async def sealed_logs(register: Register) -> tuple[int, ...]:
    """The partition counts of the logs that the newest follows, oldest first. Raise `KafkaError`."""
    sealed: tuple[int, ...] = ()
    while (told := await register.first(f"log.{len(sealed) + 2}")) is not None:
        sealed = msgspec.json.decode(told, type=tuple[int, ...])
    return sealed


async def fence(settings: KafkaSettings) -> None:
    """Have the brokers refuse whatever is larger than a seal; they come to know it one after the other.

    Raise `KafkaError`. What else was set of the topic stays set.
    """
    entries = await entries_of(settings, settings.topic)
    config = {name: value for name, value, _, source, *_ in entries if source == DYNAMIC_TOPIC_CONFIG}
    config[LIMIT] = str(FENCE_BYTES)
    admin = AIOKafkaAdminClient(**settings.connection())
    try:
        await admin.start()
        [answer] = await admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, settings.topic, config)])
    finally:
        await admin.close()
    for code, message, *_ in answer.resources:
        if code:
            raise for_code(code)(f"{settings.topic}: {message}")
