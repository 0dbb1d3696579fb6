"""Fixed fees and seats by the day: amounts written out for months, leap days, clock changes, and what must add up."""

from __future__ import annotations

import itertools
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.kernel.money import USD, Unit, divided_to_step, round_to_step
from penstock.kernel.quantity import ZERO, exact
from penstock.kernel.window import Cadence, Calendar, Span
from penstock.rater.schedule.due import Timing, due_at
from penstock.rater.schedule.proration import days_of, days_until, prorated
from penstock.rater.schedule.seats import Seats, seats

JPY = Unit(id="jpy", name="JPY", decimals=0)
KWD = Unit(id="kwd", name="KWD", decimals=3)
BERLIN, NEW_YORK, KATHMANDU = "Europe/Berlin", "America/New_York", "Asia/Kathmandu"


def local(text: str, zone: str = "UTC") -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).astimezone(UTC)


def span(start: str, end: str, zone: str = "UTC") -> Span:
    return Span(local(start, zone), local(end, zone))


def month(text: str, zone: str = "UTC") -> Span:
    return Calendar(local(f"{text}-01", zone), zone=zone).period_of(local(f"{text}-15", zone))


def fee(amount: str, part: Span, period: Span, zone: str = "UTC", unit: Unit = USD) -> Decimal:
    return prorated(Decimal(amount), unit, part, period, zone)


JUNE, JULY = month("2026-06"), month("2026-07")


@pytest.mark.parametrize(
    ("start", "dollars"),
    [("2026-06-01", "30.00"), ("2026-06-02", "29.00"), ("2026-06-16", "15.00"), ("2026-06-30", "1.00")],
)
def test_a_subscription_that_starts_in_a_calendar_month_pays_the_days_that_are_left(start: str, dollars: str) -> None:
    """Example 42: days left x amount / days of the period."""
    assert Decimal(dollars) == fee("30", Span(local(start), JUNE.end), JUNE)


def test_a_subscription_paid_in_advance_from_its_anniversary_pays_in_full_at_its_start() -> None:
    """Example 42: 14 June 15:30 to 14 July 15:30."""
    period = Calendar(local("2026-06-14T15:30")).period_of(local("2026-06-20"))

    assert Decimal("49.99") == fee("49.99", period, period)
    assert local("2026-06-14T15:30") == due_at(period, Timing.IN_ADVANCE)


def test_a_subscription_terminated_in_arrears_pays_the_days_used_when_it_ends() -> None:
    """Example 42: ten of 31 days."""
    used = Span(JULY.start, local("2026-07-11"))

    assert Decimal("10.00") == fee("31", used, JULY)
    assert Decimal("32.26") == fee("100", used, JULY)  # 1,000 / 31 = 32.258...
    assert local("2026-07-11") == due_at(used, Timing.IN_ARREARS)


@pytest.mark.parametrize(
    ("text", "days", "dollars"),
    [("2026-06", 30, "33.33"), ("2026-07", 31, "32.26"), ("2026-02", 28, "35.71"), ("2028-02", 29, "34.48")],
)
def test_ten_days_cost_more_in_a_shorter_month(text: str, days: int, dollars: str) -> None:
    period = month(text)

    assert days == days_of(period, "UTC")
    assert Decimal(dollars) == fee("100", Span(period.start, period.start + timedelta(days=10)), period)


def test_the_29th_of_february_is_a_day_of_a_year() -> None:
    year = Calendar(local("2028-01-01"), count=12).period_of(local("2028-02-29"))

    assert Decimal("1.00") == fee("366", span("2028-02-29", "2028-03-01"), year)
    assert Decimal("60.00") == fee("366", span("2028-01-01", "2028-03-01"), year)


@pytest.mark.parametrize(
    ("zone", "day", "hours"),
    [
        (BERLIN, "2026-03-29", 23),
        (BERLIN, "2026-10-25", 25),
        (NEW_YORK, "2026-03-08", 23),
        (NEW_YORK, "2026-11-01", 25),
    ],
)
def test_a_day_on_which_the_clock_changes_is_one_day(zone: str, day: str, hours: int) -> None:
    that_day = Calendar(local(day, zone), unit=Cadence.DAY, zone=zone).period_of(local(day, zone))
    period = month(day[:7], zone)

    assert timedelta(hours=hours) == that_day.end - that_day.start
    assert Decimal("1.00") == fee(str(days_of(period, zone)), that_day, period, zone)


def test_days_are_those_of_the_zone() -> None:
    """18:15 on the last of June is midnight in Kathmandu, and the first minute of its July."""
    period = month("2026-07", KATHMANDU)

    assert local("2026-06-30T18:15") == period.start
    assert days_of(period, KATHMANDU) == 31
    assert Decimal("1.00") == fee("31", span("2026-06-30T18:15", "2026-07-01T18:15"), period, KATHMANDU)
    assert Decimal("0.00") == fee("31", span("2026-06-30T18:15", "2026-07-01T18:14"), period, KATHMANDU)


