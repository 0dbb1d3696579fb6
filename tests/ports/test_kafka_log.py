"""What only a log of many processes can suffer: a topic that breaks its promise, several openers, foreign records."""

from __future__ import annotations

import asyncio
import ssl
import subprocess
import sys
import time
from collections.abc import Mapping
from typing import Any

import msgspec
import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.record._crc32c import crc
from aiokafka.record.default_records import DefaultRecordBatchBuilder

from kafka_part import kafka_settings
from penstock.kernel.ports.event_log import LogDamaged
from penstock.kernel.problems import LogUnavailable
from penstock.kernel.record import Kind
from penstock.log.kafka import KafkaLog, KafkaSettings, TopicRefused
from penstock.log.kafka_protocol import Topic
from penstock.log.kafka_record import decode_records, headers_of
from penstock.log.kafka_settings import RECORD_BYTES_MAX
from penstock.log.kafka_topic import flaws

SOUND = {
    "min.insync.replicas": "2",
    "message.timestamp.type": "LogAppendTime",
    "unclean.leader.election.enable": "false",
    "cleanup.policy": "delete",
    "max.message.bytes": str(RECORD_BYTES_MAX),
}


async def append(log: KafkaLog, payload: bytes, partition: int = 0) -> int:
    return (await log.append(partition, Kind.CHUNK, 7, payload)).offset


async def payloads(log: KafkaLog, partition: int = 0, start: int = 0) -> list[bytes]:
    return [record.payload for record in await log.read(partition, start, 1 << 24, 0)]


async def close(*logs: KafkaLog) -> None:
    await asyncio.gather(*(log.close() for log in logs))


async def make_topic(settings: KafkaSettings, partitions: int = 1, **config: str) -> None:
    topic = NewTopic(settings.topic, partitions, 1, topic_configs={k.replace("_", "."): v for k, v in config.items()})
    async with admin_of(settings) as admin:
        answer = await admin.create_topics([topic])
    assert [code for _, code, *_ in answer.topic_errors] == [0]


class admin_of:  # noqa: N801  # reads as a verb
    """An administrator's connection to the cluster."""

    def __init__(self, settings: KafkaSettings) -> None:
        self._settings = settings

    async def __aenter__(self) -> Any:
        self._admin = AIOKafkaAdminClient(**self._settings.connection())
        await self._admin.start()
        return self._admin

    async def __aexit__(self, *_: object) -> None:
        await self._admin.close()


@pytest.mark.parametrize(
    ("topic", "config", "reason"),
    [
        (Topic("id", 4, 3), {}, "4 partitions, not 8: fixed for the life of a log"),
        (Topic("id", 8, 2), {}, "2 replicas, not 3"),
        (Topic("id", 8, 3), {"min.insync.replicas": "1"}, "min.insync.replicas is below 2 with 3 replicas"),
        (Topic("id", 8, 3), {"message.timestamp.type": "CreateTime"}, "message.timestamp.type is CreateTime"),
        (Topic("id", 8, 3), {"unclean.leader.election.enable": "true"}, "unclean.leader.election.enable is on"),
        (Topic("id", 8, 3), {"cleanup.policy": "compact,delete"}, "cleanup.policy is compact,delete, not delete"),
        (Topic("id", 8, 3), {"max.message.bytes": "1048588"}, "max.message.bytes is 1048588"),
    ],
)
def test_each_flaw_of_a_topic_is_named(topic: Topic, config: Mapping[str, str], reason: str) -> None:
    settings = KafkaSettings(bootstrap_servers="127.0.0.1:9092", partitions=8, replication=3)

    assert list(flaws(Topic("id", 8, 3), SOUND, settings)) == []
    [flaw] = flaws(topic, {**SOUND, **config}, settings)
    assert flaw.startswith(reason)


def test_a_topic_with_create_time_is_refused_by_name(kafka_address: str) -> None:
    async def story() -> None:
        settings = kafka_settings(kafka_address)
        await make_topic(settings, message_timestamp_type="CreateTime", max_message_bytes="20000000")
        with pytest.raises(TopicRefused, match=r"message\.timestamp\.type is CreateTime, not LogAppendTime"):
            await KafkaLog.open(settings)

    asyncio.run(story())


