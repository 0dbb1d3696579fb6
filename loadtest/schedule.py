"""When each batch is meant to leave: the open loop, which does not wait for the server to keep up."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from loadtest.options import Phase


def due_times(rate: int, batch: int, duration_s: int, phases: Sequence[Phase]) -> Iterator[float]:
    """Seconds from the start at which batches of `batch` events are due, so that `rate` events a second leave."""
    start = 0.0
    for phase in phases:
        span_s = float(duration_s * phase.share)
        batches = int(span_s * rate * phase.factor / batch)
        for number in range(batches):
            yield start + number * batch / (rate * phase.factor)
        start += span_s
