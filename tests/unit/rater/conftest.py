"""The fixtures of the rater's API tests."""

from __future__ import annotations

from collections.abc import Iterator

import metronome
import pytest

from unit.rater.serving import Server


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    with server.http:
        yield server


@pytest.fixture
def client(server: Server) -> metronome.Metronome:
    return server.sdk()