def test_the_day_of_a_change_belongs_to_what_begins_on_it() -> None:
    noon = local("2026-06-16T12:00")

    assert Decimal("15.00") == fee("30", Span(JUNE.start, noon), JUNE)
    assert Decimal("15.00") == fee("30", Span(noon, JUNE.end), JUNE)
    assert Decimal("0.00") == fee("30", span("2026-06-16T09:00", "2026-06-16T17:00"), JUNE)


def test_a_period_within_a_day_is_paid_by_who_holds_its_end() -> None:
    period = span("2026-06-16T09:00", "2026-06-16T17:00")

    assert Decimal("30.00") == fee("30", period, period)
    assert Decimal("0.00") == fee("30", span("2026-06-16T09:00", "2026-06-16T12:00"), period)
    assert Decimal("30.00") == fee("30", span("2026-06-16T12:00", "2026-06-16T17:00"), period)


def test_what_lies_outside_the_period_costs_nothing() -> None:
    assert Decimal("30.00") == fee("30", span("2026-05-01", "2026-08-01"), JUNE)
    assert Decimal("0.00") == fee("30", JULY, JUNE)
    assert Decimal("0.00") == fee("30", month("2026-05"), JUNE)


def test_thirds_and_halves_add_up_to_the_cent() -> None:
    thirds = JUNE.cut({local("2026-06-11"), local("2026-06-21")})
    halves = JUNE.cut({local("2026-06-16")})

    assert [Decimal("33.33"), Decimal("33.34"), Decimal("33.33")] == [fee("100", part, JUNE) for part in thirds]
    assert [Decimal("5.00"), Decimal("4.99")] == [fee("9.99", part, JUNE) for part in halves]


@pytest.mark.parametrize(("unit", "amount"), [(JPY, "333"), (USD, "333.33"), (KWD, "333.333")])
def test_a_part_has_whole_steps_of_its_unit(unit: Unit, amount: str) -> None:
    assert amount == format(fee("1000", Span(JUNE.start, local("2026-06-11")), JUNE, unit=unit), "f")


def test_a_fee_finer_than_its_unit_is_rounded_once_at_the_end() -> None:
    assert Decimal("0.05") == fee("0.149", Span(JUNE.start, local("2026-06-11")), JUNE)
    assert Decimal("0.15") == fee("0.149", JUNE, JUNE)


def test_a_credit_is_prorated_like_a_fee() -> None:
    assert Decimal("-33.33") == fee("-100", Span(JUNE.start, local("2026-06-11")), JUNE)


zones = st.sampled_from(["UTC", BERLIN, NEW_YORK, KATHMANDU, "Pacific/Apia", "America/Sao_Paulo"])
instants = st.integers(0, 22 * 366 * 86_400).map(lambda seconds: local("2009-01-01") + timedelta(seconds=seconds))
fees = st.decimals(min_value=-(10**9), max_value=10**9, places=4)


@given(fees, st.sampled_from([JPY, USD, KWD]), zones, st.sets(instants, min_size=2, max_size=6))
@exact
def test_parts_that_cover_a_period_add_up_to_the_fee(
    amount: Decimal, unit: Unit, zone: str, edges: set[datetime]
) -> None:
    period = Span(min(edges), max(edges))

    parts = [prorated(amount, unit, part, period, zone) for part in period.cut(edges)]

    assert round_to_step(amount, unit) == sum(parts)


@given(fees, zones, st.sets(instants, min_size=4, max_size=4))
@exact
def test_a_part_is_within_a_step_of_its_share_of_the_days(amount: Decimal, zone: str, edges: set[datetime]) -> None:
    start, part_start, part_end, end = sorted(edges)
    period = Span(start, end)
    days = days_until(part_end, period, zone) - days_until(part_start, period, zone)

    found = prorated(amount, USD, Span(part_start, part_end), period, zone)

    assert abs(found * days_of(period, zone) - amount * days) <= USD.step * days_of(period, zone)


def seated(*entries: tuple[str, str]) -> list[Seats]:
    return [Seats(local(at), Decimal(quantity)) for at, quantity in entries]


def amounts(schedule: list[Seats], price: str, period: Span = JUNE, zone: str = "UTC") -> list[tuple[int, Decimal]]:
    return [(int(part.quantity), part.amount) for part in seats(schedule, Decimal(price), USD, period, zone)]


def test_seats_held_for_the_whole_period_cost_their_price_each() -> None:
    assert [(10, Decimal("150.00"))] == amounts(seated(("2026-01-01", "10")), "15")


