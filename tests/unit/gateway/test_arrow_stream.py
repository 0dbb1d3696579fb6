"""Arrow IPC streams: the columns that are taken, what is refused by name, and that no stream breaks the decoder."""

from __future__ import annotations

import struct
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from penstock.gateway.arrow_stream import COLUMNS, decode_arrow
from penstock.gateway.columns import Columns, codes_of
from penstock.gateway.decode import Decoded
from penstock.kernel.problems import BadRequest, TooLarge
from penstock.kernel.window import to_us
from unit.gateway.arrow_bodies import AT, EOS, UTC_US, a_column_set, a_stream, of_batches

AT_US = to_us(AT)
TEXT_TYPES = {
    "string": pa.string(),
    "large string": pa.large_string(),
    "string view": pa.string_view(),
    "dictionary": pa.dictionary(pa.int32(), pa.string()),
    "dictionary of few": pa.dictionary(pa.uint8(), pa.large_string()),
}


def decoded(stream: bytes, bytes_max: int = 1 << 25) -> Decoded:
    return decode_arrow(stream, 100_000, bytes_max)


def columns_of(stream: bytes) -> Columns:
    """The columns of a stream whose events are all good."""
    got = decoded(stream)
    assert got.refusals == ()
    assert isinstance(got.events, Columns)
    assert list(got.indexes) == list(range(len(got.events)))
    return got.events


def rows(columns: Columns) -> list[tuple[object, ...]]:
    return list(
        zip(
            columns.transaction_ids.to_pylist(),
            columns.customers.to_pylist(),
            columns.event_types.to_pylist(),
            columns.times_us.tolist(),
            columns.properties.to_pylist(),
            strict=True,
        )
    )


GOOD_ROWS = [(f"txn-{n}", "acme", "llm", AT_US, b'{"tokens":%d}' % n) for n in range(3)]


def test_a_stream_gives_its_events_in_order() -> None:
    columns = columns_of(a_stream(a_column_set()))
    assert rows(columns) == GOOD_ROWS
    assert columns.properties.to_pylist() == [row[4] for row in GOOD_ROWS]
    assert columns.bad_times == {}


def test_columns_stand_in_any_order() -> None:
    columns = a_column_set()
    assert rows(columns_of(a_stream({name: columns[name] for name in reversed(COLUMNS)}))) == GOOD_ROWS


def test_the_events_of_several_batches_are_numbered_through() -> None:
    batches = [a_column_set(2, customer_id=pa.array([f"c-{n}", "both"]).dictionary_encode()) for n in range(3)]
    columns = columns_of(a_stream(*batches))
    assert len(columns) == 6
    assert columns.customers.to_pylist() == ["c-0", "both", "c-1", "both", "c-2", "both"]
    assert sorted(columns.customers.dictionary.to_pylist()) == ["both", "c-0", "c-1", "c-2"]


@pytest.mark.parametrize("kind", TEXT_TYPES.values(), ids=TEXT_TYPES)
@pytest.mark.parametrize("name", COLUMNS[:3])
def test_texts_come_in_any_arrow_type_for_texts(name: str, kind: pa.DataType) -> None:
    column = (
        a_column_set()[name].cast(kind) if "view" not in str(kind) else pa.array(a_column_set()[name].to_pylist(), kind)
    )
    assert rows(columns_of(a_stream(a_column_set(**{name: column})))) == GOOD_ROWS


@pytest.mark.parametrize(
    "kind", [pa.binary(), pa.large_binary(), pa.string(), pa.large_string(), pa.string_view()], ids=str
)
def test_properties_come_as_bytes_or_text(kind: pa.DataType) -> None:
    texts = a_column_set()["properties"].to_pylist()
    column = pa.array(texts if "binary" in str(kind) else [text.decode() for text in texts], kind)
    assert rows(columns_of(a_stream(a_column_set(properties=column)))) == GOOD_ROWS


