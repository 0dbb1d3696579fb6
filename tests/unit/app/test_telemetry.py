"""The metrics: what they count, that their series stay few, and that the documented table is the registry."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from prometheus_client import Metric

from penstock.app import telemetry
from penstock.app.measured_log import MeasuredLog
from penstock.app.telemetry import OTHER_TENANTS, Telemetry
from penstock.gateway.answer import EventVerdict, IngestAnswer
from penstock.kernel.event import Verdict
from penstock.kernel.ports.event_log import Appended
from penstock.kernel.problems import LogUnavailable
from penstock.kernel.record import Kind
from penstock.log.memory import MemoryLog

TABLE = Path(__file__).parents[3] / "docs" / "metrics.md"


def documented() -> list[tuple[str, ...]]:
    rows = [line.strip("| ").split(" | ") for line in TABLE.read_text().splitlines() if line.startswith("| `")]
    return [tuple(cell.strip("`") for cell in row) for row in rows]


def unit_of(name: str) -> str:
    last = name.removesuffix("_total").rsplit("_", 1)[-1]
    return last if last in ("seconds", "bytes", "records", "events", "requests") else "count"


def registered() -> list[tuple[str, ...]]:
    made = Telemetry()
    labels = {held._name: held._labelnames for held in vars(made).values() if hasattr(held, "_labelnames")}

    def row(metric: Metric) -> tuple[str, ...]:
        name = metric.name + ("_total" if metric.type == "counter" else "")
        return (name, metric.type, unit_of(name), ", ".join(labels[metric.name]) or "-", metric.documentation)

    return [row(metric) for metric in made.registry.collect()]


def test_the_documented_table_is_the_registry() -> None:
    assert documented() == registered()


def value(made: Telemetry, name: str, **labels: str) -> float | None:
    return made.registry.get_sample_value(name, labels)


def test_an_answer_is_counted_by_verdict_reason_and_bytes() -> None:
    made = Telemetry()
    events = (
        EventVerdict(0, "a", Verdict.DUPLICATE, "accepted before"),
        EventVerdict(1, "b", Verdict.REJECTED, "timestamp is more than 34 days ago"),
        EventVerdict(2, None, Verdict.REJECTED, "Object missing required field"),
    )
    made.answered("acme", IngestAnswer(5, 1, 0, 2, (), events), 1_000, 0.02)
    made.answered("acme", IngestAnswer(accepted=2), 500, 0.2)

    assert value(made, "penstock_ingest_events_total", tenant="acme", verdict="accepted") == 7
    assert value(made, "penstock_ingest_events_total", tenant="acme", verdict="rejected") == 2
    assert value(made, "penstock_ingest_events_total", tenant="acme", verdict="conflict") is None
    assert value(made, "penstock_ingest_rejections_total", tenant="acme", reason="too_old") == 1
    assert value(made, "penstock_ingest_rejections_total", tenant="acme", reason="unreadable") == 1
    assert value(made, "penstock_ingest_bytes_total", tenant="acme") == 1_500
    assert value(made, "penstock_ingest_acknowledgement_seconds_bucket", le="0.025") == 1
    assert value(made, "penstock_ingest_acknowledgement_seconds_count") == 2


def test_a_served_request_is_counted_by_owner_and_status() -> None:
    made = Telemetry()
    for status in (200, 404, 200):
        made.served("rater", status, 0.03)

    assert value(made, "penstock_http_requests_total", owner="rater", status="200") == 2
    assert value(made, "penstock_http_request_seconds_bucket", owner="rater", le="0.05") == 3


def test_a_batch_is_counted_by_requests_events_and_chunks() -> None:
    made = Telemetry()
    made.appended(3, 250, [300, 5_000])

    assert value(made, "penstock_ingest_batch_requests_sum") == 3
    assert value(made, "penstock_ingest_batch_events_bucket", le="300.0") == 1
    assert value(made, "penstock_ingest_chunk_bytes_bucket", le="1024.0") == 1
    assert value(made, "penstock_ingest_chunk_bytes_count") == 2


def test_tenants_beyond_the_bound_share_one_series(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(telemetry, "TENANTS_MAX", 2)
    made = Telemetry()
    for tenant in ("a", "b", "c", "d", "a"):
        made.answered(tenant, IngestAnswer(accepted=1), 1, 0)

    tenants = {"a": 2, "b": 1, OTHER_TENANTS: 2}
    name = "penstock_ingest_events_total"
    assert {t: value(made, name, tenant=t, verdict="accepted") for t in (*tenants, "c")} == {**tenants, "c": None}


def test_the_log_is_measured_and_otherwise_the_same() -> None:
    class Unsure(MemoryLog):
        async def append(self, partition: int, kind: Kind, stamped_at_us: int, payload: bytes) -> Appended:
            if kind is Kind.CONTROL:
                raise LogUnavailable("no answer")
            return await super().append(partition, kind, stamped_at_us, payload)

    async def story() -> tuple[Telemetry, MeasuredLog]:
        made = Telemetry()
        inner = Unsure(2)
        log = MeasuredLog(inner, made)
        for _ in range(3):
            await log.append(1, Kind.CHUNK, 5, b"x")
        with pytest.raises(LogUnavailable):
            await log.append(0, Kind.CONTROL, 5, b"x")
        assert log.identity == inner.identity
        assert await log.bounds(1) == await inner.bounds(1) == (0, 3)
        assert await log.read(1, 0, 100, 0) == await inner.read(1, 0, 100, 0)
        await log.trim(1, 2)
        assert await inner.bounds(1) == (2, 3)
        await log.close()
        return made, log

    made, log = asyncio.run(story())

    assert log.newest == {1: 2}
    assert value(made, "penstock_log_append_seconds_count", kind="chunk") == 3
    assert value(made, "penstock_log_append_failures_total", kind="control") == 1
