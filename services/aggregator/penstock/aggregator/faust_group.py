"""Membership in a consumer group of Kafka, by Faust: which partitions are this process's to fold. (docs/adr/0014)

Faust joins, beats, deals out partitions and leaves. It moves no events: owners read the log themselves, and what Faust
commits is for people who look at the lag of the group. An app of Faust that crashed is replaced by a new one.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import ssl
from collections.abc import Callable, Mapping
from typing import Any

import faust
import msgspec
from aiokafka.errors import KafkaError
from aiokafka.structs import OffsetAndMetadata, TopicPartition
from faust.app.base import BootStrategy
from mode import Service

from penstock.aggregator.faust_assign import Rendezvous

BEATS_PER_SESSION = 5
RESTART_DELAY_MS = 1_000
STOP_TIMEOUT_S = 20
CHATTY = ("faust", "mode", "aiokafka.consumer")  # a dozen lines for each start and each rebalance
NEVER_S = 10**9  # Faust's alarms about records that nobody takes out of its consumer: nobody is meant to

logger = logging.getLogger(__name__)


class GroupSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How to be a member. A broker refuses session time-outs below its `group.min.session.timeout.ms` (6 s).

    `instance` makes a static member: one that comes back under this name within the time-out moves no partition.
    """

    bootstrap_servers: str
    topic: str
    first: int = 0  # the number of the topic's partition 0 in the usage store
    group: str = "penstock.aggregator"
    instance: str | None = None
    session_timeout_ms: int = 10_000
    rebalance_timeout_ms: int = 10_000
    request_timeout_ms: int = 30_000
    sasl_mechanism: str = "PLAIN"
    sasl_username: str | None = None
    sasl_password: str | None = None
    ssl_context: ssl.SSLContext | None = None

    def __repr__(self) -> str:
        return f"GroupSettings({self.group} of {self.topic} at {self.bootstrap_servers})"  # never the password


class Group:
    """One membership. `tell` hears every assignment, in the loop that called `start`; it must not wait."""

    def __init__(self, settings: GroupSettings, tell: Callable[[frozenset[int]], None]) -> None:
        self._settings, self._tell = settings, tell
        self._app: Any = None
        self._living: asyncio.Task[None] | None = None
        self.rebalances = 0
        self.crashes = 0

    async def start(self) -> None:
        """Join, and stay a member until `stop`. The first assignment comes later, by `tell`."""
        for name in CHATTY:
            logging.getLogger(name).setLevel(logging.WARNING)
        self._living = asyncio.create_task(self._live())

    async def _live(self) -> None:
        while True:
            self._app = _app(self._settings, self._assigned)
            try:
                await self._app.start()
                await self._app.wait_until_stopped()
                logger.warning("Faust ended: %r", self._app.crash_reason)
            except (KafkaError, OSError) as exc:
                logger.warning("Faust did not start: %s", exc)
            finally:
                await self._leave()
            self.crashes += 1
            await asyncio.sleep(RESTART_DELAY_MS / 1000)

    async def _assigned(self, _app: object, assigned: set[Any], **_others: object) -> None:
        self.rebalances += 1
        mine, topic = self._settings.first, self._settings.topic
        self._tell(frozenset(mine + each.partition for each in assigned if each.topic == topic))

    async def acknowledge(self, next_offsets: Mapping[int, int]) -> None:
        """Commit how far partitions are folded and flushed. Best effort: nothing is ever read from there."""
        offsets = {
            TopicPartition(self._settings.topic, partition - self._settings.first): OffsetAndMetadata(offset, "")
            for partition, offset in next_offsets.items()
        }
        thread = self._app.consumer._thread
        consumer = thread._consumer
        if consumer is None or not offsets.keys() <= consumer.assignment():
            return  # a rebalance is under way
        # Not by Faust's `commit`, which ends the app where a broker is away for a moment.
        with contextlib.suppress(KafkaError, TimeoutError):
            await thread.call_thread(consumer.commit, offsets)

    async def stop(self) -> None:
        """Leave the group, so that others need not wait for the session to time out."""
        if self._living is not None:
            self._living.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._living
            self._living = None

    async def _leave(self) -> None:
        try:
            await asyncio.wait_for(self._app.stop(), STOP_TIMEOUT_S)
        except (TimeoutError, KafkaError, OSError) as exc:
            logger.warning("Faust did not stop in good order: %r", exc)


class _ReadsNothing(Service):
    """In the place of Faust's fetcher, which takes records out of the consumer and gives them to agents."""

    def __init__(self, app: object, **others: Any) -> None:
        super().__init__(**others)


class _MembersOnly(BootStrategy):
    enable_kafka_producer = False
    enable_web = False


class _App(faust.App):
    BootStrategy = _MembersOnly

    def _create_directories(self) -> None:
        """Faust would make a folder for its tables in the working directory; there are no tables."""


def _app(settings: GroupSettings, assigned: Callable[..., Any]) -> Any:
    session_s = settings.session_timeout_ms / 1000
    app = _App(
        settings.group,
        broker=[f"kafka://{each}" for each in settings.bootstrap_servers.split(",")],
        broker_client_id=settings.group,
        broker_credentials=_credentials(settings),
        broker_session_timeout=session_s,
        broker_heartbeat_interval=session_s / BEATS_PER_SESSION,
        broker_rebalance_timeout=settings.rebalance_timeout_ms / 1000,
        broker_request_timeout=max(session_s, settings.request_timeout_ms / 1000),
        broker_max_poll_interval=NEVER_S / 1000,
        broker_commit_livelock_soft_timeout=NEVER_S,
        stream_processing_timeout=NEVER_S,
        stream_wait_empty=False,
        consumer_group_instance_id=settings.instance,
        consumer_max_fetch_size=1,  # the consumer fetches one batch of each partition, and nobody takes it
        PartitionAssignor=Rendezvous,
        table_standby_replicas=1,  # what makes Faust ask for the assignor of its settings; there are no tables
        store="memory://",
        web_enabled=False,
        topic_allow_declare=False,
        topic_disable_leader=True,
    )
    transport: Any = app.transport  # by instance: another app of this process keeps its own
    transport.Fetcher = _ReadsNothing
    app.agent(app.topic(settings.topic, value_serializer="raw", internal=False))(_subscribe)
    app.on_partitions_assigned.connect(assigned, weak=False)
    return app


async def _subscribe(stream: Any) -> None:
    """An agent is what makes Faust subscribe to a topic; no event comes here."""
    async for _ in stream:
        raise AssertionError("an event came through Faust")


def _credentials(settings: GroupSettings) -> Any:
    if settings.sasl_username is not None:
        return faust.SASLCredentials(
            username=settings.sasl_username,
            password=settings.sasl_password,
            ssl_context=settings.ssl_context,
            mechanism=settings.sasl_mechanism,
        )
    return faust.SSLCredentials(settings.ssl_context) if settings.ssl_context is not None else None