@pytest.mark.parametrize(
    ("kind", "value", "expected_us"),
    [
        (pa.timestamp("us", tz="UTC"), AT_US, AT_US),
        (pa.timestamp("us", tz="Asia/Kolkata"), AT_US, AT_US),
        (pa.timestamp("us", tz="+02:00"), AT_US, AT_US),
        (pa.timestamp("s", tz="UTC"), AT_US // 1_000_000, AT_US),
        (pa.timestamp("ms", tz="UTC"), AT_US // 1_000 + 7, AT_US + 7_000),
        (pa.timestamp("ns", tz="UTC"), AT_US * 1_000 + 1_999, AT_US + 1),
        (pa.timestamp("ns", tz="UTC"), -1, -1),
    ],
    ids=str,
)
def test_times_come_in_any_unit_with_a_zone(kind: pa.DataType, value: int, expected_us: int) -> None:
    stream = a_stream(a_column_set(1, timestamp=pa.array([value], pa.int64()).cast(kind)))
    assert columns_of(stream).times_us.tolist() == [expected_us]


@pytest.mark.parametrize("unit", ["s", "ms"])
@pytest.mark.parametrize("value", [2**63 - 1, -(2**63)])
def test_a_time_beyond_all_reach_does_not_wrap_into_it(unit: str, value: int) -> None:
    stream = a_stream(a_column_set(1, timestamp=pa.array([value], pa.int64()).cast(pa.timestamp(unit, tz="UTC"))))
    (time_us,) = columns_of(stream).times_us.tolist()
    assert abs(time_us) > to_us(datetime(4000, 1, 1, tzinfo=UTC))
    assert (time_us > 0) is (value > 0)


@pytest.mark.parametrize("kind", TEXT_TYPES.values(), ids=TEXT_TYPES)
def test_times_may_be_rfc_3339_and_a_bad_one_is_its_events_own_fault(kind: pa.DataType) -> None:
    column = pa.array(["2026-07-01T11:59:00Z", "noon", "2026-07-01T13:59:00+02:00"], pa.string())
    columns = columns_of(a_stream(a_column_set(timestamp=column.cast(kind))))
    assert columns.times_us.tolist() == [AT_US, 0, AT_US]
    assert columns.bad_times == {1: "timestamp is not RFC 3339, such as 2026-01-31T12:00:00Z"}


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        *((name, column.type) for name, column in a_column_set().items()),
        *((name, kind) for name in COLUMNS[:3] for kind in TEXT_TYPES.values()),
        ("properties", pa.string_view()),
        ("properties", pa.binary_view()),
    ],
    ids=str,
)
def test_a_null_rejects_its_event_alone(name: str, kind: pa.DataType) -> None:
    values = a_column_set()[name].to_pylist()
    got = decoded(a_stream(a_column_set(**{name: pa.array([values[0], None, values[2]]).cast(kind)})))
    assert isinstance(got.events, Columns)
    assert rows(got.events) == [GOOD_ROWS[0], GOOD_ROWS[2]]
    assert got.indexes == [0, 2]
    assert [(refusal.index, refusal.reason) for refusal in got.refusals] == [(1, f"{name} is null")]


def test_a_null_in_a_dictionary_is_a_null() -> None:
    texts = pa.array(["acme", None], pa.string())
    column = pa.DictionaryArray.from_arrays(pa.array([0, 1, None], pa.int8()), texts)
    got = decoded(a_stream(a_column_set(customer_id=column)))
    assert [(refusal.index, refusal.reason) for refusal in got.refusals] == [
        (1, "customer_id is null"),
        (2, "customer_id is null"),
    ]
    assert isinstance(got.events, Columns)
    assert rows(got.events) == GOOD_ROWS[:1]


def test_a_dictionary_is_made_of_distinct_texts_that_are_used() -> None:
    column = pa.DictionaryArray.from_arrays(
        pa.array([3, 1, 0], pa.uint16()), pa.array(["acme", "beta", "x" * 1_000, "acme"])
    )
    columns = columns_of(a_stream(a_column_set(customer_id=column)))
    assert columns.customers.to_pylist() == ["acme", "beta", "acme"]
    assert columns.customers.dictionary.to_pylist() == ["acme", "beta"]
    assert codes_of(columns.customers).tolist() == [0, 1, 0]


@pytest.mark.parametrize(
    ("changed", "field", "reason"),
    [
        *(({name: None}, name, f"the column {name} is missing") for name in COLUMNS),
        (
            {"region": pa.array(["eu"] * 3)},
            "region",
            "the column region is not one of transaction_id, customer_id, event_type, timestamp, properties",
        ),
        ({"transaction_id": pa.array([1, 2, 3])}, "transaction_id", "is int64, it must be string"),
        ({"customer_id": pa.array([b"a"] * 3)}, "customer_id", "is binary, it must be string"),
        ({"event_type": pa.array([["a"]] * 3)}, "event_type", "is list<item: string>, it must be string"),
        ({"event_type": pa.nulls(3)}, "event_type", "is null, it must be string"),
        ({"timestamp": pa.array([AT] * 3, pa.timestamp("us"))}, "timestamp", "a timestamp with a time zone"),
        ({"timestamp": pa.array([AT_US] * 3)}, "timestamp", "is int64, it must be a timestamp"),
        ({"timestamp": pa.array([AT.date()] * 3)}, "timestamp", "is date32[day], it must be a timestamp"),
        ({"properties": pa.array([{"tokens": 1}] * 3)}, "properties", "it must be string or binary, JSON objects"),
        (
            {"properties": pa.array(["{}"] * 3).dictionary_encode()},
            "properties",
            "it must be string or binary, JSON objects",
        ),
    ],
)
def test_columns_that_do_not_fit_are_refused_by_name(changed: dict[str, Any], field: str, reason: str) -> None:
    with pytest.raises(BadRequest) as refused:
        decoded(a_stream(a_column_set(**changed)))
    assert reason in refused.value.detail
    assert refused.value.field == field


