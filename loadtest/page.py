"""A run as one page that stands alone: facts, figures and charts, nothing loaded from elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape

from loadtest.chart import line_chart
from loadtest.histogram import ALL
from loadtest.report import Percentiles, Report, ms, names_of

_STYLE = """
:root { color-scheme: light dark; --line: #8886; --s0: #1f77b4; --s1: #d9730d; --s2: #2a9d4a; --s3: #9250c8; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 1500px; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.4rem; } .charts { display: grid; gap: 1rem; }
.charts { grid-template-columns: repeat(auto-fit, minmax(min(100%, 560px), 1fr)); }
figure { margin: 0; } figcaption { font-weight: 600; } svg { width: 100%; height: auto; }
svg text { font-size: 11px; fill: currentColor; } .grid { stroke: var(--line); stroke-width: .5; }
polyline { fill: none; stroke-width: 1.6; stroke-linejoin: round; } circle { opacity: 0; } circle:hover { opacity: 1; }
polyline.s0 { stroke: var(--s0); } polyline.s1 { stroke: var(--s1); }
polyline.s2 { stroke: var(--s2); } polyline.s3 { stroke: var(--s3); }
circle.s0 { fill: var(--s0); } circle.s1 { fill: var(--s1); }
circle.s2 { fill: var(--s2); } circle.s3 { fill: var(--s3); }
.key { font-weight: 400; margin-left: .8em; padding-left: .4em; border-left: .8em solid; }
.key.s0 { border-color: var(--s0); } .key.s1 { border-color: var(--s1); }
.key.s2 { border-color: var(--s2); } .key.s3 { border-color: var(--s3); }
table { border-collapse: collapse; margin: 1rem 0; }
th, td { text-align: left; padding: .15rem 1rem .15rem 0; vertical-align: top; }
.good { color: #2a9d4a; } .bad { color: #d03030; }
"""


def page(report: Report) -> str:
    """The page's HTML."""
    options = report.options
    title = f"Load of {options.protocol}, batches of {options.batch:,}, {report.started_at}"
    body = "".join((_verdict(report), _table(_headlines(report)), *_charts(report), _table(_facts(report))))
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f"<style>{_STYLE}</style></head><body><h1>{escape(title)}</h1>{body}</body></html>\n"
    )


def _verdict(report: Report) -> str:
    if report.verdict.adds_up:
        return f'<p class="good">Adds up: {report.verdict.compared:,} figures of usage are the truth.</p>'
    problems = "".join(f"<li>{escape(problem)}</li>" for problem in report.verdict.problems)
    return f'<p class="bad">Does not add up:</p><ul class="bad">{problems}</ul>'


def _headlines(report: Report) -> Iterator[tuple[str, str]]:
    counts = report.counts
    yield "new events", f"{counts.events:,} in {counts.requests:,} requests"
    answered = f"{counts.duplicate:,} duplicate, {counts.conflict:,} conflict"
    yield "over known ids", f"{counts.sent - counts.events:,} (answered: {answered})"
    yield "sent again", f"{counts.busy:,} busy, {counts.lost:,} without an answer"
    yield "events/s acknowledged", f"{report.acknowledged_per_s:,}"
    yield "events/s until usage shows all", f"{report.visible_per_s:,}"
    yield "acknowledged after", _percentiles(report.latency_us)
    yield "visible after", _percentiles(report.freshness_us)
    for name, process in report.processes.items():
        held = (process.anon_kib_start, process.anon_kib_max, process.anon_kib_end)
        first, most, last = (kib // 1024 for kib in held)
        yield f"{name}, CPU s per million events", f"{process.cpu_s_per_million_events:.2f}"
        yield f"{name}, memory", f"{first:,} MiB at first, {most:,} at most, {last:,} in the end"
    if report.slopes is not None:
        memory = [f"{name} memory {slope:+,.1f} MiB" for name, slope in report.slopes.anon_mib_per_hour.items()]
        lags = [f"lag {report.slopes.lag_ms_per_hour:+,.1f} ms", f"ack p99 {report.slopes.p99_ms_per_hour:+,.1f} ms"]
        yield "slopes per hour", ", ".join(memory + lags)


def _percentiles(found: Percentiles | None) -> str:
    if found is None:
        return "-"
    return f"p50 {ms(found.p50)}, p90 {ms(found.p90)}, p99 {ms(found.p99)}, p99.9 {ms(found.p999)}, max {ms(found.max)}"


def _facts(report: Report) -> Iterator[tuple[str, str]]:
    machine = report.machine
    yield "machine", f"{machine.cpu}, {machine.cores} cores, {machine.memory_mib:,} MiB, Linux {machine.kernel}"
    yield "versions", ", ".join([f"Python {machine.python}", *(f"{k} {v}" for k, v in machine.packages.items())])
    yield "commit", machine.commit
    for name in report.options.__struct_fields__:
        yield name, str(getattr(report.options, name))


def _table(rows: Iterator[tuple[str, str]]) -> str:
    cells = "".join(f"<tr><th>{escape(name)}</th><td>{escape(value)}</td></tr>" for name, value in rows)
    return f"<table>{cells}</table>"


def _charts(report: Report) -> Iterator[str]:
    points = report.points
    names = names_of(points)
    yield '<div class="charts">'
    yield line_chart("Throughput", "events/s", {"new events": [(p.at_s, p.events_per_s) for p in points]})
    latencies = {
        "p50": [(p.at_s, p.p50_us / 1000) for p in points if p.p50_us is not None],
        "p99": [(p.at_s, p.p99_us / 1000) for p in points if p.p99_us is not None],
    }
    yield line_chart("Time to acknowledgement", "ms", latencies)
    yield _curve("Time to acknowledgement, percentiles", report.latency_us)
    yield _curve("Time until usage shows it, percentiles", report.freshness_us)
    yield line_chart("Oldest event that usage does not show yet", "ms", {"lag": [(p.at_s, p.lag_ms) for p in points]})
    cores = {name: [(p.at_s, p.cpu_ms.get(name, 0) / 1000) for p in points] for name in names}
    yield line_chart("CPU by process", "cores", cores)
    memory = {name: [(p.at_s, p.anon_kib[name] / 1024) for p in points if name in p.anon_kib] for name in names}
    yield line_chart("Resident memory", "MiB", memory)
    yield "</div>"


def _curve(title: str, found: Percentiles | None) -> str:
    """Each step to the right halves what is left of the tail."""
    if found is None:
        return line_chart(title, "ms", {})
    spots = [(float(n), value / 1000) for n, (_, value) in enumerate(found.curve)]
    labels = [(float(n), f"{at * 100 / ALL:g}%") for n, (at, _) in enumerate(found.curve) if n % 2 == 0]
    return line_chart(title, "ms", {"all of the run": spots}, x_title="percentile", x_labels=labels)
