"""What a run has done so far: counts, latencies, and one point for each second of it."""

from __future__ import annotations

import time

import msgspec
from loadtest.drivers.base import Answer
from loadtest.histogram import PERCENT, Histogram
from loadtest.processes import Use

MEDIAN, P99 = 50 * PERCENT, 99 * PERCENT


class Counts(msgspec.Struct):
    """`events` are new and acknowledged; `sent` are all acknowledged, repeats too. The verdicts are the gateway's.

    A batch that was sent again after an unknown outcome is answered as duplicate, so verdicts need not sum to `events`.
    """

    events: int = 0
    sent: int = 0
    requests: int = 0
    accepted: int = 0
    duplicate: int = 0
    conflict: int = 0
    rejected: int = 0
    busy: int = 0  # 429, RESOURCE_EXHAUSTED, 503
    lost: int = 0  # no answer, or no connection


class Point(msgspec.Struct, frozen=True):
    """One second, or a mean of some: `at_s` from the start, rates a second, latency of what was acknowledged in it."""

    at_s: float
    events_per_s: int
    requests_per_s: int
    busy: int
    p50_us: int | None
    p99_us: int | None
    lag_ms: int
    lag_records: int
    cpu_ms: dict[str, int]
    anon_kib: dict[str, int]


class Tally:
    """Counters of a run. Times are of `time.perf_counter`."""

    def __init__(self) -> None:
        self.counts = Counts()
        self.latency = Histogram()
        self.points: list[Point] = []
        self._second = Histogram()
        self._second_counts = Counts()
        self._second_uses: dict[str, Use] = {}
        self.start()

    def start(self) -> None:
        """The run begins now."""
        self.began = self._second_began = self.last_progress = time.perf_counter()

    def acknowledged(self, answer: Answer, sent: int, new: int, due: float, now: float) -> None:
        """A request of `sent` events, `new` of them for the first time, was meant for `due` and answered at `now`."""
        counts = self.counts
        counts.requests += 1
        counts.sent += sent
        counts.events += new
        counts.accepted += answer.accepted
        counts.duplicate += answer.duplicate
        counts.conflict += answer.conflict
        counts.rejected += answer.rejected
        self._second.add(int((now - due) * 1_000_000))
        self.last_progress = now

    def close_second(self, uses: dict[str, Use], lag_ms: int, lag_records: int) -> None:
        """Make a point of what happened since the last one."""
        now = time.perf_counter()
        span_s = max(now - self._second_began, 0.001)
        before, after = self._second_counts, self.counts
        p50, p99 = self._second.percentiles([MEDIAN, P99]) or (None, None)
        spent = {name: use.cpu_ms - self._second_uses.get(name, use).cpu_ms for name, use in uses.items()}
        self.points.append(
            Point(
                at_s=round(now - self.began, 1),
                events_per_s=int((after.events - before.events) / span_s),
                requests_per_s=int((after.requests - before.requests) / span_s),
                busy=after.busy - before.busy,
                p50_us=p50,
                p99_us=p99,
                lag_ms=lag_ms,
                lag_records=lag_records,
                cpu_ms={name: int(ms / span_s) for name, ms in spent.items()},
                anon_kib={name: use.anon_kib for name, use in uses.items()},
            )
        )
        self.latency.merge(self._second)
        self._second, self._second_counts, self._second_began = Histogram(), msgspec.structs.replace(after), now
        self._second_uses = uses
