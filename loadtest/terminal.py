"""What a person sees: lines, and one that is written over while a run goes on."""

from __future__ import annotations

import sys
import time
from typing import TextIO

from loadtest.report import Report, ms
from loadtest.tally import Tally

# Where lines cannot be written over (a log, a pipe), one now and then is enough.
PLAIN_EVERY_S = 10


def say(line: str = "") -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


class Progress:
    """One line about a run that is under way."""

    def __init__(self, stream: TextIO, duration_s: int) -> None:
        self._stream, self._duration_s = stream, duration_s
        self._is_terminal = stream.isatty()
        self._said = time.perf_counter()

    def show(self, tally: Tally) -> None:
        point = tally.points[-1]
        p99 = "-" if point.p99_us is None else ms(point.p99_us)
        line = (
            f"{point.at_s:5.0f} of {self._duration_s} s  {tally.counts.events:>12,} events  "
            f"{point.events_per_s:>9,}/s  ack p99 {p99:>9}  behind {point.lag_ms:>6,} ms"
        )
        if tally.counts.busy or tally.counts.lost:
            line += f"  busy {tally.counts.busy:,}  lost {tally.counts.lost:,}"
        if self._is_terminal:
            self._stream.write(f"\r\x1b[K{line}")
        elif time.perf_counter() - self._said >= PLAIN_EVERY_S:
            self._said = time.perf_counter()
            self._stream.write(line + "\n")
        self._stream.flush()

    def end(self) -> None:
        if self._is_terminal:
            self._stream.write("\r\x1b[K")
            self._stream.flush()


def summary(report: Report) -> list[str]:
    """A finished run in a few lines."""
    counts, latency, freshness = report.counts, report.latency_us, report.freshness_us
    lines = [
        f"{counts.events:,} events in {counts.requests:,} requests, {counts.sent - counts.events:,} more over known "
        f"ids; busy {counts.busy:,}, lost {counts.lost:,}",
        f"{report.acknowledged_per_s:,} events/s acknowledged, {report.visible_per_s:,} until usage showed them all",
    ]
    if latency is not None:
        lines.append(f"acknowledged after p50 {ms(latency.p50)}, p99 {ms(latency.p99)}, at most {ms(latency.max)}")
    if freshness is not None:
        lines.append(f"visible after p50 {ms(freshness.p50)}, p99 {ms(freshness.p99)}, at most {ms(freshness.max)}")
    for name, process in report.processes.items():
        lines.append(
            f"{name}: {process.cpu_s_per_million_events:.2f} CPU s per million events, "
            f"{process.anon_kib_max // 1024:,} MiB at most"
        )
    if report.slopes is not None and report.options.profile == "soak":
        lines.append(f"per hour: {_slopes(report)}")
    if report.verdict.adds_up:
        return [*lines, f"Adds up: {report.verdict.compared:,} figures of usage are the truth."]
    return [*lines, "DOES NOT ADD UP:", *(f"  {problem}" for problem in report.verdict.problems)]


def _slopes(report: Report) -> str:
    assert report.slopes is not None
    memory = [f"{name} memory {slope:+.1f} MiB" for name, slope in report.slopes.anon_mib_per_hour.items()]
    lags = [f"lag {report.slopes.lag_ms_per_hour:+.1f} ms", f"ack p99 {report.slopes.p99_ms_per_hour:+.1f} ms"]
    return ", ".join(memory + lags)
