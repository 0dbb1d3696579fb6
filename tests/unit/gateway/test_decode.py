"""From bytes to events: one bad element never sinks the others, whatever it is."""

from __future__ import annotations

import itertools
import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.gateway.brackets import element_edges, nesting
from penstock.gateway.decode import Decoded, decode
from penstock.kernel.event import UsageEvent
from penstock.kernel.problems import BadRequest, TooLarge
from unit.gateway.givens import a_body, an_event

GOOD = json.dumps(an_event("good")).encode()


def decoded(body: bytes) -> Decoded:
    return decode(body, 10_000, 1 << 25)


def events_of(got: Decoded) -> list[UsageEvent]:
    assert isinstance(got.events, list)
    return got.events


def test_an_array_gives_its_events_in_order() -> None:
    got = decoded(a_body(an_event("a"), an_event("b", properties={"x": [1, "2"]})))
    assert [event.transaction_id for event in events_of(got)] == ["a", "b"]
    assert bytes(events_of(got)[1].properties) == b'{"x": [1, "2"]}'
    assert list(got.indexes) == [0, 1]
    assert got.refusals == ()


def test_one_object_is_an_array_of_one() -> None:
    assert [event.transaction_id for event in events_of(decoded(b" \n" + GOOD + b"\n"))] == ["good"]
    assert decoded(b'{"transaction_id": 1}').refusals[0].reason == "Expected `str`, got `int` - at `$.transaction_id`"


def test_an_event_may_have_no_properties() -> None:
    assert bytes(events_of(decoded(a_body(an_event(properties=None))))[0].properties) == b"{}"


@pytest.mark.parametrize("body", [b"[]", b" [ ] "])
def test_no_events_are_no_error(body: bytes) -> None:
    assert decoded(body) == Decoded([], range(0))


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"   ",
        b"null",
        b"7",
        b'"text"',
        b"[",
        b"]",
        b"][",
        b"[" + GOOD,
        GOOD + b"]",
        b"[" + GOOD + b"]]",
        b"[" + GOOD + b"] trailing",
        b"leading [" + GOOD + b"]",
        b"[" + GOOD + b"][" + GOOD + b"]",
        b'["unfinished]',
        b"\xff\xfe[]",
        b"<events/>",
    ],
)
def test_what_is_no_array_of_elements_is_a_bad_request(body: bytes) -> None:
    with pytest.raises(BadRequest, match="not a JSON array of events"):
        decoded(body)


@pytest.mark.parametrize(
    ("element", "reason"),
    [
        (b'{"customer_id": "c", "event_type": "e", "timestamp": "t"}', "missing required field `transaction_id`"),
        (GOOD.replace(b"12", b"NaN"), "malformed: invalid character"),
        (GOOD.replace(b"12", b"Infinity"), "malformed: invalid character"),
        (GOOD.replace(b"12", b"-Infinity"), "malformed: invalid"),
        (GOOD.replace(b"12", b"01"), "malformed: invalid number"),
        (GOOD.replace(b'"good"', b"17"), "Expected `str`, got `int`"),
        (GOOD.replace(b'"good"', b"null"), "Expected `str`, got `null`"),
        (GOOD.replace(b"good", b"\xff"), "'utf-8' codec can't decode"),
        (GOOD.replace(b"good", b"\\udc00"), "invalid utf-16 surrogate pair"),
        (GOOD.replace(b"good", b"\\ud800 "), "malformed"),
        (GOOD.replace(b"12", b"[" * 100_000 + b"]" * 100_000), "nested more than 64 levels deep"),
        (GOOD.replace(b"12", b'"brackets ]}\\"]}, in a string", "y": NaN'), "malformed: invalid character"),
        (b"7", "Expected `object`, got `int`"),
        (b'"text"', "Expected `object`, got `str`"),
        (b"null", "Expected `object`, got `null`"),
        (b"[]", "Expected `object`, got `array`"),
        (b"", "truncated"),
        (b"{} {}", "missing required field"),
        (b"{,}", "malformed"),
    ],
)
def test_a_bad_element_is_refused_by_index_and_the_others_are_decoded(element: bytes, reason: str) -> None:
    got = decoded(b"[" + b", ".join([GOOD, element, GOOD.replace(b"good", b"also")]) + b"]")
    assert [event.transaction_id for event in events_of(got)] == ["good", "also"]
    assert list(got.indexes) == [0, 2]
    assert [(refusal.index, refusal.transaction_id) for refusal in got.refusals] == [(1, None)]
    assert re.search(re.escape(reason), got.refusals[0].reason)


@pytest.mark.parametrize("element", [GOOD, b"{}", b"NaN"])
def test_more_events_than_the_limit_are_refused_whole(element: bytes) -> None:
    body = b"[" + b",".join([element] * 11) + b"]"
    with pytest.raises(BadRequest, match="has 11 events, at most 10 are taken"):
        decode(body, 10, 1 << 20)


def test_a_body_over_its_limit_is_too_large() -> None:
    with pytest.raises(TooLarge, match="has 101 bytes, at most 100"):
        decode(b" " * 101, 10, 100)


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.text(st.characters(exclude_categories=["Cs"]) | st.sampled_from('\\"[]{},')),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text('\\"[]{},a', max_size=3), inner, max_size=4),
    max_leaves=20,
)


@given(st.lists(JSON, max_size=6), st.booleans(), st.sampled_from([None, 2]))
def test_an_array_is_cut_where_json_says(values: list[object], ascii_only: bool, indent: int | None) -> None:
    body = json.dumps(values, ensure_ascii=ascii_only, indent=indent).encode()
    edges = element_edges(body)
    assert edges is not None
    assert [json.loads(body[a + 1 : b]) for a, b in itertools.pairwise(edges.tolist())] == values


def depth_of(value: object) -> int:
    if isinstance(value, dict):
        return 1 + max(map(depth_of, value.values()), default=0)
    return 1 + max(map(depth_of, value), default=0) if isinstance(value, list) else 0


@given(JSON)
def test_nesting_counts_brackets_outside_of_strings(value: object) -> None:
    assert nesting(json.dumps(value).encode()) == depth_of(value)