def test_another_partition_count_is_refused(kafka_address: str) -> None:
    async def story() -> None:
        settings = kafka_settings(kafka_address, 2)
        await (await KafkaLog.open(settings)).close()
        with pytest.raises(TopicRefused, match="2 partitions, not 3: fixed for the life of a log"):
            await KafkaLog.open(msgspec.structs.replace(settings, partitions=3))

    asyncio.run(story())


def test_more_replicas_than_brokers_are_refused(kafka_address: str) -> None:
    async def story() -> None:
        with pytest.raises(TopicRefused, match="cannot be made: InvalidReplicationFactorError"):
            await KafkaLog.open(kafka_settings(kafka_address, replication=99))

    asyncio.run(story())


def test_a_log_that_is_made_has_what_the_settings_say(kafka_address: str) -> None:
    async def story() -> dict[str, str]:
        settings = kafka_settings(kafka_address, retention_ms=123_456_789)
        await (await KafkaLog.open(settings)).close()
        async with admin_of(settings) as admin:
            [answer] = await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, settings.topic)])
        [(_, _, _, _, entries, *_)] = answer.resources
        return {name: value for name, value, *_ in entries}

    config = asyncio.run(story())
    assert config["retention.ms"] == "123456789"
    assert config["message.timestamp.type"] == "LogAppendTime"
    assert config["unclean.leader.election.enable"] == "false"
    assert config["cleanup.policy"] == "delete"


def test_a_topic_that_is_made_again_is_another_log(kafka_address: str) -> None:
    async def story() -> None:
        settings = kafka_settings(kafka_address)
        before = await KafkaLog.open(settings)
        await append(before, b"x")
        await before.close()
        async with admin_of(settings) as admin:
            await admin.delete_topics([settings.topic])
            await until_gone(admin, settings.topic)
        after = await KafkaLog.open(settings)
        assert await after.bounds(0) == (0, 0)
        assert after.identity.log_id != before.identity.log_id
        assert after.identity.hash_key != before.identity.hash_key
        await after.close()

    asyncio.run(story())


def test_processes_that_open_a_new_log_at_once_agree_on_its_identity(kafka_address: str) -> None:
    script = (
        "import asyncio, sys\n"
        "from penstock.log.kafka import KafkaLog, KafkaSettings\n"
        "async def main():\n"
        "    settings = KafkaSettings(bootstrap_servers=sys.argv[1], topic=sys.argv[2], partitions=2, replication=1)\n"
        "    log = await KafkaLog.open(settings)\n"
        "    print(log.identity.log_id, log.identity.partitions, log.identity.hash_key.hex())\n"
        "    await log.close()\n"
        "asyncio.run(main())\n"
    )
    command = [sys.executable, "-c", script, kafka_address, kafka_settings(kafka_address).topic]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    told = [process.communicate(timeout=60)[0].split() for process in processes]
    assert told[0] == told[1] == told[2]
    log_id, partitions, hash_key = told[0]
    assert log_id
    assert (partitions, len(hash_key)) == ("2", 64)


def test_many_openers_in_one_moment_agree_on_the_hash_key(kafka_address: str) -> None:
    async def story() -> None:
        settings = kafka_settings(kafka_address)
        logs = await asyncio.gather(*(KafkaLog.open(settings) for _ in range(6)))
        assert len({(log.identity.log_id, log.identity.hash_key) for log in logs}) == 1
        await close(*logs)

    asyncio.run(story())


def test_a_record_bears_the_brokers_time_and_its_senders_stamp(kafka_address: str) -> None:
    async def story() -> None:
        log = await KafkaLog.open(kafka_settings(kafka_address))
        before_ms = time.time_ns() // 1_000_000
        appended = await log.append(0, Kind.TICK, 42, b"")
        after_ms = time.time_ns() // 1_000_000
        [record] = await log.read(0, 0, 1, 0)
        assert (record.stamped_at_us, record.appended_at_us) == (42, appended.appended_at_us)
        assert before_ms <= appended.appended_at_us // 1_000 <= after_ms  # one machine, one clock
        await log.close()

    asyncio.run(story())


