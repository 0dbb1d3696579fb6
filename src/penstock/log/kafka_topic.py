"""The topic: made from the settings where it is not there, and refused by name where it would not keep a promise.

Refused are another partition count (an id would change its owner), CreateTime (the log clock would be the sender's),
unclean leader election (acknowledged records would vanish), compaction (offsets would have gaps), too few replicas or
in-sync replicas, and a limit below our largest record.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec
from aiokafka import AIOKafkaClient
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import KafkaError, LeaderNotAvailableError, TopicAlreadyExistsError, for_code

from penstock.kernel.problems import Refused
from penstock.log.kafka_protocol import Topic, describe
from penstock.log.kafka_settings import RECORD_BYTES_MAX, KafkaSettings

POLL_MS = 50
IDENTITY_SUFFIX = ".identity"
OVERHEAD_BYTES = 64 * 1024  # of a batch around its one record
LIMIT = "max.message.bytes"
FENCE_BYTES = 128  # what a sealed topic takes: the seal and ticks, no chunk and no control record


class TopicRefused(Refused):
    """The topic must not be used as a log: it would not keep what it is given, or gives it another meaning."""


async def open_topic(client: AIOKafkaClient, settings: KafkaSettings) -> Topic:
    """The topic of these settings, made where it is not there. Raise `TopicRefused`, `KafkaError`."""
    config = {
        "message.timestamp.type": "LogAppendTime",
        "retention.ms": str(settings.retention_ms),
        LIMIT: str(RECORD_BYTES_MAX + OVERHEAD_BYTES),
        **_durable(settings),
    }
    topic = await _find_or_make(client, settings, settings.topic, settings.partitions, config)
    _refuse_flaws(topic, await _config_soon(settings), settings)
    return topic


async def _config_soon(settings: KafkaSettings) -> dict[str, str]:
    """`config_of` the log's topic; the broker that is asked may hear of a new topic a moment after the others."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + settings.request_timeout_ms / 1000
    while True:
        try:
            return await config_of(settings, settings.topic)
        except KafkaError as exc:
            if not exc.retriable or loop.time() > deadline:
                raise
        await asyncio.sleep(POLL_MS / 1000)


async def open_topic_to_seal(client: AIOKafkaClient, settings: KafkaSettings) -> Topic:
    """The topic of these settings, however many partitions it has, sealed or not. Raise as `open_topic`."""
    topic = await describe(client, settings.topic)
    if topic is None:
        raise TopicRefused(f"there is no topic {settings.topic}")
    config = await config_of(settings, settings.topic)
    if is_fenced(config):
        config = {**config, LIMIT: str(RECORD_BYTES_MAX)}
    _refuse_flaws(topic, config, msgspec.structs.replace(settings, partitions=topic.partitions))
    return topic


def _refuse_flaws(topic: Topic, config: Mapping[str, str], settings: KafkaSettings) -> None:
    reasons = list(flaws(topic, config, settings))
    if reasons:
        raise TopicRefused(f"topic {settings.topic}: {'; '.join(reasons)}")


def is_fenced(config: Mapping[str, str]) -> bool:
    """Whether the topic of this configuration is sealed."""
    return int(config[LIMIT]) == FENCE_BYTES


async def open_identity_topic(client: AIOKafkaClient, settings: KafkaSettings) -> str:
    """The name of the topic beside it that keeps its hash keys for ever. Raise `TopicRefused`, `KafkaError`."""
    name = settings.topic + IDENTITY_SUFFIX
    config = {"retention.ms": "-1", "retention.bytes": "-1", **_durable(settings)}
    topic = await _find_or_make(client, settings, name, 1, config)
    if topic.partitions != 1:
        raise TopicRefused(f"topic {name}: {topic.partitions} partitions, not 1: the first record would not be one")
    return name


def _durable(settings: KafkaSettings) -> dict[str, str]:
    return {
        "cleanup.policy": "delete",
        "min.insync.replicas": str(settings.min_insync),
        "unclean.leader.election.enable": "false",
    }


async def _find_or_make(
    client: AIOKafkaClient, settings: KafkaSettings, name: str, partitions: int, config: Mapping[str, str]
) -> Topic:
    loop = asyncio.get_running_loop()
    deadline = loop.time() + settings.request_timeout_ms / 1000
    made = False
    while True:
        try:
            topic = await describe(client, name)
            if topic is not None:
                return topic
            if not made:
                await _make(settings, NewTopic(name, partitions, settings.replication, topic_configs=dict(config)))
                made = True
        except KafkaError as exc:
            if not exc.retriable or loop.time() > deadline:
                raise
        if loop.time() > deadline:
            raise LeaderNotAvailableError(name)
        await asyncio.sleep(POLL_MS / 1000)


async def _make(settings: KafkaSettings, topic: NewTopic) -> None:
    admin = AIOKafkaAdminClient(**settings.connection())
    try:
        await admin.start()
        answer = await admin.create_topics([topic])
    finally:
        await admin.close()
    for _, code, *message in answer.topic_errors:
        error = for_code(code)
        if code and error is not TopicAlreadyExistsError:  # another process was first
            if error.retriable:
                raise error(topic.name)
            raise TopicRefused(f"topic {topic.name} cannot be made: {error.__name__} {' '.join(map(str, message))}")


async def config_of(settings: KafkaSettings, topic: str) -> dict[str, str]:
    """Name and value of everything that is configured of the topic. Raise `KafkaError`."""
    return {name: value for name, value, *_ in await entries_of(settings, topic)}


async def entries_of(settings: KafkaSettings, topic: str) -> list[Any]:
    """Name, value, whether it is read only, where it was set, and more. Raise `KafkaError`."""
    admin = AIOKafkaAdminClient(**settings.connection())
    try:
        await admin.start()
        [answer] = await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, topic)])
    finally:
        await admin.close()
    [(code, message, _, _, entries, *_)] = answer.resources
    if code:
        raise for_code(code)(f"{topic}: {message}")
    return list(entries)


def flaws(topic: Topic, config: Mapping[str, str], settings: KafkaSettings) -> Iterator[str]:
    """Why this topic, so configured, is no log for these settings."""
    if topic.partitions != settings.partitions:
        yield (
            f"{topic.partitions} partitions, not {settings.partitions}: fixed for the life of a log "
            "(penstock repartition begins another log)"
        )
    if topic.replication < settings.replication:
        yield f"{topic.replication} replicas, not {settings.replication}"
    if topic.replication >= 3 and int(config["min.insync.replicas"]) < 2:
        yield "min.insync.replicas is below 2 with 3 replicas"
    if config["message.timestamp.type"] != "LogAppendTime":
        yield f"message.timestamp.type is {config['message.timestamp.type']}, not LogAppendTime"
    if config["unclean.leader.election.enable"] != "false":
        yield "unclean.leader.election.enable is on"
    if config["cleanup.policy"] != "delete":
        yield f"cleanup.policy is {config['cleanup.policy']}, not delete"
    if is_fenced(config):
        yield "it is sealed: finish with penstock repartition"
    elif int(config[LIMIT]) < RECORD_BYTES_MAX:
        yield f"{LIMIT} is {config[LIMIT]}, below {RECORD_BYTES_MAX}"
