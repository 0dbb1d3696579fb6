"""A chunk carries every byte of its events through the log, and bytes that are no chunk are refused."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.kernel.chunk import SCHEMA, TIME_US_END, Chunk
from penstock.kernel.identity import hash_bodies, identify

Row = tuple[str, str, str, str, int, bytes]  # tenant, transaction id, customer, type, time, properties
ROWS: list[Row] = [
    ("acme", "1", "c1", "call", 1_772_366_400_000_000, b'{"tokens":"1.50"}'),
    ("acme", "2", "c2", "call", 1_772_366_400_000_001, b"{}"),
    ("other", "1", "c1", "fax", 0, b'{"a":"\xc3\xa4","a":1e3}'),
]
rows_of_events = st.lists(
    st.tuples(
        st.sampled_from(["acme", "other"]),
        st.text(min_size=1, max_size=8),
        st.text(max_size=4),
        st.text(max_size=4),
        st.integers(0, TIME_US_END - 1),
        st.binary(max_size=20),
    ),
    max_size=12,
)


def a_chunk(rows: Sequence[Row]) -> Chunk:
    tenants, ids, customers, types, times, properties = map(list, zip(*rows, strict=True)) if rows else ([],) * 6
    times_us = np.array(times, np.int64)
    return Chunk.build(
        identities=np.concatenate([identify(b"k" * 32, "-", []), *(identify(b"k" * 32, r[0], [r[1]]) for r in rows)]),
        body_hashes=hash_bodies(customers, types, times_us, properties),
        tenants=tenants,
        customers=customers,
        event_types=types,
        times_us=times_us,
        transaction_ids=ids,
        properties=properties,
    )


def texts(chunk: Chunk, column: str) -> list[str]:
    codes, values = chunk.codes(column)
    return [values[code] for code in codes]


def rows_of(chunk: Chunk) -> list[Row]:
    columns: list[list[Any]] = [
        texts(chunk, "tenant"),
        chunk.arrow("transaction_id").to_pylist(),
        texts(chunk, "customer"),
        texts(chunk, "event_type"),
        chunk.times_us.tolist(),
        chunk.properties,
    ]
    return list(zip(*columns, strict=True))


@given(rows_of_events)
def test_a_chunk_comes_back_from_its_bytes(rows: list[Row]) -> None:
    sent = a_chunk(rows)

    chunk = Chunk.decode(sent.encode())

    assert len(chunk) == len(rows)
    assert rows_of(chunk) == rows
    assert chunk.identities.tolist() == sent.identities.tolist()
    assert chunk.identities.tolist() == [identify(b"k" * 32, r[0], [r[1]])[0].tolist() for r in rows]
    assert chunk.body_hashes.tolist() == sent.body_hashes.tolist()


@given(st.lists(rows_of_events, max_size=4))
def test_concatenated_chunks_hold_all_events_in_order(parts: list[list[Row]]) -> None:
    whole = Chunk.concat([a_chunk(rows) for rows in parts])
    flat = [row for rows in parts for row in rows]

    assert rows_of(whole) == flat
    assert whole.identities.tolist() == a_chunk(flat).identities.tolist()
    assert whole.body_hashes.tolist() == a_chunk(flat).body_hashes.tolist()
    assert rows_of(Chunk.decode(whole.encode())) == flat


@given(rows_of_events.filter(bool), st.data())
def test_take_picks_events_in_the_order_asked(rows: list[Row], data: st.DataObject) -> None:
    picks = data.draw(st.lists(st.integers(0, len(rows) - 1), max_size=12))

    taken = a_chunk(rows).take(np.array(picks, np.int64))

    assert rows_of(taken) == [rows[pick] for pick in picks]
    assert taken.identities.tolist() == a_chunk([rows[pick] for pick in picks]).identities.tolist()
    assert rows_of(Chunk.decode(taken.encode())) == [rows[pick] for pick in picks]


def test_repeated_texts_are_stored_once() -> None:
    chunk = a_chunk(ROWS)

    assert chunk.codes("tenant")[1] == ["acme", "other"]
    assert chunk.codes("customer")[1] == ["c1", "c2"]
    assert chunk.codes("event_type")[1] == ["call", "fax"]
    assert chunk.arrow("time").type == pa.timestamp("us", tz="UTC")


def test_a_chunk_takes_fewer_bytes_in_the_log_than_in_memory() -> None:
    chunk = a_chunk(ROWS * 1_000)

    assert chunk.nbytes > 3_000 * (16 + 8 + 8)
    assert len(chunk.encode()) < chunk.nbytes


def test_any_language_can_read_a_chunk_as_an_arrow_stream() -> None:
    with pa.ipc.open_stream(a_chunk(ROWS).encode()) as reader:
        table = reader.read_all()

    assert table.schema.equals(SCHEMA)
    assert table.column("transaction_id").to_pylist() == ["1", "2", "1"]


def test_a_cut_payload_is_refused() -> None:
    payload = a_chunk(ROWS).encode()
    end_of_stream_bytes = 8

    for length in range(0, len(payload) - end_of_stream_bytes, 7):
        with pytest.raises(ValueError, match="not a chunk"):
            Chunk.decode(payload[:length])


@pytest.mark.parametrize("payload", [b"", b"{}", b"\xff" * 400, b"\x00" * 400])
def test_bytes_that_are_no_chunk_are_refused(payload: bytes) -> None:
    with pytest.raises(ValueError, match="not a chunk"):
        Chunk.decode(payload)


def test_a_payload_whose_codes_point_nowhere_is_refused() -> None:
    columns = [a_chunk(ROWS).arrow(name) for name in SCHEMA.names]
    columns[2] = pa.DictionaryArray.from_arrays(pa.array([0, 1, 5], pa.int32()), pa.array(["a", "b"]), safe=False)

    with pytest.raises(ValueError, match="not a chunk"):
        Chunk.decode(Chunk(pa.RecordBatch.from_arrays(columns, schema=SCHEMA)).encode())


@pytest.mark.parametrize("name", SCHEMA.names)
def test_a_null_is_refused_in_every_column(name: str) -> None:
    columns = [a_chunk(ROWS).arrow(each) for each in SCHEMA.names]
    place = SCHEMA.get_field_index(name)
    columns[place] = pa.array([None, *columns[place].to_pylist()[1:]], SCHEMA.field(name).type)

    with pytest.raises(ValueError, match="a null in it"):
        Chunk.decode(Chunk(pa.RecordBatch.from_arrays(columns, schema=SCHEMA)).encode())


@pytest.mark.parametrize("time_us", [-1, TIME_US_END, 2**62])
def test_a_time_that_no_window_can_hold_is_refused(time_us: int) -> None:
    with pytest.raises(ValueError, match="before 1970 or after 2105"):
        Chunk.decode(a_chunk([("acme", "1", "c1", "call", time_us, b"{}")]).encode())


def test_a_lack_of_memory_is_no_verdict_on_the_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    def starved(*_: Any, **__: Any) -> None:
        raise pa.lib.ArrowMemoryError("malloc of size 64 failed")

    payload = a_chunk(ROWS).encode()
    monkeypatch.setattr(pa.ipc, "open_stream", starved)

    with pytest.raises(MemoryError):
        Chunk.decode(payload)


def test_a_stream_of_another_schema_is_refused() -> None:
    batch = pa.RecordBatch.from_pydict({"transaction_id": ["1"]})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)

    with pytest.raises(ValueError, match="another schema"):
        Chunk.decode(sink.getvalue().to_pybytes())