def test_every_process_sees_the_records_of_all_in_one_order(kafka_address: str) -> None:
    async def story() -> None:
        settings = kafka_settings(kafka_address)
        logs = [await KafkaLog.open(settings) for _ in range(2)]
        seen: list[bytes] = []

        async def follow() -> None:
            while len(seen) < 200:
                seen.extend(r.payload for r in await logs[1].read(0, len(seen), 500, 20_000))

        following = asyncio.create_task(follow())
        offsets = await asyncio.gather(*(append(logs[n % 2], str(n).encode()) for n in range(200)))
        await following
        assert sorted(offsets) == list(range(200))
        assert [seen[offset] for offset in offsets] == [str(n).encode() for n in range(200)]
        assert await payloads(logs[0]) == seen
        for sender in (0, 1):
            mine = [int(payload) for payload in seen if int(payload) % 2 == sender]
            assert mine == sorted(mine)
        await close(*logs)

    asyncio.run(story())


def test_a_record_of_many_mebibytes_comes_back_whole(kafka_address: str) -> None:
    async def story() -> None:
        log = await KafkaLog.open(kafka_settings(kafka_address))
        large = bytes(range(256)) * 40_960  # 10 MiB
        assert list(await asyncio.gather(*(append(log, each) for each in (large, b"small", large)))) == [0, 1, 2]
        assert [r.payload for r in await log.read(0, 0, 1, 0)] == [large]
        assert await payloads(log, 0, 1) == [b"small", large]
        await log.close()

    asyncio.run(story())


def test_a_record_that_is_not_ours_comes_as_foreign_with_its_bytes(kafka_address: str) -> None:
    async def story() -> None:
        settings = kafka_settings(kafka_address)
        log = await KafkaLog.open(settings)
        await append(log, b"ours")
        async with AIOKafkaProducer(bootstrap_servers=kafka_address) as producer:
            await producer.send_and_wait(settings.topic, b"theirs", partition=0)
        assert [r.payload for r in await log.read(0, 0, 1, 0)] == [b"ours"]
        [theirs] = await log.read(0, 1, 1, 0)
        assert (theirs.offset, theirs.kind, theirs.payload) == (1, Kind.FOREIGN, b"theirs")
        assert theirs.stamped_at_us == theirs.appended_at_us > 0
        await log.close()

    asyncio.run(story())


def test_the_end_of_somebody_elses_transaction_is_a_foreign_record(kafka_address: str) -> None:
    async def story() -> None:
        settings = kafka_settings(kafka_address)
        log = await KafkaLog.open(settings)
        foreign = AIOKafkaProducer(bootstrap_servers=kafka_address, transactional_id=settings.topic)
        async with foreign, foreign.transaction():  # its commit marker takes offset 1
            await foreign.send(settings.topic, b"in a transaction", partition=0, headers=headers_of(Kind.CHUNK, 7))
        assert [r.payload for r in await log.read(0, 0, 1, 0)] == [b"in a transaction"]
        [marker] = await log.read(0, 1, 1, 20_000)  # the broker writes the marker after it has answered
        assert (marker.kind, marker.offset, marker.payload) == (Kind.FOREIGN, 1, b"")
        assert await append(log, b"after") == 2
        assert [r.kind for r in await log.read(0, 1, 100, 0)] == [Kind.FOREIGN, Kind.CHUNK]
        await log.close()

    asyncio.run(story())


def a_batch(*payloads: bytes) -> bytes:
    """A batch at offset 0 as a producer makes it: its time is the sender's."""
    builder = DefaultRecordBatchBuilder(2, 0, 0, -1, -1, 0, 1 << 20)
    for offset, payload in enumerate(payloads):
        builder.append(offset, 1_000, None, payload, headers_of(Kind.CHUNK, 7))
    return bytes(builder.build())


def as_appended(batch: bytes) -> bytes:
    """The batch as the broker keeps it: its time is the broker's."""
    kept = bytearray(batch)
    kept[22] |= 0x08
    kept[17:21] = crc(bytes(kept[21:])).to_bytes(4, "big")
    return bytes(kept)


