"""Apache Kafka for tests: the cluster that `PENSTOCK_TEST_KAFKA` names, else Docker's, else the Maven jars'.

It starts with the first test that asks for it, and each test has topics of its own. Where there is none, that is a
failure under `CI=true`; elsewhere the test says what it was that did not run.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from deploy.dev.kafka import Cluster, NoBroker, kafka

from penstock.log.kafka_settings import KafkaSettings

ADDRESS = "PENSTOCK_TEST_KAFKA"
StartKafka = Callable[[int], Cluster]


def a_topic() -> str:
    """A name that no other test, and no other run, has."""
    return f"penstock-test-{uuid.uuid4().hex}"


def kafka_settings(address: str, partitions: int = 1, **others: Any) -> KafkaSettings:
    """Of a new topic with one replica; a request is given up soon enough for a test."""
    settings: dict[str, Any] = {"topic": a_topic(), "replication": 1, "request_timeout_ms": 20_000} | others
    return KafkaSettings(bootstrap_servers=address, partitions=partitions, **settings)


def without_kafka(why: NoBroker) -> None:
    """End the test: as a failure where every part must be there, else as a skip that says so."""
    if os.environ.get("CI") == "true":
        pytest.fail(f"CI must find Apache Kafka: {why}")
    pytest.skip(f"NOT RUN, needs Apache Kafka (or {ADDRESS}): {why}")


@contextmanager
def a_folder() -> Iterator[Path]:
    """Not pytest's own, which is kept after the session: a broker's data is large."""
    folder = Path(tempfile.mkdtemp(prefix="penstock-kafka-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


@pytest.fixture(scope="session")
def kafka_address() -> Iterator[str]:
    """A cluster for the whole session: host:port, separated by commas. Nobody stops its brokers."""
    with ExitStack() as stack:
        address = os.environ.get(ADDRESS)
        if not address:
            try:
                address = stack.enter_context(kafka(stack.enter_context(a_folder()))).address
            except NoBroker as why:
                without_kafka(why)
        assert address is not None
        yield address


@pytest.fixture
def start_kafka() -> Iterator[StartKafka]:
    """Starts clusters for this test alone, whose brokers it may stop, kill and restart. Never the named one."""
    with ExitStack() as stack:

        def start(brokers: int) -> Cluster:
            try:
                return stack.enter_context(kafka(stack.enter_context(a_folder()), brokers))
            except NoBroker as why:
                without_kafka(why)
                raise

        yield start
