"""PostgreSQL for tests: the server that `PENSTOCK_TEST_POSTGRES` names, else Docker's, else this machine's packages.

It starts with the first test that asks for it, and each test has a database of its own. Where there is none, that is a
failure under `CI=true`; elsewhere the test says what it was that did not run.
"""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Protocol

import psycopg
import pytest
from deploy.dev.postgres import NoPostgres, PostgresServer, free_port
from psycopg.conninfo import make_conninfo
from testcontainers.community.postgres import PostgresContainer

from penstock.database.postgres import PostgresDatabase

DSN = "PENSTOCK_TEST_POSTGRES"
IMAGE = "postgres:17"
_numbers = itertools.count()


class Server(Protocol):
    """A server that a test may restart or kill. The address stays."""

    @property
    def dsn(self) -> str: ...

    def restart(self) -> None: ...

    def kill(self) -> None: ...


class DockerServer:
    """The official image. Its port is fixed, since Docker gives a restarted container another."""

    def __init__(self) -> None:
        self._port = free_port()
        self._container = PostgresContainer(IMAGE, driver=None).with_bind_ports(5432, self._port)

    @property
    def dsn(self) -> str:
        return str(self._container.get_connection_url())

    def start(self) -> None:
        self._container.start()

    def restart(self) -> None:
        self._container.get_wrapped_container().restart()
        self._container._connect()  # returns when it answers

    def kill(self) -> None:
        self._container.get_wrapped_container().kill()

    def stop(self) -> None:
        self._container.stop()


@contextmanager
def running_server() -> Iterator[Server]:
    """A server of our own, in Docker or of this machine's packages. Raise `NoPostgres`."""
    with ExitStack() as stack:
        server: DockerServer | PostgresServer
        if _docker_answers():
            server = DockerServer()
        else:
            # Not in pytest's own folder: the user that the server runs as cannot reach that.
            folder = Path(tempfile.mkdtemp(prefix="penstock-postgres-"))
            stack.callback(shutil.rmtree, folder)
            server = PostgresServer(folder)
        stack.callback(server.stop)
        server.start()
        yield server


def _docker_answers() -> bool:
    if shutil.which("docker") is None:
        return False
    done = subprocess.run(("docker", "info"), capture_output=True, timeout=30, check=False)
    return done.returncode == 0 and b"Server Version" in done.stdout


def without_postgres(why: NoPostgres) -> None:
    """End the test: as a failure where every part must be there, else as a skip that says so."""
    if os.environ.get("CI") == "true":
        pytest.fail(f"CI must find PostgreSQL: {why}")
    pytest.skip(f"NOT RUN, needs PostgreSQL (or {DSN}): {why}")


@pytest.fixture(scope="session")
def postgres_dsn() -> Iterator[str]:
    """A server for the whole session; its tests take a database each by `postgres_database_dsn`."""
    with ExitStack() as stack:
        dsn = os.environ.get(DSN)
        if not dsn:
            try:
                dsn = stack.enter_context(running_server()).dsn
            except NoPostgres as why:
                without_postgres(why)
        assert dsn is not None
        yield dsn


@pytest.fixture
def postgres_server() -> Iterator[Server]:
    """A server for this test alone, to be killed. Never the one that `PENSTOCK_TEST_POSTGRES` names."""
    with ExitStack() as stack:
        try:
            server = stack.enter_context(running_server())
        except NoPostgres as why:
            without_postgres(why)
        yield server


@pytest.fixture
def postgres_database_dsn(postgres_dsn: str) -> Iterator[str]:
    """A new, empty database, dropped at the end."""
    name = f"penstock_test_{os.getpid()}_{next(_numbers)}"
    with psycopg.connect(postgres_dsn, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}".encode())
        yield make_conninfo(postgres_dsn, dbname=name)
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


@pytest.fixture
def postgres_database(postgres_database_dsn: str) -> Iterator[PostgresDatabase]:
    """Connections to a new, empty database."""
    database = PostgresDatabase(postgres_database_dsn, "service")
    yield database
    database.close()