def test_seats_added_and_removed_are_paid_by_the_day() -> None:
    """10 seats for 10 of 30 days, 16 for 15 and 4 for 5, at 15 each: 50 + 120 + 10."""
    schedule = seated(("2026-06-01", "10"), ("2026-06-11", "16"), ("2026-06-26", "4"))

    found = seats(schedule, Decimal(15), USD, JUNE, "UTC")

    assert [Decimal("50.00"), Decimal("120.00"), Decimal("10.00")] == [part.amount for part in found]
    assert [span("2026-06-01", "2026-06-11"), span("2026-06-11", "2026-06-26"), span("2026-06-26", "2026-07-01")] == [
        part.span for part in found
    ]


def test_seats_in_a_month_of_31_days_add_up_to_the_cent() -> None:
    """1 x 10 / 31, 2 x 10 / 31, 3 x 11 / 31 of 10.00: 3.2258, then 9.6774, then 20.3226 as it runs."""
    schedule = seated(("2026-07-01", "1"), ("2026-07-11", "2"), ("2026-07-21", "3"))

    assert [(1, Decimal("3.23")), (2, Decimal("6.45")), (3, Decimal("10.64"))] == amounts(schedule, "10", JULY)


def test_before_the_first_entry_there_are_no_seats() -> None:
    assert [(3, Decimal("15.00"))] == amounts(seated(("2026-06-16T18:00", "3")), "10")
    assert amounts(seated(("2026-07-01", "3")), "10") == []
    assert amounts([], "10") == []


def test_a_day_counts_the_seats_that_it_ends_with() -> None:
    schedule = seated(("2026-06-01", "1"), ("2026-06-30T09:00", "100"), ("2026-06-30T17:00", "31"))

    assert [(1, Decimal("29.00")), (100, Decimal("0.00")), (31, Decimal("31.00"))] == amounts(schedule, "30")


def test_seats_that_are_given_up_leave_a_gap() -> None:
    schedule = seated(("2026-06-01", "3"), ("2026-06-11", "0"), ("2026-06-21", "3"))

    assert [(3, Decimal("30.00")), (3, Decimal("30.00"))] == amounts(schedule, "30")


def test_of_two_entries_at_one_instant_the_later_holds() -> None:
    assert [(5, Decimal("50.00"))] == amounts(seated(("2026-06-01", "3"), ("2026-06-01", "5")), "10")


def test_seats_through_a_clock_change_count_each_day_once() -> None:
    """March 2026 in Berlin: 28 days with 24 hours, then one with 23, then two."""
    period = month("2026-03", BERLIN)
    schedule = [Seats(local("2026-03-29", BERLIN), Decimal(1)), Seats(local("2026-03-30", BERLIN), Decimal(10))]

    assert [(1, Decimal("1.00")), (10, Decimal("20.00"))] == amounts(schedule, "31", period, BERLIN)


def test_fewer_than_no_seats_are_refused() -> None:
    with pytest.raises(ValueError, match=r"a quantity of -1 seats at 2026-06-02T00:00:00\+00:00"):
        amounts(seated(("2026-06-02", "-1")), "10")


months = st.dates(date(2012, 1, 1), date(2031, 1, 1)).map(lambda day: day.strftime("%Y-%m"))
# Some hours before the month, in it and after it, with many on the same day.
entries = st.tuples(st.integers(-100, 900), st.decimals(min_value=0, max_value=10**6, places=2))


@given(st.lists(entries, max_size=8, unique_by=lambda entry: entry[0]), fees, zones, months)
@exact
def test_seats_cost_what_counting_every_day_says(
    held: list[tuple[int, Decimal]], price: Decimal, zone: str, text: str
) -> None:
    """The oracle walks the days of a month: each costs the seats that are held when it ends."""
    period = month(text, zone)
    schedule = [Seats(period.start + timedelta(hours=hours), quantity) for hours, quantity in held]
    days = Calendar(period.start, unit=Cadence.DAY, zone=zone).periods(period)
    last = [max((entry for entry in schedule if entry.at < day.end), key=lambda e: e.at, default=None) for day in days]
    seat_days = sum((entry.quantity for entry in last if entry is not None), ZERO)

    found = seats(schedule, price, USD, period, zone)

    assert divided_to_step(seat_days * price, len(days), USD) == sum((part.amount for part in found), ZERO)
    assert all(one.span.end <= other.span.start for one, other in itertools.pairwise(found))


@pytest.mark.parametrize(("timing", "due"), [(Timing.IN_ADVANCE, "2026-06-01"), (Timing.IN_ARREARS, "2026-07-01")])
def test_a_fee_in_advance_is_due_at_the_start_and_one_in_arrears_at_the_end(timing: Timing, due: str) -> None:
    assert local(due) == due_at(JUNE, timing)
