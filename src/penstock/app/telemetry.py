"""Every metric of Penstock, with its unit and meaning, in one place (prometheus-client)."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

_LATENCY_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)


class Telemetry:
    """The metrics of one process, in a registry of its own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.events = Counter(
            "penstock_ingest_events",
            "Events by what the gateway answered: accepted, duplicate, conflict or rejected",
            ["tenant", "verdict"],
            registry=self.registry,
        )
        self.ingest_s = Histogram(
            "penstock_ingest_request_seconds",
            "Seconds from a whole ingest request to its answer, which means durable",
            buckets=_LATENCY_S,
            registry=self.registry,
        )
        self.requests = Counter(
            "penstock_http_requests",
            "HTTP requests by owner of the route and status",
            ["owner", "status"],
            registry=self.registry,
        )
        self.folded = Gauge(
            "penstock_fold_offset", "Last offset folded and flushed", ["partition"], registry=self.registry
        )
        self.restores = Gauge(
            "penstock_fold_restores",
            "Times the partition's owner has read its state from the store",
            ["partition"],
            registry=self.registry,
        )

    def count(self, tenant: str, verdict: str, events: int) -> None:
        """The gateway's hook: `events` of `tenant` were answered `verdict`."""
        self.events.labels(tenant, verdict).inc(events)

    def exposition(self) -> bytes:
        """The text that Prometheus scrapes."""
        return generate_latest(self.registry)