def test_a_column_that_is_there_twice_is_refused_by_name() -> None:
    columns = a_column_set()
    batch = pa.RecordBatch.from_arrays([*columns.values(), columns["customer_id"]], [*columns, "customer_id"])
    with pytest.raises(BadRequest, match="the column customer_id is there twice"):
        decoded(of_batches([batch]))


SPLIT_AND_DOUBLED = [b"{},{}", b'{"a":[1', b"2]}"]


@pytest.mark.parametrize(
    ("texts", "good"),
    [
        ([b"{}", b"", b"{}"], [0, 2]),
        ([b"{}", b"nonsense", b"{}"], [0, 2]),
        ([b"{}", b'{"a":NaN}', b"{}"], [0, 2]),
        ([b"{}", b'{"a":1}}', b"{}"], [0, 2]),
        ([b"{}", b'{"a":1', b"{}"], [0, 2]),
        ([b"{}", b"{},{}", b"{}"], [0, 2]),
        ([b"{},{}", b'{"a":[', b"]}"], []),
        (SPLIT_AND_DOUBLED, []),
        ([b'{"a":"', b'"}', b"{}"], [2]),
        ([b"[1", b"2]", b"{}"], [2]),
        ([b"{}", b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}", b"{}"], [0, 2]),
    ],
)
def test_properties_that_are_no_json_by_themselves_reject_their_event_alone(
    texts: list[bytes], good: list[int]
) -> None:
    got = decoded(a_stream(a_column_set(properties=pa.array(texts, pa.binary()))))
    assert list(got.indexes) == good
    assert isinstance(got.events, Columns)
    assert got.events.properties.to_pylist() == [texts[row] for row in good]
    assert [refusal.index for refusal in got.refusals] == [row for row in range(3) if row not in good]
    assert all(refusal.reason.startswith("properties are not JSON: ") for refusal in got.refusals)


def test_space_around_properties_is_passed_over() -> None:
    texts = [b"{}", b' \n{"a": 1} ', b"{}"]
    columns = columns_of(a_stream(a_column_set(properties=pa.array(texts, pa.binary()))))
    assert columns.properties.to_pylist() == [b"{}", b'{"a": 1}', b"{}"]


def test_refusals_of_several_batches_keep_their_places() -> None:
    bad = a_column_set(2, properties=pa.array([b"{}", b"bad"], pa.binary()), customer_id=pa.array([None, "acme"]))
    got = decoded(a_stream(a_column_set(2), a_column_set(2, customer_id=pa.array(["acme", "acme"])), bad))
    assert (list(got.indexes), [refusal.index for refusal in got.refusals]) == ([0, 1, 2, 3], [4, 5])


def test_a_stream_without_events_is_no_error() -> None:
    assert len(decoded(a_stream(a_column_set(0))).events) == 0
    schema = pa.RecordBatch.from_pydict(a_column_set(0)).schema
    sink = pa.BufferOutputStream()
    pa.ipc.new_stream(sink, schema).close()
    assert decoded(sink.getvalue().to_pybytes()) == Decoded([], range(0))


def test_a_stream_that_is_cut_anywhere_is_refused() -> None:
    stream = a_stream(a_column_set(), a_column_set())
    for length in range(len(stream)):
        with pytest.raises(BadRequest, match=r"cut off|not an Arrow IPC stream"):
            decoded(stream[:length])


def test_bytes_after_the_stream_are_refused() -> None:
    with pytest.raises(BadRequest, match="goes on after the end"):
        decoded(a_stream(a_column_set()) + EOS)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "not an Arrow IPC stream"),
        (b'[{"transaction_id": "a"}]', "not an Arrow IPC stream"),
        (EOS, "corrupt"),
        (b"\xff\xff\xff\xff\xf0\xff\xff\xff" + b"x" * 100, "not an Arrow IPC stream"),
        (b"\xff" * 200, "not an Arrow IPC stream"),
        (b"\xff\xff\xff\xff\x08\x00\x00\x00" + b"\x00" * 16, "not an Arrow IPC stream"),
    ],
)
def test_what_is_no_stream_is_refused(body: bytes, reason: str) -> None:
    with pytest.raises(BadRequest, match=reason):
        decoded(body)


