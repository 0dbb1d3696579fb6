"""The one reader of properties: what counts as a number, a text, nothing, or makes the whole event bad."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from penstock.aggregator.extract import is_readable_name, read_properties

WIDEST = "9" * 26 + "." + "9" * 12


def number(text: bytes) -> Any:
    """The property `v` of one event as a number; None where it is none; `bad` where the event cannot be trusted."""
    read = read_properties([text], ("v",))
    read.mark_bad_numbers("v")
    if read.bad[0]:
        return "bad"
    numbers, is_number = read.numbers("v")
    return Decimal(numbers.tolist()[0]) if is_number[0] else None


def text(properties: bytes) -> str | None:
    return read_properties([properties], ("v",)).texts("v")[0]


@pytest.mark.parametrize(
    ("properties", "value"),
    [
        (b'{"v":0.1}', "0.1"),
        (b'{"v":1e3}', "1000"),
        (b'{"v":"1500"}', "1500"),
        (b'{"v":-0}', "0"),
        (b'{"v":1,"v":2}', "2"),
        (b'{"v":1,"\\u0076":3}', "3"),
        (b'{"x":{"v":9},"v":4}', "4"),
        (b'{"v":%s}' % WIDEST.encode(), WIDEST),
        (b'{"v":"-%s"}' % WIDEST.encode(), "-" + WIDEST),
        (b'{"v":12345678901234567890123456}', "12345678901234567890123456"),
        (b'{"v":1234567890123456.123456}', "1234567890123456.123456"),
    ],
)
def test_a_number_keeps_the_exact_value_of_its_text(properties: bytes, value: str) -> None:
    assert number(properties) == Decimal(value)


@pytest.mark.parametrize(
    "value", [b"true", b"null", b'"text"', b'""', b"[1]", b'{"a":1}', b'"NaN"', b'"0x10"', b'" 1"', b'"1_000"']
)
def test_what_is_no_number_is_none(value: bytes) -> None:
    assert number(b'{"v":%s}' % value) is None


@pytest.mark.parametrize(
    "value",
    [
        b"1e400",
        b"1" * 60,
        b"1" * 27,
        b"0.0000000000001",
        b'"1e400"',
        b'"%s"' % (b"1" * 27),
        b"1e99999999999999999999",
        b'"\xff"',
        b'"a\xc3"',
    ],
)
def test_a_number_out_of_range_or_invalid_utf8_makes_the_event_bad(value: bytes) -> None:
    assert number(b'{"v":%s}' % value) == "bad"


def test_one_bad_event_leaves_its_neighbours_readable() -> None:
    read = read_properties([b'{"v":1}', b'{"v":"\xff"}', b'{"v":1e400}', b'{"v":2.5}', b"not json"], ("v",))

    assert read.bad.tolist() == [False, True, True, False, True]
    numbers, _ = read.numbers("v")
    assert [numbers[0], numbers[3]] == [1, Decimal("2.5")]


def test_a_property_that_is_not_asked_for_is_not_judged() -> None:
    assert not read_properties([b'{"v":1,"other":"\xff","huge":1e400}'], ("v",)).bad[0]


@pytest.mark.parametrize(
    ("properties", "value"),
    [
        (b'{"v":"eu"}', "eu"),
        (b'{"v":1.0}', "1"),
        (b'{"v":1e2}', "100"),
        (b'{"v":-0.50}', "-0.5"),
        (b'{"v":true}', "true"),
        (b'{"v":"\\u00fc"}', "ü"),
        (b'{"v":""}', ""),
        (b'{"v":null}', None),
        (b"{}", None),
        (b'{"v":{"a":1}}', None),
    ],
)
def test_a_group_value_is_text_or_a_canonical_decimal(properties: bytes, value: str | None) -> None:
    assert text(properties) == value


def test_names_that_the_reader_cannot_ask_for_are_told() -> None:
    assert [is_readable_name(n) for n in ("tokens", "a.b", "ü", "", 'a"b', "a\\b", "a\nb")] == [True] * 3 + [False] * 4
