"""A run says whether the server counted right, whatever its speed; what is not acknowledged is sent again."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import msgspec
import pytest
from loadtest.__main__ import main
from loadtest.report import Report

from unit.loadtest.counting_server import (
    Count,
    CountingServer,
    doubles_one,
    loses_one,
    moves_one_to_the_next_hour,
)

IMPURE = ("--duplicates", "0.2", "--late", "5%", "--out-of-order", "0.2", "--conflicts", "0.1")


def load(server: CountingServer, out: Path, *options: str) -> int:
    """A second's run of 400 events in batches of 20."""
    plain = ("--rate", "400", "--duration", "1", "--batch", "20", "--connections", "3", "--customers", "4")
    return main(["run", "--target", server.url, "--api-key", "k", "--out", str(out), *plain, *IMPURE, *options])


def report_of(out: Path) -> Report:
    return msgspec.json.decode(out.read_bytes(), type=Report)


def test_a_run_against_a_server_that_counts_right_adds_up(tmp_path: Path) -> None:
    out = tmp_path / "run.json"
    with CountingServer() as server:
        assert load(server, out) == 0

    report = report_of(out)
    assert (report.verdict.adds_up, report.verdict.problems) == (True, ())
    assert (report.counts.events, report.counts.accepted) == (400, 400)
    assert (report.counts.sent, report.counts.duplicate, report.counts.conflict) == (520, 80, 40)
    assert len(server.counted) == 400
    assert report.latency_us is not None
    assert report.latency_us.count == report.counts.requests


@pytest.mark.parametrize("count", [loses_one, doubles_one, moves_one_to_the_next_hour])
def test_one_event_counted_wrong_fails_the_run(
    count: Count, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run.json"
    with CountingServer(count) as server:
        assert load(server, out) == 1

    problems = report_of(out).verdict.problems
    assert {problem.split()[0] for problem in problems} == {"/v1/usage/groups", "/v1/usage"}
    assert "DOES NOT ADD UP" in capsys.readouterr().out


def test_what_the_server_was_too_busy_for_is_sent_again(tmp_path: Path) -> None:
    out = tmp_path / "run.json"
    with CountingServer(fault=lambda request: 503 if request % 5 == 2 else 200) as server:
        assert load(server, out) == 0

    assert report_of(out).counts.busy > 0


def test_a_batch_whose_answer_is_lost_is_sent_again_and_counted_once(tmp_path: Path) -> None:
    out = tmp_path / "run.json"
    with CountingServer(fault=lambda request: None if request % 7 == 2 else 200) as server:
        assert load(server, out) == 0

    counts = report_of(out).counts
    assert counts.lost > 0
    assert counts.events == len(server.counted) == 400


def test_a_server_that_is_never_free_fails_the_run(tmp_path: Path) -> None:
    out = tmp_path / "run.json"
    with CountingServer(fault=lambda _: 503) as server:
        assert load(server, out, "--give-up", "1") == 1

    [problem] = report_of(out).verdict.problems
    assert problem.startswith("nothing was acknowledged for")


def test_usage_that_never_catches_up_fails_the_run(tmp_path: Path) -> None:
    out = tmp_path / "run.json"
    with CountingServer(lag=2) as server:
        assert load(server, out, "--give-up", "1") == 1

    [problem] = report_of(out).verdict.problems
    assert problem.startswith("usage fell 2 records behind")


def test_a_protocol_that_is_not_served_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with CountingServer(fault=lambda _: 415) as server:
        assert load(server, tmp_path / "run.json") == 2

    assert capsys.readouterr().out == "not run: 415 come back later\n"


def test_a_server_that_is_not_there_is_no_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with CountingServer() as server:
        pass
    assert load(server, tmp_path / "run.json") == 2

    assert capsys.readouterr().out.startswith("not run: ")


def test_repeats_are_verbatim_and_conflicts_are_not(tmp_path: Path) -> None:
    with CountingServer() as server:
        assert load(server, tmp_path / "run.json") == 0

    copies = Counter(json.dumps(event) for event in server.received)
    bodies = Counter(event["transaction_id"] for event in map(json.loads, copies))
    assert sum(copies.values()) == 520
    assert sum(count - 1 for count in copies.values()) == 80
    assert sum(count - 1 for count in bodies.values()) == 40


def test_the_page_of_a_run_stands_alone(tmp_path: Path) -> None:
    out = tmp_path / "run.json"
    with CountingServer() as server:
        load(server, out)

    page = out.with_suffix(".html").read_text()
    assert page.count("<svg") == 7
    assert not any(mark in page for mark in ("<script", "<link", "<img", "src=", "href=", "@import", "url("))


def test_two_runs_are_compared_as_ratios(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, faster = tmp_path / "a.json", tmp_path / "b.json"
    with CountingServer() as server:
        load(server, out)
    report = report_of(out)
    faster.write_bytes(
        msgspec.json.encode(msgspec.structs.replace(report, acknowledged_per_s=report.acknowledged_per_s * 3))
    )
    capsys.readouterr()

    assert main(["compare", str(out), str(faster)]) == 0

    rows = {line[:32].strip(): line.split()[-1] for line in capsys.readouterr().out.splitlines()}
    assert (rows["events/s acknowledged"], rows["events/s until visible"]) == ("3.00", "1.00")


def test_what_is_no_report_is_not_compared(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.json").write_text('{"format": 1}')

    assert main(["compare", str(tmp_path / "a.json"), str(tmp_path / "a.json")]) == 2

    assert "is no report of a run" in capsys.readouterr().out
