"""The callers that a front door meets over HTTP: slow, gone, greedy, idle."""

from __future__ import annotations

import contextlib
import gzip
import http.client
import resource
import socket
import sqlite3
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from builders import an_event, to_json
from flow.ingest_sender import NDJSON, Sender, a_sender, array_of
from server import API_KEY, GONE, PenstockServer, eventually

MIB = 2**20
QUEUE_BYTES, TENANT_EVENTS_PER_S, BODY_TIMEOUT_MS = 2 * MIB, 1_000, 1_000
IDLE_CONNECTIONS = 10_000
FILES_KEPT = 200  # of the test itself


@pytest.fixture(scope="module")
def strict_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PenstockServer]:
    """A server with limits that a test reaches."""
    limits = {
        "PENSTOCK_INGEST_QUEUE_BYTES_MAX": str(QUEUE_BYTES),
        "PENSTOCK_TENANT_EVENTS_PER_S_MAX": str(TENANT_EVENTS_PER_S),
        "PENSTOCK_BODY_TIMEOUT_MS": str(BODY_TIMEOUT_MS),
        "PENSTOCK_EVENT_PROPERTIES_BYTES_MAX": "1000",
        "PENSTOCK_REQUEST_BYTES_MAX": str(MIB),
    }
    with PenstockServer(tmp_path_factory.mktemp("strict") / "data", env=limits) as running:
        yield running


@pytest.fixture
def strict(strict_server: PenstockServer) -> Sender:
    # A tenant that an earlier test has brought to its limit is out of debt again.
    eventually(lambda: strict_server.raw.post("/v1/ingest", []).status, 200)
    return a_sender(strict_server)


def test_a_body_without_a_content_type_is_json(sender: Sender) -> None:
    body = to_json(sender.events(1))
    with socket.create_connection(("127.0.0.1", sender.server.port), timeout=30) as connection:
        connection.sendall(head(len(body)) + body)
        assert status_of(connection) == 200
    eventually(sender.counted, 1)


def test_limits_are_settings(strict: Sender) -> None:
    large = an_event("large", customer_id=strict.alias, properties={"text": "x" * 1_000})

    answer = strict.server.raw.post("/v1/ingest", [large])

    assert answer.json["events"][0]["reason"] == "properties have 1011 bytes, at most 1000"
    assert strict.send(b" " * (MIB + 1)).status == 413
    assert strict.send(gzip.compress(b" " * (MIB + 1)), encoding="gzip").status == 413


def test_a_tenant_over_its_limit_waits_as_long_as_it_is_told(strict: Sender) -> None:
    first = strict.send(strict.lines(4 * TENANT_EVENTS_PER_S), NDJSON)
    refused = strict.send(to_json(strict.events(1)))

    assert first.status == 200
    assert refused.status == 429
    assert refused.json["detail"] == f"the tenant's limit of {TENANT_EVENTS_PER_S} events a second is reached"
    time.sleep(int(refused.headers["retry-after"]))
    assert strict.send(to_json(strict.events(1))).status == 200


def head(length: int | None, *more: str) -> bytes:
    """The head of an ingest request, by hand; a length of None announces a body in chunks."""
    framing = "Transfer-Encoding: chunked" if length is None else f"Content-Length: {length}"
    lines = ["POST /v1/ingest HTTP/1.1", "Host: test", f"Authorization: Bearer {API_KEY}", framing, *more]
    return "\r\n".join([*lines, "", ""]).encode()


def status_of(connection: socket.socket) -> int:
    response = http.client.HTTPResponse(connection)
    response.begin()
    response.read()
    return response.status


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


@pytest.mark.parametrize("length", [100, 900_000, None])
def test_a_body_that_does_not_arrive_in_time_is_408_and_the_connection_ends(strict: Sender, length: int | None) -> None:
    start = head(length) + (chunk(b"[") if length is None else b"[")
    with socket.create_connection(("127.0.0.1", strict.server.port), timeout=30) as connection:
        connection.sendall(start)
        assert status_of(connection) == 408
        with contextlib.suppress(ConnectionResetError):
            assert connection.recv(1) == b""


