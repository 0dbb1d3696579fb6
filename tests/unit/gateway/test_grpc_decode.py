"""Batches off the wire: rows and columns alike, one bad event never sinks the others, and nothing else gets through."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.gateway.columns import Columns
from penstock.gateway.decode import Decoded
from penstock.gateway.grpc_decode import decode_arrow, decode_batch
from penstock.gateway.protobuf_fields import count_fields
from penstock.kernel.problems import BadRequest
from penstock.wire import usage_pb2
from penstock.wire.usage_pb2 import ArrowBatch, Event
from unit.gateway.grpc_givens import TIME_US, an_event
from unit.gateway.grpc_givens import columns as a_batch_of_columns
from unit.gateway.grpc_givens import rows as a_batch_of_rows


def rows(*events: Event, batch_id: int = 0) -> bytes:
    return a_batch_of_rows(*events, batch_id=batch_id).SerializeToString()


def columns(*events: Event, batch_id: int = 0, **changed: Any) -> bytes:
    return a_batch_of_columns(*events, batch_id=batch_id, **changed).SerializeToString()


MIB = 2**20
forms = pytest.mark.parametrize("form", [rows, columns])


def decoded(body: bytes) -> Decoded:
    return decode_batch(body, 100)[1]


def columns_of(request: Decoded) -> Columns:
    assert isinstance(request.events, Columns)
    return request.events


def ids(request: Decoded) -> list[str]:
    found: list[str] = columns_of(request).transaction_ids.to_pylist()
    return found


def plain(request: Decoded) -> list[tuple[Any, ...]]:
    """The good events, one tuple each."""
    events = columns_of(request)
    customers, event_types = events.customers.to_pylist(), events.event_types.to_pylist()
    lists = (ids(request), customers, event_types, events.times_us.tolist(), events.properties.to_pylist())
    return list(zip(*lists, strict=True))


@forms
def test_a_batch_is_read_whole_and_in_order(form: Any) -> None:
    number, events = decode_batch(form(an_event("a"), an_event("b", customer_id="b-corp"), batch_id=2**64 - 1), 100)

    assert number == 2**64 - 1
    assert plain(events) == [
        ("a", "acme", "llm", TIME_US, b'{"tokens":12}'),
        ("b", "b-corp", "llm", TIME_US, b'{"tokens":12}'),
    ]
    assert (list(events.indexes), events.refusals) == ([0, 1], ())


@forms
@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        (b"", b"{}"),
        (b' {"a": 1}\n', b'{"a": 1}'),
        (b'{"a": 1e400, "b": "\xff"}', b'{"a": 1e400, "b": "\xff"}'),
        (b"[1]", b"[1]"),
    ],
)
def test_properties_keep_their_bytes_but_for_the_space_around_them(form: Any, sent: bytes, kept: bytes) -> None:
    assert plain(decoded(form(an_event(properties_json=sent))))[0][-1] == kept


@forms
@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (an_event("bad", properties_json=b'{"a": NaN}'), "properties_json cannot be read: "),
        (an_event("bad", properties_json=b'{"a": 1'), "properties_json cannot be read: "),
        (an_event("bad", properties_json=b"{},{}"), "properties_json cannot be read: "),
        (an_event("bad", properties_json=b"{} x"), "properties_json cannot be read: "),
        (an_event("bad", properties_json=b'{"a":' + b"[" * 30_000 + b"]" * 30_000 + b"}"), "64 levels"),
    ],
)
def test_properties_that_are_no_json_sink_their_own_event_only(form: Any, bad: Event, reason: str) -> None:
    events = decoded(form(an_event("a"), bad, an_event("b")))

    assert ids(events) == ["a", "b"]
    assert list(events.indexes) == [0, 2]
    (refusal,) = events.refusals
    assert refusal.index == 1
    assert reason in refusal.reason


def test_two_halves_of_json_are_not_one_whole() -> None:
    """Checked one by one: together these three would be a good array."""
    parts = [b'{"a":1},{"b":2}', b'{"a":[1', b"2]}"]

    events = decoded(columns(*(an_event(str(n), properties_json=part) for n, part in enumerate(parts))))

    assert [refusal.index for refusal in events.refusals] == [0, 1, 2]


@forms
@pytest.mark.parametrize("field", ["transaction_id", "customer_id", "event_type"])
def test_text_that_is_no_utf8_sinks_its_own_event_only(form: Any, field: str) -> None:
    body = form(an_event("a"), an_event(**{"transaction_id": "x", field: "HERE"}), an_event("é"), batch_id=7)

    number, events = decode_batch(body.replace(b"HERE", b"\xff\xfeRE"), 100)

    assert number == 7
    assert ids(events) == ["a", "é"]
    assert list(events.indexes) == [0, 2]
    assert [refusal.reason for refusal in events.refusals] == [f"{field} is not UTF-8"]


@pytest.mark.parametrize("body", [b"\xff\xff\xff", b"\x08", b"\x12\x05abc", rows(an_event())[:-3], b'[{"a":1}]'])
def test_bytes_that_are_no_batch_are_refused_as_a_whole(body: bytes) -> None:
    with pytest.raises(BadRequest, match=r"not a penstock\.v1\.EventBatch"):
        decode_batch(body, 100)


def test_rows_and_columns_together_are_refused() -> None:
    with pytest.raises(BadRequest, match="both events and columns"):
        decode_batch(rows(an_event()) + columns(an_event("b")), 100)


def test_columns_of_unlike_length_are_refused_by_name() -> None:
    with pytest.raises(BadRequest, match="1 transaction_id, 1 customer_id, 1 event_type, 0 time_us, 1 properties_json"):
        decode_batch(columns(an_event(), times_us=[]), 100)


@forms
def test_more_events_than_a_request_may_have_are_refused(form: Any) -> None:
    hundred = [an_event(str(number)) for number in range(100)]

    assert len(ids(decoded(form(*hundred)))) == 100
    with pytest.raises(BadRequest, match="101 events, at most 100"):
        decode_batch(form(*hundred, an_event("one more")), 100)


CROWDS = {
    "events": b"\x12\x00" * (2 * MIB),
    "customer ids": b"\x1a\x80\x80\x80\x02" + b"\x12\x00" * (2 * MIB),
    "times": b"\x1a\x85\x80\x80\x02" + b"\x22\x80\x80\x80\x02" + bytes(4 * MIB),
    "fields of tomorrow": b"\x78\x00" * (2 * MIB),
    "fields of 8 and 4 bytes": (b"\x79" + bytes(8) + b"\x7d" + bytes(4)) * MIB,
}


@pytest.mark.parametrize("name", CROWDS)
def test_millions_of_tiny_fields_are_refused_before_they_become_gigabytes(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(usage_pb2, "EventBatch", None)  # it is never read

    with pytest.raises(BadRequest, match="more fields than 10000 events"):
        decode_batch(CROWDS[name], 10_000)


@forms
def test_a_large_batch_of_many_events_is_no_crowd(form: Any) -> None:
    text = b'{"text":"' + b"x" * 300 + b'"}'

    _, events = decode_batch(form(*(an_event(str(n), properties_json=text) for n in range(10_000))), 10_000)

    assert len(ids(events)) == 10_000


@pytest.mark.parametrize(
    ("message", "fields"),
    [
        (b"", 0),
        (rows(an_event("a"), an_event("b"), batch_id=300), 3),
        (columns(an_event("a"), an_event("b"), batch_id=300), 2 + 4 * 2 + 1 + 18 // 10),
        (columns(an_event("a")) + rows(an_event("b")), 1 + 5 + 1),
        (b"\x79" + bytes(8) + b"\x7d" + bytes(4) + b"\x7a\x02ab", 3),
        (b"\x12\x05abc", 1),
        (b"\x22\x28" + bytes(40), 1),
        (b"\xff", 0),
    ],
)
def test_fields_are_counted_in_the_batch_and_in_its_columns(message: bytes, fields: int) -> None:
    assert count_fields(message, 100) == fields


@settings(max_examples=200)
@given(st.binary(max_size=60), st.integers(0, 50))
def test_the_count_of_any_bytes_ends_as_soon_as_it_is_enough(message: bytes, enough: int) -> None:
    assert count_fields(message, enough) <= enough + 1 + len(message) // 10


@forms
def test_a_batch_of_a_newer_client_is_read_without_what_is_new(form: Any) -> None:
    """Field 15 of the batch, text."""
    assert ids(decoded(form(an_event("a")) + b"\x7a\x03new")) == ["a"]


def test_a_batch_of_nothing_has_no_events() -> None:
    number, events = decode_batch(b"", 100)

    assert (number, plain(events), list(events.indexes), events.refusals) == (0, [], [], ())


def test_an_arrow_batch_gives_its_number_and_its_stream() -> None:
    assert decode_arrow(ArrowBatch(batch_id=3, ipc_stream=b"\xff\x00").SerializeToString()) == (3, b"\xff\x00")
    with pytest.raises(BadRequest, match=r"not a penstock\.v1\.ArrowBatch"):
        decode_arrow(b"\x12\x05abc")


EVENTS = st.builds(
    Event,
    transaction_id=st.text(max_size=140),
    customer_id=st.text(max_size=10),
    event_type=st.text(max_size=10),
    time_us=st.integers(-(2**63), 2**63 - 1),
    properties_json=st.sampled_from([b"", b"{}", b'{"a":1}', b"{", b"NaN", b"\xff"]) | st.binary(max_size=20),
)


@settings(max_examples=150)
@given(st.lists(EVENTS, max_size=8))
def test_rows_and_columns_of_the_same_events_are_read_the_same(events: list[Event]) -> None:
    one, other = decoded(rows(*events)), decoded(columns(*events))

    assert plain(one) == plain(other)
    assert (list(one.indexes), one.refusals) == (list(other.indexes), other.refusals)
    assert sorted([*one.indexes, *(refusal.index for refusal in one.refusals)]) == list(range(len(events)))


@settings(max_examples=400)
@given(
    st.one_of(
        st.binary(max_size=200),
        st.builds(
            lambda batch, at, byte: batch[: at % len(batch)] + bytes([byte]) + batch[at % len(batch) + 1 :],
            st.sampled_from([rows(an_event("a"), an_event("b")), columns(an_event("a"), an_event("b"))]),
            st.integers(0, 500),
            st.integers(0, 255),
        ),
    )
)
def test_any_bytes_are_read_or_refused_by_name(body: bytes) -> None:
    try:
        events = decoded(body)
    except BadRequest:
        return
    assert sorted([*events.indexes, *(refusal.index for refusal in events.refusals)]) == list(
        range(len(ids(events)) + len(events.refusals))
    )
