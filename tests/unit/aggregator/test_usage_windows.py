"""The windows of a usage query, where clocks change and where zones are not whole hours from UTC."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo, available_timezones

import pytest

from penstock.aggregator.usage_windows import WINDOWS_MAX, known_zone, month_of, windows
from penstock.kernel.problems import BadRequest
from penstock.kernel.window import Span, WindowSize

BERLIN = "Europe/Berlin"


def at(text: str, zone: str = "UTC") -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).astimezone(UTC)


def starts(spans: tuple[Span, ...], zone: str = "UTC") -> list[str]:
    return [span.start.astimezone(ZoneInfo(zone)).strftime("%m-%d %H:%M") for span in spans]


@pytest.mark.parametrize("size", WindowSize)
@pytest.mark.parametrize("zone", ["UTC", BERLIN, "Asia/Kathmandu", "America/Sao_Paulo", "Australia/Lord_Howe"])
def test_windows_cover_the_span_without_gap_or_overlap(size: WindowSize, zone: str) -> None:
    start, end = at("2026-03-27T05:07"), at("2026-04-12T00:01")

    spans = windows(start, end, size, zone)

    assert (spans[0].start, spans[-1].end) == (start, end)
    assert all(a.end == b.start for a, b in pairwise(spans))


def test_days_follow_the_clock_of_the_zone_through_its_changes() -> None:
    spring = windows(at("2026-03-28T00:00", BERLIN), at("2026-03-31T00:00", BERLIN), WindowSize.DAY, BERLIN)
    autumn = windows(at("2026-10-25T00:00", BERLIN), at("2026-10-26T00:00", BERLIN), WindowSize.DAY, BERLIN)

    assert [span.end - span.start for span in spring] == [timedelta(hours=h) for h in (24, 23, 24)]
    assert [span.end - span.start for span in autumn] == [timedelta(hours=25)]


def test_a_day_without_a_midnight_does_not_move_the_days_after_it() -> None:
    """In São Paulo the clocks went from 00:00 to 01:00 on 4 November 2018."""
    zone = "America/Sao_Paulo"
    spans = windows(at("2018-11-03T12:00", zone), at("2018-11-06T12:00", zone), WindowSize.DAY, zone)

    assert starts(spans, zone) == ["11-03 12:00", "11-04 01:00", "11-05 00:00", "11-06 00:00"]


def test_hours_and_months_begin_where_the_zone_says() -> None:
    zone = "Asia/Kathmandu"  # 5:45 ahead
    hours = windows(at("2026-01-01T00:00"), at("2026-01-01T02:00"), WindowSize.HOUR, zone)
    months = windows(at("2026-01-31T18:15"), at("2026-03-01T00:00"), WindowSize.MONTH, zone)

    assert starts(hours) == ["01-01 00:00", "01-01 00:15", "01-01 01:15"]
    assert starts(months, zone) == ["02-01 00:00", "03-01 00:00"]
    february = Span(at("2026-02-01T00:00", BERLIN), at("2026-03-01T00:00", BERLIN))
    assert month_of(at("2026-01-31T23:30"), BERLIN) == february


def test_quarters_are_the_cells_windows() -> None:
    spans = windows(at("2026-01-01T00:07"), at("2026-01-01T00:46"), WindowSize.QUARTER)

    assert starts(spans) == ["01-01 00:07", "01-01 00:15", "01-01 00:30", "01-01 00:45"]


def test_every_zone_has_the_midnight_from_which_days_are_counted() -> None:
    first = datetime(2000, 1, 1)  # noqa: DTZ001 - local
    for name in available_timezones() - {"localtime"}:
        zone = ZoneInfo(name)
        there = first.replace(tzinfo=zone).astimezone(UTC).astimezone(zone).replace(tzinfo=None)
        assert there == first, name


@pytest.mark.parametrize("name", ["", "Berlin", "Europe", "../UTC", "/etc/passwd", "Europe/Berlin\0", "x" * 5_000])
def test_a_name_that_is_no_zone_is_refused(name: str) -> None:
    with pytest.raises(BadRequest) as refused:
        known_zone(name)
    assert refused.value.field == "time_zone"


@pytest.mark.parametrize("size", [WindowSize.QUARTER, WindowSize.HOUR, WindowSize.DAY, WindowSize.MONTH])
def test_too_many_windows_and_spans_without_length_are_refused(size: WindowSize) -> None:
    start, end = at("2000-01-01T00:00"), datetime(9999, 1, 1, tzinfo=UTC)

    for until in (end, start):
        with pytest.raises(BadRequest) as refused:
            windows(start, until, size)
        assert refused.value.field == "ending_before"
    assert len(windows(start, start + (WINDOWS_MAX - 1) * timedelta(hours=1), WindowSize.HOUR)) == WINDOWS_MAX - 1
