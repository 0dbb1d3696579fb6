"""`make bench`: each figure of the goals on a fresh embedded server, verified, beside what it is held against.

The floor of a row is msgspec decoding the same events, as JSON in batches of the same size, into the gateway's struct
on one core, measured in the same run: a ratio to it means something on another machine, events/s do not.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import msgspec
from loadtest.drivers.base import NotServed
from loadtest.drivers.http import array
from loadtest.files import RESULTS
from loadtest.machine import Machine, this_machine
from loadtest.options import Options
from loadtest.report import Report, ms
from loadtest.run import run
from loadtest.terminal import say
from loadtest.traffic import Part, Shape, Traffic

from penstock.kernel.event import UsageEvent

FLOOR_S = 1.0
PACED_PERCENT = 70
PACED_BATCH = 100


class Row(msgspec.Struct, frozen=True):
    """A run and the goals of its throughput, in events a second."""

    name: str
    protocol: str
    batch: int
    connections: int
    must: int
    aim: int


ROWS = (
    Row("HTTP, batches of 100", "http", 100, 64, 150_000, 250_000),
    Row("HTTP, batches of 1,000", "http", 1_000, 16, 200_000, 350_000),
    Row("gRPC stream, batches of 1,000", "grpc", 1_000, 16, 150_000, 300_000),
    Row("Arrow over HTTP, batches of 10,000", "arrow", 10_000, 8, 300_000, 500_000),
    Row("HTTP, single events", "http", 1, 64, 8_000, 15_000),
)


class Goal(msgspec.Struct, frozen=True):
    """A figure that should be low, of the run at 70 % of the maximum; `reached` is None where it was not measured."""

    name: str
    unit: str
    reached: float | None
    must: float
    aim: float


class Measured(msgspec.Struct, frozen=True):
    """One row's outcome. `not_served` says why there is no report."""

    row: Row
    floor_per_s: int
    report: Report | None
    not_served: str | None = None


class Bench(msgspec.Struct, frozen=True):
    """The whole table, as data."""

    started_at: str
    machine: Machine
    rows: tuple[Measured, ...]
    goals: tuple[Goal, ...]


HEAD = (
    f"{'of floor':>9} {'of must':>8} {'of aim':>7}  {'what':36}{'events/s':>10}{'floor/s':>11}"
    f"{'ack p99':>10}{'fresh p99':>11}{'CPU/event':>11}{'memory':>10}"
)
GOAL_HEAD = f"{'of must':>18} {'of aim':>7}  {'low is good':36}{'reached':>12}{'must':>12}{'aim':>12}"


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--duration", type=int, default=10, metavar="S", help="seconds of sending per row")
    parser.add_argument("--only", default="", metavar="TEXT", help="the rows whose name holds this text")
    parser.add_argument("--clean", action="store_true", help="no duplicates, conflicts, late or shuffled events")
    parser.add_argument("--out", type=Path, metavar="FILE.json", help=f"default: a new file in {RESULTS.name}/")


def bench(given: argparse.Namespace) -> int:
    """Print the table; 0 where there is a run and every one adds up, whatever its speed."""
    started = datetime.now(UTC)
    say(HEAD)
    measured: list[Measured] = []
    goals: list[Goal] = []
    for row in ROWS:
        if given.only.lower() not in row.name.lower():
            continue
        measured.append(_measure(row, given))
        say_row(measured[-1])
        if row.protocol == "http" and row.batch == PACED_BATCH:
            paced, goals = _paced(row, measured[-1], given)
            if paced is not None:
                measured.append(paced)
                say_row(paced)
    say(GOAL_HEAD)
    for goal in goals:
        say(goal_line(goal))
    out = given.out or RESULTS / f"{started:%Y%m%d-%H%M%S}-bench.json"
    out.parent.mkdir(parents=True, exist_ok=True)
    found = Bench(started.isoformat(timespec="seconds"), this_machine(), tuple(measured), tuple(goals))
    out.write_bytes(msgspec.json.encode(found) + b"\n")
    say(f"written to {out}")
    reports = [one.report for one in measured if one.report is not None]
    return 0 if reports and all(report.verdict.adds_up for report in reports) else 1


def _options(row: Row, given: argparse.Namespace, rate: int | None = None) -> Options:
    options = Options(
        protocol=row.protocol,
        batch=row.batch,
        connections=row.connections,
        duration_s=given.duration,
        rate=rate,
    )
    if given.clean:
        return msgspec.structs.replace(options, duplicates=0.0, late=0.0, out_of_order=0.0, conflicts=0.0)
    return options