def test_the_file_format_is_refused_with_a_hint() -> None:
    sink = pa.BufferOutputStream()
    batch = pa.RecordBatch.from_pydict(a_column_set())
    with pa.ipc.new_file(sink, batch.schema) as writer:
        writer.write_batch(batch)
    with pytest.raises(BadRequest, match="an Arrow file, send the stream format"):
        decoded(sink.getvalue().to_pybytes())


def test_text_that_is_no_utf8_is_a_corrupt_stream() -> None:
    stream = a_stream(a_column_set()).replace(b"txn-1", b"txn\xff1")
    with pytest.raises(BadRequest, match=r"corrupt: .*UTF8"):
        decoded(stream)


def test_more_events_than_the_limit_are_refused() -> None:
    with pytest.raises(BadRequest, match="has 11 events, at most 10"):
        decode_arrow(a_stream(a_column_set(6), a_column_set(5)), 10, 1 << 20)
    assert len(decode_arrow(a_stream(a_column_set(6), a_column_set(4)), 10, 1 << 20).events) == 10


def test_more_messages_than_the_limit_are_refused() -> None:
    with pytest.raises(BadRequest, match="more than 1000 messages"):
        decoded(a_stream(*[a_column_set(1)] * 1_001))


@pytest.mark.parametrize("codec", ["lz4", "zstd"])
def test_buffers_may_be_compressed(codec: str) -> None:
    options = pa.ipc.IpcWriteOptions(compression=codec)
    assert rows(columns_of(a_stream(a_column_set(), options=options))) == GOOD_ROWS


@pytest.mark.parametrize("codec", ["lz4", "zstd"])
def test_compressed_buffers_count_with_what_they_unpack_to(codec: str) -> None:
    columns = a_column_set(100, properties=pa.array([b'{"a":"%s"}' % (b"x" * 20_000)] * 100, pa.binary()))
    stream = a_stream(columns, options=pa.ipc.IpcWriteOptions(compression=codec))
    assert len(stream) < 100_000
    with pytest.raises(TooLarge, match="more than 1000000 bytes uncompressed"):
        decoded(stream, 1_000_000)


def test_a_buffer_that_claims_to_unpack_to_petabytes_is_refused() -> None:
    columns = a_column_set(1_000)
    stream = a_stream(columns, options=pa.ipc.IpcWriteOptions(compression="zstd"))
    claim = struct.pack("<q", 1_001 * 4)  # of the offsets of a column of 1,000 texts
    assert claim in stream
    with pytest.raises(TooLarge, match="uncompressed"):
        decoded(stream.replace(claim, struct.pack("<q", 2**50)))
    with pytest.raises(BadRequest, match="corrupt"):
        decoded(stream.replace(claim, struct.pack("<q", -2)))


def test_a_dictionary_that_says_a_long_text_many_times_is_refused() -> None:
    texts = pa.DictionaryArray.from_arrays(pa.array(np.zeros(1_000, np.int32)), pa.array(["x" * 10_000]))
    with pytest.raises(TooLarge, match="a column of the Arrow stream has more than 1000000 bytes"):
        decoded(a_stream(a_column_set(1_000, transaction_id=texts)), 1_000_000)


def test_a_customer_said_many_times_in_a_dictionary_costs_its_text_once() -> None:
    texts = pa.DictionaryArray.from_arrays(pa.array(np.zeros(1_000, np.int32)), pa.array(["x" * 10_000]))
    columns = columns_of(a_stream(a_column_set(1_000, customer_id=texts)))
    assert columns.customers.dictionary.nbytes < 20_000


def test_a_batch_that_is_a_slice_of_another_is_read_from_where_it_starts() -> None:
    batch = pa.RecordBatch.from_pydict(a_column_set(10)).slice(4, 3)
    assert rows(columns_of(of_batches([batch]))) == [
        (f"txn-{n}", "acme", "llm", AT_US, b'{"tokens":%d}' % n) for n in (4, 5, 6)
    ]


def test_a_timestamp_keeps_its_microseconds() -> None:
    at = AT + timedelta(microseconds=1)
    assert columns_of(a_stream(a_column_set(1, timestamp=pa.array([at], UTC_US)))).times_us.tolist() == [AT_US + 1]
