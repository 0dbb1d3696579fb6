"""The parts of the fault suite: brokers, a ClickHouse, and a seeded plan that is printed before anything happens."""

from __future__ import annotations

import os
import random
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager, ExitStack
from pathlib import Path
from typing import Any

import pytest
from deploy.dev.clickhouse import clickhouse

from faults.worker import WorkerSettings
from faults.workers import Fleet
from faults.world import FaultWorld
from kafka_part import ADDRESS, a_topic
from roles import Services

SEED_VARIABLE = "PENSTOCK_FAULT_SEED"
# A broker of ours takes short sessions, others do not go below six seconds.
SESSION_TIMEOUT_MS = 6_000 if os.environ.get(ADDRESS) else 2_000
PARTITIONS = 4
Announce = Callable[[str], random.Random]
StartServices = Callable[..., Services]
# Ticks come often, so that the end of a scenario is soon known to be folded.
SETTINGS = {"PENSTOCK_TICK_INTERVAL_MS": "500", "PENSTOCK_KAFKA_SESSION_TIMEOUT_MS": str(SESSION_TIMEOUT_MS)}


@pytest.fixture(scope="session")
def clickhouse_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with clickhouse(tmp_path_factory.mktemp("clickhouse") / "data") as url:
        yield url


@pytest.fixture
def announce(request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]) -> Announce:
    """Print the plan with its seed, and give the chance that plays it. The seed is new for each run, or named."""

    def announced(plan: str) -> random.Random:
        seed = os.environ.get(SEED_VARIABLE) or str(random.SystemRandom().randrange(10**6))
        with capsys.disabled():
            print(f"\n{request.node.nodeid}\n  {plan}\n  seed {seed}; again with {SEED_VARIABLE}={seed}")  # noqa: T201
        return random.Random(seed)

    return announced


class Parts:
    """Where everything is, for one test."""

    def __init__(self, kafka: str, clickhouse_url: str, folder: Path, replication: int = 1) -> None:
        self.kafka, self.clickhouse_url, self.folder = kafka, clickhouse_url, folder
        self.replication = replication
        self.database = f"faults_{uuid.uuid4().hex}"

    def world(self, chance: random.Random, **topic: Any) -> AbstractAsyncContextManager[FaultWorld]:
        settings = {"partitions": PARTITIONS, "replication": self.replication} | topic
        return FaultWorld.open(self.kafka, self.clickhouse_url, self.database, chance, **settings)

    def fleet(self, world: FaultWorld, **changed: Any) -> Fleet:
        fields: dict[str, Any] = {
            "kafka": self.kafka,
            "topic": world.topic,
            "partitions": PARTITIONS,
            "replication": self.replication,
            "clickhouse": self.clickhouse_url,
            "database": self.database,
            "folder": str(self.folder),
            "session_timeout_ms": SESSION_TIMEOUT_MS,
        }
        return Fleet(WorkerSettings(**(fields | changed)))


@pytest.fixture
def parts(kafka_address: str, clickhouse_url: str, tmp_path: Path) -> Parts:
    return Parts(kafka_address, clickhouse_url, tmp_path / "workers")


@pytest.fixture
def start_services(tmp_path: Path) -> Iterator[StartServices]:
    """Starts the four services on these parts, with a topic and a database of their own, and waits for them."""
    with ExitStack() as stack:

        def start(kafka: str, clickhouse: str, postgres: str, **options: Any) -> Services:
            store = f"{clickhouse.rpartition('/')[0]}/faults_{uuid.uuid4().hex}"
            env = SETTINGS | options.pop("env", {})
            folder = tmp_path / "services"
            log = f"kafka://{kafka}/{a_topic()}"
            return stack.enter_context(Services(folder, log, store, postgres, PARTITIONS, env=env, **options))

        yield start
