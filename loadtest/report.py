"""What a run found, as data: small enough to be committed, complete enough to be drawn and compared."""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Mapping, Sequence

import msgspec
from loadtest.histogram import ALL, PERCENT, Histogram
from loadtest.machine import Machine
from loadtest.options import Options
from loadtest.processes import Use
from loadtest.tally import Counts, Point
from loadtest.verdict import Verdict

POINTS_MAX = 300
# The share of a run that slopes leave out: caches fill, files open.
WARM_UP = 10  # percent
# More and more of the tail: 0, 50, 75, 87.5, ... percent, as HdrHistogram prints them.
CURVE = sorted({ALL - ALL // 2**n for n in range(18)})


class Percentiles(msgspec.Struct, frozen=True):
    """Microseconds. `curve` pairs thousandths of a percent with values."""

    count: int
    p50: int
    p90: int
    p99: int
    p999: int
    max: int
    curve: tuple[tuple[int, int], ...]

    @classmethod
    def of(cls, histogram: Histogram) -> Percentiles | None:
        """None where nothing was measured."""
        if not histogram.count:
            return None
        p50, p90, p99, p999 = histogram.percentiles([50 * PERCENT, 90 * PERCENT, 99 * PERCENT, 99_900])
        curve = tuple(zip(CURVE, histogram.percentiles(CURVE), strict=True))
        return cls(histogram.count, p50, p90, p99, p999, histogram.max_us, curve)


class Process(msgspec.Struct, frozen=True):
    """What one process took. CPU is over the whole run, until everything was visible."""

    cpu_ms: int
    cpu_s_per_million_events: float
    anon_kib_start: int
    anon_kib_max: int
    anon_kib_end: int


class Slopes(msgspec.Struct, frozen=True):
    """By least squares over the run after its warm-up, for each hour."""

    anon_mib_per_hour: Mapping[str, float]
    lag_ms_per_hour: float
    p99_ms_per_hour: float


class Report(msgspec.Struct, frozen=True):
    """One run. Rates: `acknowledged_per_s` until the last answer, `visible_per_s` until usage showed the last event."""

    format: int
    started_at: str
    options: Options
    machine: Machine
    verdict: Verdict
    counts: Counts
    acknowledged_per_s: int
    visible_per_s: int
    latency_us: Percentiles | None
    freshness_us: Percentiles | None
    processes: Mapping[str, Process]
    slopes: Slopes | None
    points: Sequence[Point]


FORMAT = 1


def processes(
    events: int, before: Mapping[str, Use], after: Mapping[str, Use], points: Sequence[Point]
) -> dict[str, Process]:
    """What each process that is still there took."""
    found = {}
    for name in before.keys() & after.keys():
        cpu_ms = after[name].cpu_ms - before[name].cpu_ms
        peak = max([point.anon_kib.get(name, 0) for point in points] + [before[name].anon_kib, after[name].anon_kib])
        per_million = round(cpu_ms * 1_000 / events, 3) if events else 0.0
        found[name] = Process(cpu_ms, per_million, before[name].anon_kib, peak, after[name].anon_kib)
    return dict(sorted(found.items()))


def slopes(points: Sequence[Point]) -> Slopes | None:
    """None for a run of fewer than ten seconds."""
    steady = points[len(points) * WARM_UP // 100 :]
    if len(steady) < 10:
        return None
    names = set.intersection(*(set(point.anon_kib) for point in steady))
    return Slopes(
        {name: _per_hour([(p.at_s, p.anon_kib[name] / 1024) for p in steady]) for name in sorted(names)},
        _per_hour([(p.at_s, float(p.lag_ms)) for p in steady]),
        _per_hour([(p.at_s, p.p99_us / 1000) for p in steady if p.p99_us is not None]),
    )


def _per_hour(values: list[tuple[float, float]]) -> float:
    if len({at for at, _ in values}) < 2:
        return 0.0
    slope, _ = statistics.linear_regression([at for at, _ in values], [value for _, value in values])
    return round(slope * 3_600, 3)


def thinned(points: Sequence[Point]) -> list[Point]:
    """At most `POINTS_MAX` points: means of rates, the worst of latencies and lags."""
    size = -(-len(points) // POINTS_MAX) or 1
    return [_one(points[start : start + size]) for start in range(0, len(points), size)]


def _one(points: Sequence[Point]) -> Point:
    if len(points) == 1:
        return points[0]
    last = points[-1]
    return Point(
        at_s=last.at_s,
        events_per_s=_mean([p.events_per_s for p in points]),
        requests_per_s=_mean([p.requests_per_s for p in points]),
        busy=sum(p.busy for p in points),
        p50_us=max((p.p50_us for p in points if p.p50_us is not None), default=None),
        p99_us=max((p.p99_us for p in points if p.p99_us is not None), default=None),
        lag_ms=max(p.lag_ms for p in points),
        lag_records=max(p.lag_records for p in points),
        cpu_ms={name: _mean([p.cpu_ms.get(name, 0) for p in points]) for name in last.cpu_ms},
        anon_kib=last.anon_kib,
    )


def _mean(values: Sequence[int]) -> int:
    return sum(values) // len(values)


def readme_line(report: Report) -> str:
    """A row for the README's table: what, events/s, p99 of acknowledgement, p99 of freshness, CPU, memory."""
    options = report.options
    what = f"{options.protocol}, batches of {options.batch:,}, {options.connections} connections"
    cpu = sum(process.cpu_s_per_million_events for name, process in report.processes.items() if name != "client")
    memory = sum(process.anon_kib_max for name, process in report.processes.items() if name != "client") // 1024
    cells = [
        what,
        f"{report.visible_per_s:,}",
        ms(report.latency_us.p99 if report.latency_us else None),
        ms(report.freshness_us.p99 if report.freshness_us else None),
        f"{cpu:.1f} µs" if cpu else "-",
        f"{memory:,} MiB" if memory else "-",
        "yes" if report.verdict.adds_up else "NO",
    ]
    return "| " + " | ".join(cells) + " |"


README_HEAD = (
    "| what | events/s until visible | ack p99 | freshness p99 | server CPU per event | memory | adds up |\n"
    "|---|---|---|---|---|---|---|"
)


def ms(us: int | None) -> str:
    if us is None:
        return "-"
    return f"{us / 1000:.1f} ms" if us < 10_000 else f"{us // 1000:,} ms"


def names_of(points: Sequence[Point]) -> list[str]:
    """Every process that any point knows, the client last."""
    names = set(itertools.chain.from_iterable(point.cpu_ms for point in points))
    return sorted(names, key=lambda name: (name == "client", name))
