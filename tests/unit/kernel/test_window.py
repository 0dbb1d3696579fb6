"""Periods are half-open, follow the local calendar through DST and short months, and tile time without a gap."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.kernel.window import BASE_WINDOW_US, Cadence, Calendar, Span, from_us, to_us

ZONES = ["UTC", "America/New_York", "Asia/Kathmandu", "Asia/Kolkata", "Australia/Lord_Howe", "Europe/Berlin"]
STEP = {
    Cadence.HOUR: timedelta(hours=1),
    Cadence.DAY: timedelta(days=1),
    Cadence.WEEK: timedelta(weeks=1),
    Cadence.MONTH: timedelta(days=30),
    Cadence.YEAR: timedelta(days=365),
}
INSTANTS = st.datetimes(datetime(2000, 1, 1), datetime(2040, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001  # Hypothesis wants naive bounds
CALENDARS = st.builds(
    Calendar, anchor=INSTANTS, unit=st.sampled_from(Cadence), count=st.integers(1, 4), zone=st.sampled_from(ZONES)
)


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def local(text: str, zone: str, fold: int = 0) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone), fold=fold).astimezone(UTC)


def span(start: str, end: str) -> Span:
    return Span(utc(start), utc(end))


def starts(calendar: Calendar, count: int) -> list[str]:
    """The first boundaries, as local time with its offset."""
    return [calendar.boundary(n).astimezone(ZoneInfo(calendar.zone)).isoformat() for n in range(count)]


def test_microseconds_and_instants_are_the_same_thing() -> None:
    assert to_us(utc("1970-01-01T00:00:00.000001")) == 1
    assert to_us(utc("1969-12-31T23:59:59.999999")) == -1
    assert to_us(datetime(2026, 3, 1, 5, 45, tzinfo=timezone(timedelta(hours=5, minutes=45)))) == 1_772_323_200_000_000
    assert from_us(1_772_323_200_000_000) == utc("2026-03-01")
    assert from_us(-1).tzinfo is UTC


def test_an_instant_without_a_zone_is_a_bug() -> None:
    with pytest.raises(AssertionError, match="zone"):
        to_us(datetime(2026, 3, 1))  # noqa: DTZ001  # the naive instant is what is refused


@given(INSTANTS)
def test_no_microsecond_is_lost(instant: datetime) -> None:
    assert from_us(to_us(instant)) == instant


def test_a_span_holds_its_start_and_not_its_end() -> None:
    day = span("2026-03-01", "2026-03-02")

    assert utc("2026-03-01") in day
    assert utc("2026-03-01T23:59:59.999999") in day
    assert utc("2026-03-02") not in day
    assert utc("2026-02-28T23:59:59.999999") not in day


def test_spans_that_only_touch_do_not_meet() -> None:
    day = span("2026-03-01", "2026-03-02")

    assert day.clip(span("2026-03-02", "2026-03-03")) is None
    assert day.clip(span("2026-02-01", "2026-03-01T06:00")) == span("2026-03-01", "2026-03-01T06:00")
    assert day.clip(span("2026-01-01", "2027-01-01")) == day


def test_a_span_is_cut_at_the_instants_inside_it() -> None:
    day = span("2026-03-01", "2026-03-02")
    cuts = {utc("2026-03-01T18:00"), utc("2026-03-01T06:00"), utc("2026-03-01"), utc("2026-03-02"), utc("2026-04-01")}

    assert day.cut(cuts) == [
        span("2026-03-01T00:00", "2026-03-01T06:00"),
        span("2026-03-01T06:00", "2026-03-01T18:00"),
        span("2026-03-01T18:00", "2026-03-02T00:00"),
    ]
    assert day.cut(set()) == [day]


def test_months_from_the_31st_end_on_the_last_day_and_the_31st_comes_back() -> None:
    assert starts(Calendar(utc("2026-01-31")), 6) == [
        "2026-01-31T00:00:00+00:00",
        "2026-02-28T00:00:00+00:00",
        "2026-03-31T00:00:00+00:00",
        "2026-04-30T00:00:00+00:00",
        "2026-05-31T00:00:00+00:00",
        "2026-06-30T00:00:00+00:00",
    ]


def test_years_from_29_february_come_back_to_it_in_leap_years() -> None:
    assert starts(Calendar(utc("2024-02-29"), Cadence.YEAR), 5) == [
        "2024-02-29T00:00:00+00:00",
        "2025-02-28T00:00:00+00:00",
        "2026-02-28T00:00:00+00:00",
        "2027-02-28T00:00:00+00:00",
        "2028-02-29T00:00:00+00:00",
    ]


def test_quarters_and_half_weeks_are_counts_of_a_unit() -> None:
    assert starts(Calendar(utc("2025-11-30"), Cadence.MONTH, 3), 3) == [
        "2025-11-30T00:00:00+00:00",
        "2026-02-28T00:00:00+00:00",
        "2026-05-30T00:00:00+00:00",
    ]
    assert starts(Calendar(utc("2026-03-01"), Cadence.WEEK, 2), 2)[1] == "2026-03-15T00:00:00+00:00"


def test_a_day_in_new_york_has_23_hours_when_summer_time_begins_and_25_when_it_ends() -> None:
    spring = Calendar(local("2026-03-07", "America/New_York"), Cadence.DAY, 1, "America/New_York")
    autumn = Calendar(local("2026-10-31", "America/New_York"), Cadence.DAY, 1, "America/New_York")

    assert spring.period_of(utc("2026-03-08T12:00")) == span("2026-03-08T05:00", "2026-03-09T04:00")
    assert autumn.period_of(utc("2026-11-01T12:00")) == span("2026-11-01T04:00", "2026-11-02T05:00")


def test_hours_are_absolute_through_summer_time() -> None:
    calendar = Calendar(local("2026-03-08T00:30", "America/New_York"), Cadence.HOUR, 1, "America/New_York")

    assert starts(calendar, 4) == [
        "2026-03-08T00:30:00-05:00",
        "2026-03-08T01:30:00-05:00",
        "2026-03-08T03:30:00-04:00",
        "2026-03-08T04:30:00-04:00",
    ]


def test_an_anchor_in_the_hour_that_is_skipped_falls_after_it() -> None:
    calendar = Calendar(local("2026-03-07T02:30", "America/New_York"), Cadence.DAY, 1, "America/New_York")

    assert starts(calendar, 3) == [
        "2026-03-07T02:30:00-05:00",
        "2026-03-08T03:30:00-04:00",
        "2026-03-09T02:30:00-04:00",
    ]


@pytest.mark.parametrize("unit", [Cadence.DAY, Cadence.WEEK, Cadence.MONTH, Cadence.YEAR])
@pytest.mark.parametrize("fold", [0, 1])
def test_an_anchor_in_the_hour_that_comes_twice_is_the_start_of_period_zero(unit: Cadence, fold: int) -> None:
    anchor = local("2026-11-01T01:30", "America/New_York", fold)
    calendar = Calendar(anchor, unit, 1, "America/New_York")

    assert calendar.boundary(0) == anchor
    assert calendar.index_of(anchor) == 0


def test_days_in_kathmandu_begin_at_a_quarter_past_six_utc_and_are_whole_windows() -> None:
    calendar = Calendar(local("2026-03-01", "Asia/Kathmandu"), Cadence.DAY, 1, "Asia/Kathmandu")

    assert calendar.period_of(utc("2026-03-01T12:00")) == span("2026-02-28T18:15", "2026-03-01T18:15")
    assert all(to_us(calendar.boundary(n)) % BASE_WINDOW_US == 0 for n in range(-400, 400))


def test_periods_before_the_anchor_have_negative_indices() -> None:
    calendar = Calendar(utc("2026-03-31"))

    assert calendar.index_of(utc("2026-03-30")) == -1
    assert calendar.period_of(utc("2026-03-30")) == span("2026-02-28", "2026-03-31")
    assert calendar.index_of(utc("2024-03-30")) == -25


def test_periods_are_clipped_to_the_span_asked() -> None:
    calendar = Calendar(utc("2026-01-15"))

    assert calendar.periods(span("2026-02-01", "2026-03-20")) == [
        span("2026-02-01", "2026-02-15"),
        span("2026-02-15", "2026-03-15"),
        span("2026-03-15", "2026-03-20"),
    ]
    assert calendar.periods(span("2026-02-15", "2026-03-15")) == [span("2026-02-15", "2026-03-15")]
    assert calendar.periods(span("2026-02-15", "2026-02-15")) == []


@given(CALENDARS, st.integers(-300, 300))
def test_a_boundary_is_the_first_instant_of_its_period(calendar: Calendar, index: int) -> None:
    boundary = calendar.boundary(index)

    assert calendar.index_of(boundary) == index
    assert calendar.index_of(boundary - timedelta(microseconds=1)) == index - 1
    assert calendar.period_of(boundary).start == boundary


@given(CALENDARS, INSTANTS)
def test_every_instant_is_in_exactly_the_period_that_its_index_names(calendar: Calendar, instant: datetime) -> None:
    period = calendar.period_of(instant)

    assert instant in period
    assert calendar.index_of(instant) == calendar.index_of(period.start)


@given(CALENDARS, INSTANTS, st.integers(0, 40), st.integers(0, 1_000_000))
def test_consecutive_periods_tile_a_span_without_gap_or_overlap(
    calendar: Calendar, start: datetime, steps: int, extra_us: int
) -> None:
    asked = Span(start, start + STEP[calendar.unit] * calendar.count * steps + timedelta(microseconds=extra_us + 1))

    periods = calendar.periods(asked)

    assert periods[0].start == asked.start
    assert periods[-1].end == asked.end
    assert all(a.end == b.start for a, b in itertools.pairwise(periods))
    assert all(p.start < p.end for p in periods)
    assert {p.start for p in periods[1:]} <= {
        calendar.boundary(calendar.index_of(start) + n) for n in range(1, len(periods))
    }
