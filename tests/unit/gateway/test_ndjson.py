"""Newline-delimited JSON: a line is an event, whatever stands in the lines around it."""

from __future__ import annotations

import json

import pytest

from penstock.gateway.decode import Decoded
from penstock.gateway.ndjson import decode_ndjson
from penstock.kernel.problems import BadRequest, TooLarge
from unit.gateway.givens import an_event


def line(transaction_id: str) -> bytes:
    return json.dumps(an_event(transaction_id)).encode()


def decoded(body: bytes, events_max: int = 100) -> Decoded:
    return decode_ndjson(body, events_max, 1 << 20)


def ids(got: Decoded) -> list[str]:
    assert isinstance(got.events, list)
    return [event.transaction_id for event in got.events]


A, B = line("a"), line("b")


@pytest.mark.parametrize(
    "body",
    [
        A + b"\n" + B,
        A + b"\n" + B + b"\n",
        A + b"\r\n" + B + b"\r\n",
        b"\n\n" + A + b"\n  \n\t\n" + B + b"\n\n",
        b"  " + A + b"  \n" + B,
    ],
)
def test_each_line_that_is_not_blank_is_an_event(body: bytes) -> None:
    got = decoded(body)
    assert ids(got) == ["a", "b"]
    assert (list(got.indexes), got.refusals) == ([0, 1], ())


@pytest.mark.parametrize("body", [b"", b"\n", b" \r\n\n  "])
def test_no_lines_are_no_events(body: bytes) -> None:
    got = decoded(body)
    assert (ids(got), got.refusals) == ([], ())


@pytest.mark.parametrize(
    "bad",
    [
        b"nonsense",
        b"{",
        A[:-5],
        b"[" + A + b"]",
        b"{}",
        A + A,
        A + b" " + A,
        b"\xff\xfe",
        A.replace(b"12", b"NaN"),
        A.replace(b"12", b"[" * 100_000 + b"]" * 100_000),
        b'"text"',
        b"null",
    ],
)
def test_a_bad_line_is_refused_by_its_number_and_its_neighbours_are_taken(bad: bytes) -> None:
    got = decoded(b"\n".join([A, b"", bad, B]))
    assert ids(got) == ["a", "b"]
    assert list(got.indexes) == [0, 2]
    assert [refusal.index for refusal in got.refusals] == [1]
    assert got.refusals[0].reason


def test_an_event_on_two_lines_is_two_bad_lines() -> None:
    got = decoded(json.dumps(an_event("a"), indent=1).encode() + b"\n" + B)
    assert ids(got) == ["b"]
    assert len(got.refusals) == 9


def test_more_events_than_the_limit_are_refused_whole() -> None:
    with pytest.raises(BadRequest, match="has 11 events, at most 10"):
        decoded(b"\n".join([A] * 11), 10)
    with pytest.raises(BadRequest, match="has 11 events, at most 10"):
        decoded(b"\n".join([b"bad"] * 11), 10)
    assert len(decoded(b"\n".join([A] * 10), 10).events) == 10


def test_a_body_of_newlines_is_refused_before_it_is_walked() -> None:
    with pytest.raises(BadRequest, match="has 101 lines"):
        decoded(b"\n" * 101, 10)


def test_a_body_over_its_limit_is_too_large() -> None:
    with pytest.raises(TooLarge):
        decode_ndjson(b" " * 101, 10, 100)
