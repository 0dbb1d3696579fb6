"""Timestamps: what is taken, what is refused and why, and that the column reader and the single one agree."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta, timezone

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.gateway.timestamps import LEAP_SECOND, NO_ZONE, NOT_RFC_3339, parse_time, parse_times
from penstock.kernel.window import to_us

NOON_US = 1_782_907_200_000_000


def column_of(texts: Sequence[str]) -> pa.StringArray:
    return pa.array(texts, pa.string())


@pytest.mark.parametrize(
    ("text", "expected_us"),
    [
        ("2026-07-01T12:00:00Z", NOON_US),
        ("2026-07-01T12:00:00+00:00", NOON_US),
        ("2026-07-01T12:00:00-00:00", NOON_US),
        ("2026-07-01T17:30:00+05:30", NOON_US),
        ("2026-07-01T02:15:00-09:45", NOON_US),
        ("2026-07-01T12:00:00.5Z", NOON_US + 500_000),
        ("2026-07-01T12:00:00.000001Z", NOON_US + 1),
        ("2026-07-01T12:00:00.123456789Z", NOON_US + 123_456),
        ("2026-07-01T12:00:00.9999999+00:00", NOON_US + 999_999),
        ("2026-07-01 12:00:00Z", NOON_US),
        ("2026-07-01t12:00:00z", NOON_US),
        ("1969-12-31T23:59:59.9999999Z", -1),
        ("0001-01-01T00:00:00Z", -62_135_596_800_000_000),
        ("9999-12-31T23:59:59Z", 253_402_300_799_000_000),
    ],
)
def test_an_rfc_3339_instant_is_read_to_the_microsecond(text: str, expected_us: int) -> None:
    times, reasons = parse_times(column_of([text]))
    assert (times.tolist(), reasons) == ([expected_us], {})
    assert parse_time(text) == expected_us


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("2026-07-01T12:00:00", NO_ZONE),
        ("2026-07-01T12:00:00.25", NO_ZONE),
        ("2026-06-30T23:59:60Z", LEAP_SECOND),
        ("2026-07-01", NOT_RFC_3339),
        ("2026-07-01T12:00Z", NOT_RFC_3339),
        ("2026-07-01T12:00:00+0530", NOT_RFC_3339),
        ("2026-07-01T12:00:00+05", NOT_RFC_3339),
        ("2026-07-01T12:00:00+24:00", NOT_RFC_3339),
        ("2026-07-01T12:00:00+05:60", NOT_RFC_3339),
        ("2026-07-01T12:00:00.Z", NOT_RFC_3339),
        ("2026-07-01T12:00:00.1234567890Z", NOT_RFC_3339),
        ("2026-07-01T12:00:00,5Z", NOT_RFC_3339),
        ("2026-07-01T24:00:00Z", NOT_RFC_3339),
        ("2026-02-29T12:00:00Z", NOT_RFC_3339),
        ("2026-13-01T12:00:00Z", NOT_RFC_3339),
        ("0000-01-01T00:00:00Z", NOT_RFC_3339),
        (" 2026-07-01T12:00:00Z", NOT_RFC_3339),
        ("2026-07-01T12:00:00Z\n", NOT_RFC_3339),
        ("٢026-07-01T12:00:00Z", NOT_RFC_3339),
        ("1782907200", NOT_RFC_3339),
        ("yesterday", NOT_RFC_3339),
        ("", NOT_RFC_3339),
    ],
)
def test_anything_else_is_refused_with_its_reason_and_its_neighbours_are_read(text: str, reason: str) -> None:
    column = ["2026-07-01T12:00:00Z"] * 500
    column[321] = text
    times, reasons = parse_times(column_of(column))
    assert reasons == {321: reason}
    assert times.tolist() == [NOON_US] * 321 + [0] + [NOON_US] * 178


@given(
    st.lists(
        st.tuples(
            st.datetimes(datetime(1900, 1, 2), datetime(2200, 1, 1)),  # noqa: DTZ001  # the zone is drawn beside it
            st.integers(-23 * 60 - 59, 23 * 60 + 59),
        ),
        min_size=1,
        max_size=150,
    )
)
def test_a_column_is_read_as_its_rows_are_one_by_one(drawn: list[tuple[datetime, int]]) -> None:
    instants = [local.replace(tzinfo=timezone(timedelta(minutes=minutes))) for local, minutes in drawn]
    texts = [instant.isoformat() for instant in instants]
    times, reasons = parse_times(column_of(texts))
    assert reasons == {}
    assert times.tolist() == [to_us(instant.astimezone(UTC)) for instant in instants]
    assert times.tolist() == [parse_time(text) for text in texts]


def test_no_timestamps_are_no_times() -> None:
    times, reasons = parse_times(column_of([]))
    assert (times.tolist(), reasons) == ([], {})
