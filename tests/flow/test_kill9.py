"""kill -9 while real usage is being sent, again and again: whatever was acknowledged counts, and counts once.

It reads ../shared/data/azure_llm_inference_code_2023.csv and is skipped, by name, where that file is absent. Each
round sends the whole stream to one data folder and kills its server five times: by the clock, while a request is under
way, and between the steps of a flush (`PENSTOCK_CRASH_AT`). Chance is seeded by the round's number.
"""

from __future__ import annotations

from collections import deque
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from random import Random

import pytest

from builders import Body, batches, yesterday
from real_usage import (
    CUSTOMER_ALIAS,
    EVENTS,
    INPUT_TOKENS,
    METRICS,
    OUTPUT_TOKENS,
    SEED,
    real_events,
    shuffled_with_retries,
)
from reference import World
from server import GONE, PenstockServer, eventually

FLUSH_STEPS = ("before_events", "after_events", "half_cells", "after_cells", "after_marker")
# Ticks come often, so that flushes do too.
SETTINGS = {"PENSTOCK_TICK_INTERVAL_MS": "200"}
REQUESTS_PER_LIFE_MAX = 1_000


class Stream:
    """Batches of events in order. One that was not acknowledged is sent again; when none is left, old ones are."""

    def __init__(self, events: list[Body], chance: Random) -> None:
        self.pending = deque(batches(events, 100))
        self._acknowledged: list[list[Body]] = []
        self._chance = chance

    def send_next(self, server: PenstockServer) -> bool:
        """Whether the server answered; it may have died instead."""
        batch = self.pending[0] if self.pending else self._chance.choice(self._acknowledged)
        try:
            answer = server.raw.post("/v1/ingest", batch)
        except GONE:
            return False
        assert answer.status == 200, answer
        if self.pending:
            self._acknowledged.append(self.pending.popleft())
        return True


@pytest.mark.slow
@pytest.mark.parametrize(("round_number", "step"), list(enumerate(FLUSH_STEPS)))
def test_figures_survive_five_kills(tmp_path: Path, round_number: int, step: str) -> None:
    chance = Random(f"{SEED}-{round_number}")
    sent = shuffled_with_retries(real_events())
    stream = Stream(sent, chance)
    forgets = round_number % 2 == 1  # a gateway that forgets leaves every repeat from an earlier life to the aggregator
    own = {"PENSTOCK_PARTITIONS": str(1 + round_number % 3)}
    if forgets:
        own |= {"PENSTOCK_DEDUPE_IDS_MAX": "0", "PENSTOCK_MEMORY_IDS_MAX": "900"}  # and of its ids, most are in files
    with PenstockServer(tmp_path / "data", env=SETTINGS | own) as server:
        customer_id = server.client.v1.customers.create(name="Azure", ingest_aliases=[CUSTOMER_ALIAS]).data.id
        metrics = {server.client.v1.billable_metrics.create(**body).data.id: body for body in METRICS.values()}

        die_by_the_clock(server, stream, chance)
        for _ in range(2):
            die_in_a_flush(server, stream, f"{step}:{chance.randint(1, 4)}")
            server.start()
            die_by_the_clock(server, stream, chance)
        server.start()
        while stream.pending:
            assert stream.send_next(server)

        assert_counted_once(server, World(sent, {CUSTOMER_ALIAS}, metrics), customer_id)
        outcomes = server.outcomes()
        assert outcomes["counted"] == EVENTS
        assert not forgets or outcomes["duplicate"] > 0
        server.stop()


def die_by_the_clock(server: PenstockServer, stream: Stream, chance: Random) -> None:
    """Kill the running server some requests from now, at an instant that is no one's choice."""
    for _ in range(chance.randint(1, 12)):
        assert stream.send_next(server)
    timer = server.kill9_in(chance.uniform(0, 0.05))
    while stream.send_next(server):
        pass
    timer.join()
    server.wait_until_gone()


def die_in_a_flush(server: PenstockServer, stream: Stream, crash_at: str) -> None:
    """Start a server that kills itself at a step of a flush, perhaps before it is ready: it flushes what it finds.

    Its gateway forgets, so that repeats too are something to flush.
    """
    server.start({"PENSTOCK_CRASH_AT": crash_at, "PENSTOCK_DEDUPE_IDS_MAX": "0"}, may_die=True)
    for _ in range(REQUESTS_PER_LIFE_MAX):
        if not stream.send_next(server):
            break
    server.wait_until_gone()


def assert_counted_once(server: PenstockServer, world: World, customer_id: str) -> None:
    """Cells, stored events and ids: each has its own way to lose or to double an event."""
    day, end = yesterday(), yesterday() + timedelta(days=1)
    late_metric = server.client.v1.billable_metrics.create(**METRICS["output"]).data.id
    totals = dict(zip(world.metrics, (EVENTS, INPUT_TOKENS, OUTPUT_TOKENS), strict=True)) | {late_metric: OUTPUT_TOKENS}
    world.metrics = {**world.metrics, late_metric: METRICS["output"]}
    eventually(
        lambda: {metric_id: server.usage(metric_id, customer_id, day, end) for metric_id in totals},
        {metric_id: {(day, ()): Decimal(total)} for metric_id, total in totals.items()},
    )
    ragged = day + timedelta(hours=18, minutes=20, seconds=7), day + timedelta(hours=18, minutes=59, seconds=59)
    for metric_id in totals:
        for size, span in (("QUARTER", (day, end)), ("NONE", ragged)):
            expected = world.usage(metric_id, *span, size, ["model", "region"])

            assert server.usage(metric_id, customer_id, *span, size, ["model", "region"]) == expected
