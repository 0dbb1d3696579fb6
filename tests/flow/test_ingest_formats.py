"""Every format and encoding of /v1/ingest over HTTP: what is taken, what is refused, and by which name."""

from __future__ import annotations

import gzip
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pyarrow as pa
import pytest
from backports import zstd

from builders import to_json
from flow.ingest_sender import ARROW, NDJSON, Sender, array_of, lines_of, stream_of
from server import eventually
from unit.gateway.arrow_bodies import a_stream

MIB = 2**20
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
