"""A server with default settings, for the tests that need no more than a customer of their own on it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from flow.ingest_sender import Sender, a_sender
from server import PenstockServer


@pytest.fixture(scope="session")
def shared_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PenstockServer]:
    with PenstockServer(tmp_path_factory.mktemp("shared") / "data") as running:
        yield running


@pytest.fixture
def sender(shared_server: PenstockServer) -> Sender:
    return a_sender(shared_server)
