"""The usage stores that must pass one suite: the memory reference and ClickHouse, in process and served."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from uuid import uuid4

import pytest
from deploy.dev.clickhouse import clickhouse

from penstock.aggregator.store.clickhouse import ClickHouseUsageStore
from penstock.aggregator.store.connect import server
from penstock.aggregator.store.memory import MemoryUsageStore
from penstock.kernel.ports.usage_store import UsageStore


@pytest.fixture(scope="session")
def server_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with clickhouse(tmp_path_factory.mktemp("clickhouse") / "data") as url:
        yield url


@pytest.fixture(params=["memory", "clickhouse", "clickhouse-server"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[UsageStore]:
    with ExitStack() as made:
        yield made.enter_context(closing(_make(request, tmp_path, made)))


def _make(request: pytest.FixtureRequest, tmp_path: Path, made: ExitStack) -> UsageStore:
    if request.param == "memory":
        return MemoryUsageStore()
    if request.param == "clickhouse":
        return ClickHouseUsageStore.embedded(tmp_path / "usage")
    database = f"test_{uuid4().hex}"
    connect = server(request.getfixturevalue("server_url"), database)
    janitor = made.enter_context(connect())
    made.callback(janitor.command, f"DROP DATABASE {database}")
    return ClickHouseUsageStore(connect)
