"""What callers make up: cursors, limits and instants outside every range are 400, never 500."""

from __future__ import annotations

import base64
from datetime import UTC, datetime, timedelta, timezone

import pytest

from penstock.kernel.problems import BadRequest
from penstock.web.instant import EARLIEST, FOREVER, as_utc, parse_instant
from penstock.web.page import decode_cursor, encode_cursor
from penstock.web.route import Principal, Request


@pytest.mark.parametrize("text", ["1" * 23, "-1", "nonsense", "1.5", ""])
def test_a_cursor_that_was_never_given_out_is_refused(text: str) -> None:
    made_up = base64.urlsafe_b64encode(text.encode()).decode() or "!"
    with pytest.raises(BadRequest, match="next_page"):
        decode_cursor(made_up)


def test_a_cursor_comes_back_as_it_was_given() -> None:
    assert [decode_cursor(encode_cursor(n)) for n in (1, 2**62)] == [1, 2**62]
    assert decode_cursor(None) == decode_cursor("") == 0


@pytest.mark.parametrize("limit", ["0", "101", "-1", "9" * 5_000, "ten", "", "1e1"])
def test_a_limit_outside_its_range_is_refused(limit: str) -> None:
    request = Request(Principal("acme", "key", frozenset()), {}, {"limit": limit}, b"")
    with pytest.raises(BadRequest, match="limit"):
        request.limit(10, 100)


def test_an_instant_is_in_utc_and_for_ever_has_room_above_it() -> None:
    east = timezone(timedelta(hours=14))
    noon = datetime(2026, 3, 1, 12, tzinfo=east)

    assert as_utc(noon, "at") == noon
    assert as_utc(noon, "at").tzinfo is UTC
    assert parse_instant("9999-12-31T23:59:59-14:00", "at") == FOREVER
    assert as_utc(EARLIEST, "at") == EARLIEST


@pytest.mark.parametrize(
    "text", ["0001-01-01T00:00:00+14:00", "1999-12-31T23:59:59Z", "2026-03-01T12:00:00", "yesterday", ""]
)
def test_an_instant_without_a_zone_or_before_our_time_is_refused_by_name(text: str) -> None:
    with pytest.raises(BadRequest, match="at "):
        parse_instant(text, "at")
