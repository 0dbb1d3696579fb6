"""`python -m loadtest run | bench | bench-kafka | rater-bench | compare`: load it, hold its count against the truth."""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from loadtest import bench, compare, kafka_bench, rater_bench
from loadtest.api import Unexpected, Unreachable
from loadtest.drivers.base import Lost, Refused
from loadtest.files import RESULTS, read_report, write_report
from loadtest.options import add_options, api_key_of, options_of
from loadtest.report import README_HEAD, readme_line
from loadtest.run import run
from loadtest.terminal import say, summary

ADDS_UP, DOES_NOT_ADD_UP, NOT_RUN = 0, 1, 2


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m loadtest", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    run_parser = commands.add_parser("run", help="one run, verified; exits 1 where usage is not the truth")
    add_options(run_parser)
    run_parser.add_argument("--out", type=Path, metavar="FILE.json", help=f"default: a new file in {RESULTS.name}/")
    bench.add_options(commands.add_parser("bench", help="the table of what this machine reaches"))
    kafka_bench.add_options(commands.add_parser("bench-kafka", help="the same through Kafka, a process per service"))
    rater_bench.add_options(commands.add_parser("rater-bench", help="how fast the rater prices, without a server"))
    compare_parser = commands.add_parser("compare", help="the ratios of two runs, B to A")
    compare_parser.add_argument("a", type=Path, metavar="A.json")
    compare_parser.add_argument("b", type=Path, metavar="B.json")
    given = parser.parse_args(arguments)
    try:
        match given.command:
            case "run":
                return _run(given)
            case "bench":
                return bench.bench(given)
            case "bench-kafka":
                return kafka_bench.bench_kafka(given)
            case "rater-bench":
                return rater_bench.rater_bench(given)
            case _:
                return _compare(given)
    except (Unreachable, Unexpected, Refused, Lost, ValueError, OSError) as exc:
        say(f"not run: {exc}")
        return NOT_RUN
    except KeyboardInterrupt:
        say("Stopped.")
        return 130


def _terminate(*_: object) -> None:
    """SIGTERM leaves by the same way as an error, so that a server that was started here is stopped."""
    raise SystemExit(143)


def _run(given: argparse.Namespace) -> int:
    report = run(options_of(given), api_key_of(given))
    for line in summary(report):
        say(line)
    say(f"{README_HEAD}\n{readme_line(report)}")
    for file in write_report(report, given.out):
        say(f"written to {file}")
    return ADDS_UP if report.verdict.adds_up else DOES_NOT_ADD_UP


def _compare(given: argparse.Namespace) -> int:
    for line in compare.table(read_report(given.a), read_report(given.b)):
        say(line)
    return 0


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _terminate)
    sys.exit(main())
