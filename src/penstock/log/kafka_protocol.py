"""The one request that aiokafka 0.14 lacks: Metadata version 12, which tells a topic's id (KIP-516).

Kafka has it since 3.1. The schemas are those of MetadataRequest.json and MetadataResponse.json in Kafka's sources.
"""

from __future__ import annotations

import base64
from io import BytesIO

import msgspec
from aiokafka import AIOKafkaClient
from aiokafka.errors import LeaderNotAvailableError, UnknownTopicOrPartitionError, for_code
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import (
    AbstractType,
    Boolean,
    CompactArray,
    CompactString,
    Int16,
    Int32,
    Schema,
    TaggedFields,
)

TEXT = CompactString("utf-8")
TAGS = ("tags", TaggedFields)
NO_ID = bytes(16)


class Uuid(AbstractType):  # type: ignore[misc]  # aiokafka is untyped to us
    """Sixteen bytes."""

    @classmethod
    def encode(cls, value: bytes) -> bytes:
        return value

    @classmethod
    def decode(cls, data: BytesIO) -> bytes:
        return data.read(16)


class MetadataResponseV12(Response):  # type: ignore[misc]  # aiokafka is untyped to us
    API_KEY = 3
    API_VERSION = 12
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        ("brokers", CompactArray(("node_id", Int32), ("host", TEXT), ("port", Int32), ("rack", TEXT), TAGS)),
        ("cluster_id", TEXT),
        ("controller_id", Int32),
        (
            "topics",
            CompactArray(
                ("error_code", Int16),
                ("name", TEXT),
                ("topic_id", Uuid),
                ("is_internal", Boolean),
                (
                    "partitions",
                    CompactArray(
                        ("error_code", Int16),
                        ("partition", Int32),
                        ("leader", Int32),
                        ("leader_epoch", Int32),
                        ("replicas", CompactArray(Int32)),
                        ("isr", CompactArray(Int32)),
                        ("offline", CompactArray(Int32)),
                        TAGS,
                    ),
                ),
                ("authorized_operations", Int32),
                TAGS,
            ),
        ),
        TAGS,
    )


class MetadataRequestV12(RequestStruct):  # type: ignore[misc]  # aiokafka is untyped to us
    API_KEY = 3
    API_VERSION = 12
    FLEXIBLE_VERSION = True
    RESPONSE_TYPE = MetadataResponseV12
    SCHEMA = Schema(
        ("topics", CompactArray(("topic_id", Uuid), ("name", TEXT), TAGS)),
        ("allow_auto_topic_creation", Boolean),
        ("include_topic_authorized_operations", Boolean),
        TAGS,
    )


class DescribeTopic(Request[MetadataRequestV12]):  # type: ignore[misc]  # aiokafka is untyped to us
    """Ask for one topic by name; never creates it."""

    API_KEY = 3

    def __init__(self, topic: str) -> None:
        self._topic = topic

    def build(self, request_struct_class: type[MetadataRequestV12]) -> MetadataRequestV12:
        return request_struct_class([(NO_ID, self._topic, {})], False, False, {})


class Topic(msgspec.Struct, frozen=True):
    """A topic as the brokers know it. `id` is written as Kafka's own tools write it."""

    id: str
    partitions: int
    replication: int


async def describe(client: AIOKafkaClient, name: str) -> Topic | None:
    """The topic, or None where there is none. Raise `KafkaError`, a retriable one while a partition has no leader."""
    response = await client.send(client.get_random_node(), DescribeTopic(name))
    [(error_code, _, topic_id, _, partitions, *_)] = response.topics
    error = for_code(error_code)
    if error is UnknownTopicOrPartitionError:
        return None
    if error_code:
        raise error(name)
    if any(leader < 0 for _, _, leader, *_ in partitions):
        raise LeaderNotAvailableError(name)
    replication = min(len(replicas) for _, _, _, _, replicas, *_ in partitions)
    return Topic(base64.urlsafe_b64encode(topic_id).decode().rstrip("="), len(partitions), replication)
