"""What a report is made of: percentiles, slopes, schedules and options, each against figures written out."""

from __future__ import annotations

import argparse
import re
from fractions import Fraction
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from loadtest.chart import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, line_chart
from loadtest.drivers.base import Receipt
from loadtest.drivers.http_connection import parse
from loadtest.freshness import Freshness
from loadtest.histogram import ALL, PERCENT, Histogram
from loadtest.options import BURST, STEADY, add_options, options_of
from loadtest.report import POINTS_MAX, Percentiles, Report, slopes, thinned
from loadtest.schedule import due_times
from loadtest.tally import Point


def histogram(values: list[int]) -> Histogram:
    made = Histogram()
    for value in values:
        made.add(value)
    return made


@given(st.lists(st.integers(0, 10**9), min_size=1, max_size=200), st.integers(0, ALL))
def test_a_percentile_is_at_most_one_percent_above_the_value(values: list[int], thousandths: int) -> None:
    rank = max(1, -(-thousandths * len(values) // ALL))
    true = sorted(values)[rank - 1]

    found = histogram(values).percentile(thousandths)

    assert found is not None
    assert true <= found <= true + true // 100


@given(st.lists(st.integers(0, 10**7)), st.lists(st.integers(0, 10**7)))
def test_two_histograms_merged_are_the_histogram_of_both(first: list[int], second: list[int]) -> None:
    merged, whole = histogram(first), histogram(first + second)
    merged.merge(histogram(second))

    wanted = [0, 50 * PERCENT, 99_900, ALL]
    assert merged.percentiles(wanted) == whole.percentiles(wanted)
    assert (merged.count, merged.max_us) == (whole.count, whole.max_us)


def test_small_values_are_exact_and_nothing_has_no_percentile() -> None:
    assert histogram(list(range(101))).percentiles([0, 50 * PERCENT, 99 * PERCENT, ALL]) == [0, 50, 99, 100]
    assert histogram([]).percentile(50 * PERCENT) is None
    assert Percentiles.of(histogram([])) is None


def a_point(at_s: float, **changes: Any) -> Point:
    plain: dict[str, Any] = {
        "events_per_s": 100,
        "requests_per_s": 1,
        "busy": 0,
        "p50_us": 1_000,
        "p99_us": 2_000,
        "lag_ms": 10,
        "lag_records": 1,
        "cpu_ms": {"server": 500},
        "anon_kib": {"server": 1_024},
    }
    return Point(at_s=at_s, **(plain | changes))


def test_a_mebibyte_a_second_is_3600_an_hour_and_a_flat_line_is_none() -> None:
    points = [a_point(float(s), anon_kib={"server": 1_024 * s}) for s in range(60)]

    found = slopes(points)

    assert found is not None
    assert found.anon_mib_per_hour == {"server": 3_600.0}
    assert (found.lag_ms_per_hour, found.p99_ms_per_hour) == (0.0, 0.0)


def test_a_slope_leaves_out_the_warm_up_and_needs_ten_points() -> None:
    points = [a_point(float(s), lag_ms=9_000 if s < 10 else 5) for s in range(100)]

    found = slopes(points)

    assert found is not None
    assert found.lag_ms_per_hour == 0.0
    assert slopes(points[:9]) is None


def test_an_hour_is_thinned_to_a_few_hundred_points_that_keep_the_worst() -> None:
    points = [a_point(float(s), lag_ms=7_000 if s == 1_234 else 3, busy=s % 2) for s in range(3_600)]

    found = thinned(points)

    assert len(found) == POINTS_MAX
    assert max(point.lag_ms for point in found) == 7_000
    assert sum(point.busy for point in found) == 1_800
    assert {point.events_per_s for point in found} == {100}


def test_a_steady_rate_is_due_at_even_distances() -> None:
    assert list(due_times(100, 25, 2, STEADY)) == [0.0, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 1.75]


def test_a_burst_is_three_times_the_rate_in_the_middle_third() -> None:
    dues = list(due_times(10, 1, 9, BURST))

    assert [sum(start <= due < start + 3 for due in dues) for start in (0, 3, 6)] == [30, 90, 30]
    assert sum((phase.share for phase in BURST), Fraction(0)) == 1


def given_options(*arguments: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_options(parser)
    return parser.parse_args(arguments)


def test_an_option_wins_over_its_profile() -> None:
    smoke = options_of(given_options("--profile", "smoke"))
    changed = options_of(given_options("--profile", "smoke", "--rate", "max", "--duration", "5", "--late", "7%"))

    assert (smoke.rate, smoke.duration_s, smoke.late) == (3_000, 20, 0.03)
    assert (changed.rate, changed.duration_s, changed.late) == (None, 5, 0.07)
    assert changed.duplicates == smoke.duplicates == 0.05


@pytest.mark.parametrize("bad", [["--rate", "0"], ["--late", "1.5"], ["--dimensions", "model=0"], ["--batch", "x"]])
def test_an_option_out_of_range_is_refused(bad: list[str]) -> None:
    with pytest.raises(SystemExit):
        given_options(*bad)


def test_freshness_counts_from_when_a_batch_was_meant_to_leave() -> None:
    freshness = Freshness()
    freshness.acknowledged([Receipt(0, 5), Receipt(1, 9)], due=10.0)

    freshness.folded({0: 5, 1: 8}, now=11.0)
    assert (freshness.is_complete, freshness.lag_records(), freshness.lag_ms(now=12.0)) == (False, 1, 2_000)
    freshness.folded({0: 5, 1: 9}, now=13.0)

    assert (freshness.is_complete, freshness.lag_records(), freshness.lag_ms(now=14.0)) == (True, 0, 0)
    assert (freshness.waited.count, freshness.waited.max_us) == (2, 3_000_000)


def test_the_report_has_a_schema_without_unknown_parts() -> None:
    schema = msgspec.json.schema(Report)

    report = schema["$defs"]["Report"]
    assert report["required"] == list(Report.__struct_fields__)
    assert set(schema["$defs"]) == {
        *("Report", "Options", "Machine", "Verdict", "Counts", "Percentiles", "Process", "Slopes", "Point")
    }


ANSWER = b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 4\r\n\r\n{"a"'
CHUNKED = (
    b"HTTP/1.1 429 Too Many\r\nTransfer-Encoding: chunked\r\nRetry-After: 3\r\n\r\n2\r\n{}\r\n3;x=y\r\nabc\r\n0\r\n\r\n"
)


@pytest.mark.parametrize("whole", [ANSWER, CHUNKED])
def test_an_answer_is_read_only_when_it_is_complete(whole: bytes) -> None:
    assert [parse(whole[:length]) for length in range(len(whole))] == [None] * len(whole)
    assert parse(whole) is not None


def test_an_answer_has_status_headers_and_body() -> None:
    plain, chunked = parse(ANSWER), parse(CHUNKED)

    assert plain is not None
    assert (plain.status, plain.body, plain.header(b"content-type")) == (200, b'{"a"', b"application/json")
    assert chunked is not None
    assert (chunked.status, chunked.body, chunked.header(b"retry-after")) == (429, b"{}abc", b"3")
    assert chunked.header(b"content-length") is None


def test_a_chart_is_one_drawing_with_its_names_escaped() -> None:
    drawn = line_chart("a < b", "ms", {"x & y": [(0.0, 1.0), (1.0, 3.5)]})

    assert drawn.count("<polyline") == drawn.count("<svg") == 1
    assert "a &lt; b" in drawn
    assert "x &amp; y" in drawn
    assert "nothing was measured" in line_chart("empty", "ms", {"x": []})


@given(
    st.lists(st.tuples(st.floats(0, 1e6), st.floats(0, 1e9)), min_size=1, max_size=20),
    st.none() | st.lists(st.tuples(st.floats(0, 100), st.just("label")), min_size=1, max_size=3),
)
def test_no_line_leaves_its_chart(line: list[tuple[float, float]], labels: list[tuple[float, str]] | None) -> None:
    drawn = line_chart("any", "ms", {"line": line}, x_labels=labels)

    [spots] = re.findall(r'points="([^"]*)"', drawn)
    for spot in spots.split():
        x, y = map(float, spot.split(","))
        assert LEFT <= x <= WIDTH - RIGHT
        assert TOP <= y <= HEIGHT - BOTTOM
