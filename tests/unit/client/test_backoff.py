"""How long a client waits before it tries again."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from penstock.client.backoff import Backoff, parse_retry_after

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)


def never() -> float:
    return 0.0


def almost_always() -> float:
    return 0.999


def test_waits_double_up_to_the_longest() -> None:
    backoff = Backoff(first_ms=100, longest_ms=1_000)

    assert [backoff.wait_s(n, None, never) for n in (1, 2, 3, 4, 5, 1_000_000)] == [0.05, 0.1, 0.2, 0.4, 0.5, 0.5]


def test_chance_spreads_a_wait_over_its_upper_half() -> None:
    assert Backoff(first_ms=1_000).wait_s(1, None, almost_always) == pytest.approx(0.9995)


def test_no_wait_is_shorter_than_the_server_asks() -> None:
    assert Backoff(first_ms=100).wait_s(1, 7, never) == 7
    assert Backoff(first_ms=100).wait_s(9, 7, almost_always) == pytest.approx(7.0999)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        (None, None),
        ("0", 0),
        (" 17 ", 17),
        ("99999", 3_600),
        ("9" * 5_000, 3_600),
        ("Sat, 31 Jan 2026 12:00:30 GMT", 30),
        ("Sat, 31 Jan 2026 12:00:30 -0000", 30),
        ("Sat, 31 Jan 2026 11:00:00 GMT", 0),
        ("Mon, 31 Jan 2028 12:00:00 GMT", 3_600),
        ("-5", None),
        ("soon", None),
    ],
)
def test_retry_after_is_read_as_seconds_or_as_a_date(text: str | None, seconds: int | None) -> None:
    assert parse_retry_after(text, NOW) == seconds