def _measure(row: Row, given: argparse.Namespace, rate: int | None = None) -> Measured:
    options = _options(row, given, rate)
    floor_per_s = floor(options)
    try:
        return Measured(row, floor_per_s, run(options, ""))
    except NotServed as exc:
        return Measured(row, floor_per_s, None, str(exc))


def _paced(row: Row, fastest: Measured, given: argparse.Namespace) -> tuple[Measured | None, list[Goal]]:
    """The same at 70 % of what was just reached: how long an event takes when the server is busy but not full."""
    if fastest.report is None or not fastest.report.visible_per_s:
        return None, []
    rate = fastest.report.visible_per_s * PACED_PERCENT // 100
    paced = _measure(msgspec.structs.replace(row, name=f"the same at {PACED_PERCENT} % of that"), given, rate)
    report = paced.report
    ack = report.latency_us.p99 / 1000 if report and report.latency_us else None
    fresh = report.freshness_us.p99 / 1000 if report and report.freshness_us else None
    return paced, [
        Goal("ack p99 at 70 %", "ms", ack, 100, 30),
        Goal("freshness p99 at 70 %", "ms", fresh, 2_000, 1_000),
        Goal("server CPU per event, flat out", "µs", server_cpu_us(fastest.report), 10, 5),
    ]


def floor(options: Options) -> int:
    """Events a second that msgspec decodes on one core, from the bodies that the run sends as JSON."""
    shape = Shape(
        batch_events=options.batch,
        late=options.late,
        out_of_order=options.out_of_order,
        skew=options.skew,
        dimensions=options.dimensions,
        seed=options.seed,
    )
    customers = [f"load-00000000-{number}" for number in range(options.customers)]
    traffic = Traffic(shape, customers, "00000000", array)
    minute = int(time.time()) // 60
    bodies = [traffic.body(number, minute, Part.NEW) for number in range(len(traffic.templates))]
    decoder = msgspec.json.Decoder(list[UsageEvent])
    rounds, began = 0, time.process_time()
    while (spent_s := time.process_time() - began) < FLOOR_S:
        for body in bodies:
            decoder.decode(body)
        rounds += 1
    return int(rounds * len(bodies) * options.batch / spent_s)


def say_row(measured: Measured) -> None:
    for line in _row_lines(measured):
        say(line)


def _row_lines(measured: Measured) -> Iterator[str]:
    row, report = measured.row, measured.report
    if report is None:
        yield f"{'-':>9} {'-':>8} {'-':>7}  {row.name:36}not served: {measured.not_served}"
        return
    rate = report.visible_per_s
    yield (
        f"{rate / measured.floor_per_s:>9.3f} {rate / row.must:>8.2f} {rate / row.aim:>7.2f}  {row.name:36}{rate:>10,}"
        f"{measured.floor_per_s:>11,}{ms(report.latency_us.p99 if report.latency_us else None):>10}"
        f"{ms(report.freshness_us.p99 if report.freshness_us else None):>11}{server_cpu_us(report):>8.1f} µs"
        f"{_server_mib(report):>6,} MiB"
    )
    for problem in report.verdict.problems:
        yield f"  DOES NOT ADD UP: {problem}"


def goal_line(goal: Goal) -> str:
    if goal.reached is None:
        return f"{'-':>18} {'-':>7}  {goal.name:36}not measured"
    reached, must, aim = (f"{value:,.1f} {goal.unit}" for value in (goal.reached, goal.must, goal.aim))
    ratios = f"{goal.reached / goal.must:>18.2f} {goal.reached / goal.aim:>7.2f}"
    return f"{ratios}  {goal.name:36}{reached:>12}{must:>12}{aim:>12}"


def server_cpu_us(report: Report) -> float:
    """CPU microseconds per new event, all processes but the client. Seconds per million are the same number."""
    return sum(used.cpu_s_per_million_events for name, used in report.processes.items() if name != "client")


def _server_mib(report: Report) -> int:
    return sum(used.anon_kib_max for name, used in report.processes.items() if name != "client") // 1024


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m loadtest.bench", description=__doc__)
    add_options(parser)
    return bench(parser.parse_args())


if __name__ == "__main__":
    sys.exit(main())
