"""Two runs side by side: every headline figure as the ratio of the second to the first."""

from __future__ import annotations

from collections.abc import Iterator

from loadtest.machine import Machine
from loadtest.report import Percentiles, Report


def table(a: Report, b: Report) -> list[str]:
    """Lines to print: what differs in the circumstances first, for without it a ratio misleads."""
    lines = [*_differences(a, b), f"{'':32}{'A':>14}{'B':>14}{'B/A':>9}"]
    there = dict(figures(b))
    for name, first in figures(a):
        second = there.get(name)
        if second is not None:
            lines.append(f"{name:32}{_plain(first):>14}{_plain(second):>14}{ratio(first, second):>9}")
    return lines


def figures(report: Report) -> Iterator[tuple[str, float]]:
    """The headline figures by name, in the order of the report."""
    yield "events/s acknowledged", report.acknowledged_per_s
    yield "events/s until visible", report.visible_per_s
    yield from _percentiles("acknowledged", report.latency_us)
    yield from _percentiles("visible", report.freshness_us)
    for name, process in report.processes.items():
        yield f"{name} CPU s per million", process.cpu_s_per_million_events
        yield f"{name} memory MiB", process.anon_kib_max // 1024


def _percentiles(what: str, found: Percentiles | None) -> Iterator[tuple[str, float]]:
    if found is not None:
        yield f"{what} p50 ms", found.p50 / 1000
        yield f"{what} p99 ms", found.p99 / 1000
        yield f"{what} p99.9 ms", found.p999 / 1000


def ratio(first: float, second: float) -> str:
    return f"{second / first:.2f}" if first else "-"


def _plain(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:,.2f}"


def _differences(a: Report, b: Report) -> Iterator[str]:
    for run, report in (("A", a), ("B", b)):
        if not report.verdict.adds_up:
            yield f"{run} DOES NOT ADD UP: its figures mean nothing."
    for name in (*Machine.__struct_fields__, *a.options.__struct_fields__):
        whole_a, whole_b = (r.machine if name in Machine.__struct_fields__ else r.options for r in (a, b))
        if name not in ("target", "grpc_target", "server_pids") and getattr(whole_a, name) != getattr(whole_b, name):
            yield f"{name} differs: {getattr(whole_a, name)} and {getattr(whole_b, name)}"
