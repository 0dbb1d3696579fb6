"""Every format and encoding of /v1/ingest over HTTP, and the callers a front door meets: slow, gone, greedy, idle."""

from __future__ import annotations

import contextlib
import gzip
import http.client
import resource
import socket
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from itertools import count
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from backports import zstd

from builders import Body, a_metric_body, an_event, to_json, yesterday
from server import API_KEY, GONE, Answer, PenstockServer, eventually
from unit.gateway.arrow_bodies import a_stream

NUMBERS = count()
MIB = 2**20
NDJSON, ARROW = "application/x-ndjson", "application/vnd.apache.arrow.stream"
QUEUE_BYTES, TENANT_EVENTS_PER_S, BODY_TIMEOUT_MS = 2 * MIB, 1_000, 1_000
NOON = yesterday() + timedelta(hours=12)
IDLE_CONNECTIONS = 10_000
FILES_KEPT = 200  # of the test itself


@dataclass
class Sender:
    """A customer of a running server who sends events in any way, and what is counted of them."""

    server: PenstockServer
    customer_id: str
    alias: str
    metric: str

    def events(self, number: int) -> list[Body]:
        return [an_event(f"{self.alias}-{n}", customer_id=self.alias, properties={"n": n}) for n in range(number)]

    def lines(self, number: int) -> bytes:
        return b"\n".join(map(to_json, self.events(number)))

    def columns(self, number: int, **changed: Any) -> dict[str, Any]:
        events = self.events(number)
        columns = {
            "transaction_id": pa.array([event["transaction_id"] for event in events]),
            "customer_id": pa.array([self.alias] * number).dictionary_encode(),
            "event_type": pa.array(["llm_call"] * number).dictionary_encode(),
            "timestamp": pa.array([NOON] * number, pa.timestamp("us", tz="UTC")),
            "properties": pa.array([to_json(event["properties"]) for event in events], pa.binary()),
        }
        return {name: column for name, column in (columns | changed).items() if column is not None}

    def send(self, body: bytes, content_type: str = "application/json", encoding: str | None = None) -> Answer:
        headers = {"Content-Type": content_type} | ({} if encoding is None else {"Content-Encoding": encoding})
        return self.server.raw.send("POST", "/v1/ingest", body, headers)

    def counted(self) -> Decimal:
        start, end = yesterday(), yesterday() + timedelta(days=1)
        return self.server.usage(self.metric, self.customer_id, start, end).get((start, ()), Decimal(0))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PenstockServer]:
    with PenstockServer(tmp_path_factory.mktemp("formats") / "data") as running:
        yield running


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


MakeSender = Callable[[PenstockServer], Sender]


@pytest.fixture(scope="module")
def make_sender() -> MakeSender:
    metrics: dict[int, str] = {}

    def make(server: PenstockServer) -> Sender:
        if server.port not in metrics:
            metrics[server.port] = server.client.v1.billable_metrics.create(**a_metric_body("events")).data.id
        alias = f"sender-{next(NUMBERS)}"
        customer_id = server.client.v1.customers.create(name=alias, ingest_aliases=[alias]).data.id
        return Sender(server, customer_id, alias, metrics[server.port])

    return make


@pytest.fixture
def sender(server: PenstockServer, make_sender: MakeSender) -> Sender:
    return make_sender(server)


@pytest.fixture
def strict(strict_server: PenstockServer, make_sender: MakeSender) -> Sender:
    # A tenant that an earlier test has brought to its limit is out of debt again.
    eventually(lambda: strict_server.raw.post("/v1/ingest", []).status, 200)
    return make_sender(strict_server)


def array_of(sender: Sender) -> bytes:
    return to_json(sender.events(1_000))


def lines_of(sender: Sender) -> bytes:
    return sender.lines(1_000)


def stream_of(sender: Sender) -> bytes:
    return a_stream(sender.columns(1_000))


FORMATS = {
    "JSON": (array_of, "application/json"),
    "JSON as curl -d sends it": (array_of, "application/x-www-form-urlencoded"),
    "NDJSON": (lines_of, NDJSON),
    "NDJSON by its second name": (lines_of, "application/ndjson; charset=utf-8"),
    "JSON lines": (lines_of, "application/jsonl"),
    "Arrow": (stream_of, ARROW),
}
PACKERS: dict[str | None, Callable[[bytes], bytes]] = {
    None: bytes,
    "identity": bytes,
    "gzip": gzip.compress,
    "zstd": zstd.compress,
}


@pytest.mark.parametrize("encoding", PACKERS)
@pytest.mark.parametrize("name", FORMATS)
def test_each_format_in_each_encoding_is_taken_and_counted(sender: Sender, name: str, encoding: str | None) -> None:
    make, content_type = FORMATS[name]

    answer = sender.send(PACKERS[encoding](make(sender)), content_type, encoding)

    assert (answer.status, answer.json["accepted"]) == (200, 1_000)
    eventually(sender.counted, 1_000)


def test_an_event_is_the_same_in_every_format(sender: Sender) -> None:
    assert sender.send(array_of(sender)).json["accepted"] == 1_000

    for make, content_type in FORMATS.values():
        assert sender.send(make(sender), content_type).json["duplicate"] == 1_000
    eventually(sender.counted, 1_000)


