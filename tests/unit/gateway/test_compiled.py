"""The compiled loops say what msgspec and hashlib say, or leave it to them."""

from __future__ import annotations

import json
import random
import threading
from collections.abc import Iterator
from hashlib import blake2b

import msgspec
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.gateway import loops, plain
from penstock.gateway.columns import Columns, cuts_of
from penstock.gateway.decode import decode
from penstock.gateway.identities import hash_column, identify_column
from penstock.gateway.loops import LOOPS, Loops
from penstock.gateway.plain import Envelopes, read_plain
from penstock.kernel.event import UsageEvent
from penstock.kernel.identity import hash_properties, identify

DECODER = msgspec.json.Decoder(list[UsageEvent])
EVENTS_MAX = 1_000
NAMES = ("transaction_id", "customer_id", "event_type", "timestamp", "properties")
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
PLAIN_TEXTS = st.text(st.characters(min_codepoint=32, max_codepoint=126, exclude_characters='"\\'), max_size=12)
NUMBERS = st.integers() | st.floats(allow_nan=False, allow_infinity=False)
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXTS,
    lambda each: st.lists(each, max_size=4) | st.dictionaries(TEXTS, each, max_size=4),
    max_leaves=8,
)
SPACES = st.text(" \t\r\n", max_size=2)


@pytest.fixture(autouse=True)
def compiled(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """With the loops, and for bodies of any size."""
    monkeypatch.setattr(plain, "BODY_BYTES_MIN", 0)
    LOOPS.load()
    yield
    LOOPS.compiled = None  # as other tests find it


@st.composite
def events(draw: st.DrawFn) -> str:
    """One event as text, its fields in any order, with spaces where JSON has them."""
    properties = draw(st.dictionaries(TEXTS, VALUES, max_size=4))
    fields = {name: json.dumps(draw(PLAIN_TEXTS)) for name in NAMES[:-1]}
    fields["properties"] = json.dumps(properties, ensure_ascii=draw(st.booleans()))
    pairs = [f'{draw(SPACES)}"{name}"{draw(SPACES)}:{draw(SPACES)}{fields[name]}{draw(SPACES)}' for name in fields]
    return "{" + ",".join(draw(st.permutations(pairs))) + "}"


BODIES = st.builds(
    lambda space, each: f"{space}[{(space + ',' + space).join(each)}{space}]".encode(),
    SPACES,
    st.lists(events(), min_size=1, max_size=4),
)


def columns_of(body: bytes) -> Columns:
    return Columns.of(DECODER.decode(body))


def assert_same(read: Envelopes, body: bytes) -> None:
    """Column for column what msgspec's events become."""
    ours, theirs = Columns.of_envelopes([read]), columns_of(body)
    for name in ("transaction_ids", "customers", "event_types", "properties"):
        assert getattr(ours, name).to_pylist() == getattr(theirs, name).to_pylist(), name
    assert ours.times_us.tolist() == theirs.times_us.tolist()
    assert ours.bad_times == theirs.bad_times


@given(BODIES)
@settings(max_examples=150)
def test_a_body_of_plain_events_is_read_as_msgspec_reads_it(body: bytes) -> None:
    read = read_plain(body, EVENTS_MAX)

    if read is None:  # half a surrogate pair, or its first half, is left to msgspec
        assert b"\\ud" in body.lower()
    else:
        assert_same(read, body)


@given(BODIES, st.data())
@settings(max_examples=300)
def test_whatever_is_broken_in_a_body_nothing_is_read_that_msgspec_refuses(body: bytes, data: st.DataObject) -> None:
    broken = bytearray(body)
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(broken) - 1))
        broken[at : at + data.draw(st.integers(0, 2))] = data.draw(
            st.sampled_from(list(b'{}[]",:\\\x00 0e.-tu\xff')).map(lambda byte: bytes([byte]))
        )

    read = read_plain(bytes(broken), EVENTS_MAX)

    if read is not None:
        assert_same(read, bytes(broken))  # msgspec raises where it refuses


def an_event(properties: str = "{}", **changed: str) -> str:
    fields = {name: f'"{name[:3]}"' for name in NAMES[:-1]} | {"properties": properties} | changed
    return "{" + ",".join(f'"{name}":{text}' for name, text in fields.items()) + "}"


@pytest.mark.parametrize(
    "properties",
    [
        "{}",
        '{"a":[]}',
        '{"a":[1,[2,{"b":null}],true,false]}',
        '{"a":-0.5e+10,"b":0,"c":1E5}',
        r'{"a":"\"\\\/\b\f\n\r\tA"}',
        '{"a":"\x7f\u00e9\u65e5"}',
        '{"a":1,"a":2}',
        "[1]",
        '"text"',
        "5",
        "null",
    ],
)
def test_any_value_of_json_is_plain(properties: str) -> None:
    body = f"[{an_event(properties)}]".encode()

    read = read_plain(body, EVENTS_MAX)

    assert read is not None
    assert_same(read, body)