@pytest.mark.parametrize("in_chunks", [False, True])
@pytest.mark.parametrize("number", [10, 5_000])
def test_a_body_that_ends_early_counts_once_when_it_is_sent_again(sender: Sender, number: int, in_chunks: bool) -> None:
    body = to_json(sender.events(number))
    start = head(None) + chunk(body[:-40]) if in_chunks else head(len(body)) + body[:-40]
    for _ in range(3):
        with socket.create_connection(("127.0.0.1", sender.server.port), timeout=30) as connection:
            connection.sendall(start)

    assert sender.send(body).json["accepted"] == number
    eventually(sender.counted, number)


def test_a_caller_that_hangs_up_before_the_answer_counts_once_when_it_sends_again(sender: Sender) -> None:
    body = to_json(sender.events(100))
    for _ in range(20):
        with socket.create_connection(("127.0.0.1", sender.server.port), timeout=30) as connection:
            connection.sendall(head(len(body)) + body)

    answer = sender.send(body).json

    assert answer["accepted"] + answer["duplicate"] == 100
    eventually(sender.counted, 100)


@contextlib.contextmanager
def stalled_log(data_dir: Path) -> Iterator[None]:
    """Nothing is written into the log meanwhile: another connection has its file's only write lock."""
    with contextlib.closing(sqlite3.connect(data_dir / "log.db", timeout=30, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield
        finally:
            connection.execute("ROLLBACK")


def test_a_log_that_stalls_makes_the_answer_429_and_what_was_taken_is_counted_once(strict: Sender) -> None:
    bodies = [to_json(strict.events(1_000)[n : n + 1]) + b" " * (QUEUE_BYTES // 4) for n in range(20)]
    with ThreadPoolExecutor(20) as threads:
        with stalled_log(strict.server.data_dir):
            sent = [threads.submit(strict.send, body) for body in bodies]
            eventually(lambda: sum(answer.done() for answer in sent) >= 16, True)
            refused = [answer.result() for answer in sent if answer.done()]
        taken = [answer.result() for answer in sent]

    assert {answer.status for answer in refused} == {429}
    assert all(int(answer.headers["retry-after"]) >= 1 for answer in refused)
    accepted = sum(answer.status == 200 for answer in taken)
    assert 1 <= accepted <= 4
    for body in bodies:
        assert strict.send(body).status == 200
    eventually(strict.counted, 20)


def test_a_server_with_10_000_idle_connections_serves_the_next(sender: Sender) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = (
        IDLE_CONNECTIONS + FILES_KEPT if hard == resource.RLIM_INFINITY else min(IDLE_CONNECTIONS + FILES_KEPT, hard)
    )
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))
    with contextlib.ExitStack() as idle:
        for number in range(wanted - FILES_KEPT):
            connection = idle.enter_context(socket.create_connection(("127.0.0.1", sender.server.port), timeout=30))
            if number % 2:
                connection.sendall(b"POST /v1/ingest HTTP/1.1\r\nHost: test\r\n")  # and never the rest

        assert sender.send(array_of(sender)).json["accepted"] == 1_000

    assert sender.send(array_of(sender)).json["duplicate"] == 1_000
    eventually(sender.counted, 1_000)


def test_a_server_that_is_out_of_connections_serves_again_once_some_are_closed(tmp_path: Path) -> None:
    with PenstockServer(tmp_path / "data") as server:
        sender = a_sender(server)
        resource.prlimit(server.pid, resource.RLIMIT_NOFILE, (300, 300))
        with contextlib.ExitStack() as idle:
            for _ in range(400):
                idle.enter_context(socket.create_connection(("127.0.0.1", server.port), timeout=30))

        def sent() -> int:
            with contextlib.suppress(*GONE):
                return sender.send(array_of(sender)).status
            return 0

        eventually(sent, 200)
        eventually(sender.counted, 1_000)