def test_a_body_without_a_content_type_is_json(sender: Sender) -> None:
    body = to_json(sender.events(1))
    with socket.create_connection(("127.0.0.1", sender.server.port), timeout=30) as connection:
        connection.sendall(head(len(body)) + body)
        assert status_of(connection) == 200
    eventually(sender.counted, 1)


@pytest.mark.parametrize(
    ("content_type", "encoding", "reason"),
    [
        ("text/csv", None, "application/json, application/x-ndjson, application/vnd.apache.arrow.stream"),
        ("application/vnd.apache.arrow.file", None, "not as application/vnd.apache.arrow.file"),
        ("application/json", "br", "gzip, zstd and identity"),
        ("application/json", "gzip, gzip", "gzip, zstd and identity"),
    ],
)
def test_a_type_or_encoding_that_is_not_taken_is_415(
    sender: Sender, content_type: str, encoding: str | None, reason: str
) -> None:
    answer = sender.send(to_json(sender.events(1)), content_type, encoding)

    assert (answer.status, answer.json["type"]) == (415, "urn:penstock:problem:unsupported-media")
    assert reason in answer.json["detail"]


def test_a_bad_line_is_named_by_its_number_and_its_neighbours_count(sender: Sender) -> None:
    lines = sender.lines(4).split(b"\n")

    answer = sender.send(b"\n".join([lines[0], b"", b"{broken", lines[1], lines[2][:-9], lines[3]]), NDJSON)

    assert answer.status == 400
    assert (answer.json["accepted"], answer.json["rejected"]) == (3, 2)
    assert [event["index"] for event in answer.json["events"]] == [1, 3]
    eventually(sender.counted, 3)


def test_a_bad_row_of_arrow_is_named_by_its_number_and_its_neighbours_count(sender: Sender) -> None:
    properties = [b"{}", None, b"{},{}", b"[]", b'{"n": 1}']
    columns = sender.columns(5, properties=pa.array(properties, pa.binary()))

    answer = sender.send(a_stream(columns), ARROW)

    assert answer.status == 400
    assert (answer.json["accepted"], answer.json["rejected"]) == (2, 3)
    assert [(event["index"], event["reason"].partition(":")[0]) for event in answer.json["events"]] == [
        (1, "properties is null"),
        (2, "properties are not JSON"),
        (3, "properties must be a JSON object"),
    ]
    eventually(sender.counted, 2)


def cut(stream: bytes) -> bytes:
    return stream[:-300]


def corrupt(stream: bytes) -> bytes:
    return stream[:400] + b"\xff" * 64 + stream[464:]


@pytest.mark.parametrize("spoil", [cut, corrupt, bytes.lower])
def test_a_spoilt_arrow_stream_is_refused_whole(sender: Sender, spoil: Callable[[bytes], bytes]) -> None:
    answer = sender.send(spoil(stream_of(sender)), ARROW)

    assert answer.status == 400
    assert answer.json["message"]
    assert sender.send(stream_of(sender), ARROW).json["accepted"] == 1_000
    eventually(sender.counted, 1_000)


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({"customer_id": None}, "customer_id"),
        ({"region": pa.array(["eu"])}, "region"),
        ({"timestamp": pa.array([1])}, "timestamp"),
    ],
)
def test_an_arrow_schema_that_does_not_fit_is_refused_by_name(
    sender: Sender, changed: Mapping[str, Any], field: str
) -> None:
    answer = sender.send(a_stream(sender.columns(1, **changed)), ARROW)

    assert (answer.status, answer.json["field"]) == (400, field)
    assert field in answer.json["detail"]


def test_100_000_events_of_arrow_are_taken_and_one_more_is_not(sender: Sender) -> None:
    assert "100000" in sender.send(a_stream(sender.columns(100_001)), ARROW).json["detail"]

    assert sender.send(a_stream(sender.columns(100_000)), ARROW).json["accepted"] == 100_000
    eventually(sender.counted, 100_000)


@pytest.mark.parametrize("encoding", ["gzip", "zstd"])
def test_a_packed_body_that_is_cut_is_400(sender: Sender, encoding: str) -> None:
    answer = sender.send(PACKERS[encoding](array_of(sender))[:-20], encoding=encoding)

    assert (answer.status, answer.json["field"]) == (400, "content-encoding")
    assert sender.send(array_of(sender)).json["accepted"] == 1_000


@pytest.mark.parametrize("encoding", ["gzip", "zstd"])
def test_a_bomb_is_413_and_others_are_served(sender: Sender, encoding: str) -> None:
    bomb = PACKERS[encoding](b" " * (512 * MIB))
    with ThreadPoolExecutor(4) as threads:
        answers = [threads.submit(sender.send, bomb, encoding=encoding) for _ in range(8)]

    assert {answer.result().status for answer in answers} == {413}
    assert sender.send(array_of(sender)).json["accepted"] == 1_000


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


def test_a_server_that_is_out_of_connections_serves_again_once_some_are_closed(
    tmp_path: Path, make_sender: MakeSender
) -> None:
    with PenstockServer(tmp_path / "data") as server:
        sender = make_sender(server)
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