@pytest.mark.parametrize(
    "body",
    [
        "",
        "[",
        "[]",
        "{}",
        an_event(),
        f"[{an_event()}",
        f"[{an_event()}] x",
        f"[{an_event()},]",
        f"[{an_event()}]\x00",
        f"[{an_event(transaction_id='5')}]",
        f"[{an_event(customer_id='null')}]",
        f"[{an_event(extra='1')}]",
        f'[{an_event()[:-1]},"customer_id":"again"}}]',
        f"[{an_event(event_type=chr(34) + chr(233) + chr(34))}]",
        f"[{an_event(event_type=chr(34) + chr(92) + 'n' + chr(34))}]",
        '[{"transaction_id":"a","customer_id":"b","event_type":"c","timestamp":"d"}]',
        *(
            f"[{an_event(bad)}]"
            for bad in ("", "tru", "nulll", "01", "1.", ".5", "+5", "-", "1e", '"', '{"a"}', "{1:2}")
        ),
        *(f"[{an_event(bad)}]" for bad in ('{"a":1,}', "[1,]", "[1 2]", "[}", "{]", r'"\x"', r'"\u12"', r'"\ud83d"')),
        f"[{an_event('[' * 63 + ']' * 63)}]",
    ],
)
def test_what_is_not_plain_is_left_to_the_other_reader(body: str) -> None:
    assert read_plain(body.encode(), EVENTS_MAX) is None


def test_more_events_than_a_request_may_have_are_left_to_the_other_reader() -> None:
    body = f"[{','.join([an_event()] * 4)}]".encode()

    assert read_plain(body, 3) is None
    assert len(read_plain(body, 4) or ()) == 4


def test_a_small_body_is_not_worth_the_call(monkeypatch: pytest.MonkeyPatch) -> None:
    body = f"[{an_event()}]".encode()
    monkeypatch.setattr(plain, "BODY_BYTES_MIN", len(body) + 1)

    assert isinstance(decode(body, 1, 1_000).events, list)


def test_events_of_several_bodies_are_put_together_in_order() -> None:
    names = [f"{letter}-{number}" for letter in "abc" for number in range(3)]
    events = [an_event(transaction_id=json.dumps(name)) for name in names]
    bodies = [f"[{','.join(events[start : start + 3])}]" for start in (0, 3, 6)]
    read = [each for body in bodies if (each := read_plain(body.encode(), EVENTS_MAX)) is not None]

    columns = Columns.of_envelopes(read)

    assert columns.transaction_ids.to_pylist() == names


@given(
    st.lists(st.text(max_size=300), min_size=1, max_size=20),
    st.text(min_size=1, max_size=140),
    st.binary(min_size=1, max_size=64),
)
@settings(max_examples=100)
def test_identities_are_those_of_hashlib(ids: list[str], tenant: str, key: bytes) -> None:
    texts = [text.encode(errors="replace").decode() for text in ids]
    tenant = tenant.encode(errors="replace").decode()

    found = identify_column(key, tenant, pa.array(texts, pa.string()))

    assert np.array_equal(found, identify(key, tenant, texts))


def test_a_slice_of_a_column_has_the_identities_of_its_own_ids() -> None:
    ids = pa.array([f"id-{n}" for n in range(10)])

    assert np.array_equal(identify_column(b"k" * 32, "t", ids[4:7]), identify(b"k" * 32, "t", ["id-4", "id-5", "id-6"]))


def test_texts_of_every_length_around_a_block_have_their_digest() -> None:
    for size in range(300):
        text = random.Random(size).randbytes(size).hex()[:size]
        expected = blake2b(b"\0\0\0\1t" + text.encode(), digest_size=16, key=b"k").digest()

        assert identify_column(b"k", "t", pa.array([text])).tobytes() == expected


@given(st.lists(st.binary(max_size=200), max_size=20))
@settings(max_examples=100)
def test_hashes_are_those_of_xxhash(texts: list[bytes]) -> None:
    assert np.array_equal(hash_column(pa.array(texts, pa.binary())), hash_properties(texts))


def test_texts_of_every_length_around_a_stripe_have_their_hash() -> None:
    texts = [random.Random(size).randbytes(size) for size in range(100)]

    assert np.array_equal(hash_column(pa.array(texts, pa.binary())[7:]), hash_properties(texts[7:]))


def values(*texts: bytes) -> bool:
    cuts = cuts_of(pa.array(texts, pa.binary()))
    assert cuts is not None
    return LOOPS.load().values(*cuts)


def test_a_column_of_json_values_is_known_as_one() -> None:
    assert values(b'{"a": [1, "\\u00e9"]}', b"[]", b"true", b'"b"', b"{}")


@pytest.mark.parametrize("texts", [b" {}", b"{} ", b"", b"{|}", b"{},{}", b"tru|e", b'{"a"|:1}', b'"a|b"', b"nul"])
def test_texts_that_are_values_only_together_are_not(texts: bytes) -> None:
    assert not values(b"{}", *texts.split(b"|"), b"{}")


def test_numbers_side_by_side_are_left_to_the_other_reader() -> None:
    assert not values(b"12", b"3")


def test_a_gateway_compiles_when_it_has_seen_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    of_this_test = Loops()
    loaded = threading.Event()
    monkeypatch.setattr(of_this_test, "load", loaded.set)

    of_this_test.seen(10)  # not told yet
    of_this_test.load_after(100)
    of_this_test.seen(99)
    assert not [thread for thread in threading.enumerate() if thread.name == loops.THREAD_NAME]
    of_this_test.seen(1)

    assert loaded.wait(60)