@pytest.mark.parametrize("headers", [[("kind", None)], [("kind", b"\0"), ("stamped_at_us", None)], []])
def test_a_record_without_our_headers_is_foreign(headers: list[tuple[str, bytes | None]]) -> None:
    builder = DefaultRecordBatchBuilder(2, 0, 0, -1, -1, 0, 1 << 20)
    builder.append(0, 1_000, None, b"theirs", headers)

    [record] = decode_records(3, 0, 100, as_appended(builder.build()))

    assert (record.kind, record.payload) == (Kind.FOREIGN, b"theirs")


def test_a_gap_between_offsets_is_named_and_never_jumped() -> None:
    builder = DefaultRecordBatchBuilder(2, 0, 0, -1, -1, 0, 1 << 20)
    for offset in (0, 2):
        builder.append(offset, 1_000, None, b"x", headers_of(Kind.CHUNK, 7))

    with pytest.raises(LogDamaged, match="partition 3: offset 1 is missing"):
        decode_records(3, 0, 100, as_appended(builder.build()))


def test_a_record_with_its_senders_time_is_damage() -> None:
    with pytest.raises(LogDamaged, match="partition 3, offset 0: its time is not the broker's"):
        decode_records(3, 0, 100, a_batch(b"one"))


@pytest.mark.parametrize("place", [-1, -8, 30, 61])
def test_a_flipped_byte_is_damage(place: int) -> None:
    batch = bytearray(a_batch(b"one", b"two"))
    batch[place] ^= 0x10
    with pytest.raises(LogDamaged, match="partition 3, at or after offset 0: the checksum does not match"):
        decode_records(3, 0, 100, bytes(batch))


def test_a_torn_batch_waits_for_the_next_read() -> None:
    assert decode_records(3, 0, 100, a_batch(b"one", b"two")[:-1]) == []


def test_an_offset_beyond_the_end_says_that_the_log_lost_records(kafka_address: str) -> None:
    async def story() -> None:
        log = await KafkaLog.open(kafka_settings(kafka_address))
        await append(log, b"x")
        with pytest.raises(LogDamaged, match="partition 0 ends at offset 1, before 5"):
            await log.read(0, 5, 100, 0)
        await log.close()

    asyncio.run(story())


def test_after_a_record_that_the_broker_refuses_appends_go_on(kafka_address: str) -> None:
    async def story() -> None:
        settings = kafka_settings(kafka_address)
        log = await KafkaLog.open(settings)
        await append(log, b"before")
        async with admin_of(settings) as admin:
            limit = {"max.message.bytes": "1000", "message.timestamp.type": "LogAppendTime"}
            await admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, settings.topic, limit)])
            with pytest.raises(LogUnavailable, match="MessageSizeTooLargeError"):
                await append_until_refused(log, b"x" * 5_000)
        _, end = await log.bounds(0)
        assert [await append(log, b"small"), await append(log, b"small")] == [end, end + 1]
        await log.close()

    asyncio.run(story())


async def until_gone(admin: Any, topic: str) -> None:
    async with asyncio.timeout(60):
        while topic in await admin.list_topics():
            continue


async def append_until_refused(log: KafkaLog, payload: bytes) -> None:
    """A broker hears of a topic's new limit a moment after it was set."""
    async with asyncio.timeout(60):
        while True:
            await append(log, payload)


def test_tls_and_sasl_settings_reach_the_client_and_the_password_no_log() -> None:
    settings = KafkaSettings(
        bootstrap_servers="a:1,b:2",
        security_protocol="SASL_SSL",
        sasl_mechanism="SCRAM-SHA-512",
        sasl_username="penstock",
        sasl_password="a secret",
    )
    connection = settings.connection()

    assert connection["bootstrap_servers"] == ["a:1", "b:2"]
    assert connection["security_protocol"] == "SASL_SSL"
    assert connection["sasl_mechanism"] == "SCRAM-SHA-512"
    assert (connection["sasl_plain_username"], connection["sasl_plain_password"]) == ("penstock", "a secret")
    assert connection["ssl_context"].verify_mode is ssl.CERT_REQUIRED
    assert connection["ssl_context"].check_hostname
    assert "a secret" not in repr(settings)
