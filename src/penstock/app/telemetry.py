"""Every metric of Penstock, with its unit and meaning, in one place; docs/metrics.md is the same as a table."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from functools import partial
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from penstock.gateway.answer import IngestAnswer
from penstock.gateway.watch import kind_of
from penstock.kernel.event import Verdict

_LATENCY_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_CHUNK_BYTES = tuple(4**power for power in range(4, 12))  # 256 bytes to 4 MiB
_CHUNK_EVENTS = (1, 10, 100, 300, 1_000, 3_000, 10_000, 30_000, 100_000)
_REQUESTS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000)
# A label per tenant up to here, then one for all others: who pays for a metric is who stores its series.
TENANTS_MAX = 1_000
OTHER_TENANTS = "(other)"


class Telemetry:
    """The metrics of one process, in a registry of its own. It is the gateway's `Watch`."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._tenants: set[str] = set()
        self._series: dict[Hashable, Any] = {}
        self._requests()
        self._ingest()
        self._pipeline()
        self._audit()

    def _requests(self) -> None:
        self.requests = self._counter(
            "penstock_http_requests", "HTTP requests by owner of the route and status", "owner", "status"
        )
        self.request_s = self._histogram(
            "penstock_http_request_seconds", "From the head of an HTTP request to its answer", _LATENCY_S, "owner"
        )
        self.calls = self._counter("penstock_grpc_calls", "gRPC calls that ended, by status", "method", "status")

    def _ingest(self) -> None:
        self.events = self._counter(
            "penstock_ingest_events", "Events by what the gateway answered, over every protocol", "tenant", "verdict"
        )
        self.rejections = self._counter(
            "penstock_ingest_rejections", "Rejected events by the kind of reason", "tenant", "reason"
        )
        self.ingest_bytes = self._counter(
            "penstock_ingest_bytes", "Bytes of answered request bodies, unpacked, over every protocol", "tenant"
        )
        self.acknowledgement_s = self._histogram(
            "penstock_ingest_acknowledgement_seconds", "From a decoded request to its events being durable", _LATENCY_S
        )
        self.chunk_bytes = self._histogram(
            "penstock_ingest_chunk_bytes", "Size of a chunk in the log, compressed", _CHUNK_BYTES
        )
        self.batch_events = self._histogram(
            "penstock_ingest_batch_events", "Accepted events that one batch appended at once", _CHUNK_EVENTS
        )
        self.batch_requests = self._histogram(
            "penstock_ingest_batch_requests", "Requests that shared one batch", _REQUESTS
        )
        self.queue_bytes = self._gauge(
            "penstock_ingest_queue_bytes", "Bytes of request bodies that arrive, wait or are being appended"
        )

    def _pipeline(self) -> None:
        self.append_s = self._histogram(
            "penstock_log_append_seconds", "From an append to its record being durable", _LATENCY_S, "kind"
        )
        self.append_failures = self._counter(
            "penstock_log_append_failures", "Appends whose outcome is not known", "kind"
        )
        self.folded = self._gauge("penstock_fold_offset", "Last offset folded and flushed", "partition")
        self.lag_records = self._gauge(
            "penstock_fold_lag_records", "Records that are known to be in the log and are not folded yet", "partition"
        )
        self.lag_s = self._gauge(
            "penstock_fold_lag_seconds", "Age of the oldest record that is being folded, 0 while none is", "partition"
        )
        self.restores = self._gauge(
            "penstock_fold_restores", "Times the partition's owner has read its state from the store", "partition"
        )
        self.marker_age_s = self._gauge(
            "penstock_fold_marker_age_seconds", "Age of the log clock of the partition's newest marker", "partition"
        )
        self.quarantined = self._gauge(
            "penstock_fold_quarantined_records", "Records that could not be read and were put away", "partition"
        )
        self._group()
        self.usage_lookups = self._counter(
            "penstock_usage_cache_lookups", "Usage questions by whether the cache had the answer", "result"
        )
        self.usage_cache_bytes = self._gauge("penstock_usage_cache_bytes", "Bytes of usage answers that are kept")

    def _group(self) -> None:
        self.owned_partitions = self._gauge("penstock_fold_partitions", "Partitions that this process folds now")
        self.stopped_partitions = self._gauge(
            "penstock_fold_stopped_partitions", "Partitions whose owner ended by an error that does not pass; must be 0"
        )
        self.rebalances = self._gauge("penstock_fold_rebalances", "Times the group has dealt out its partitions")
        self.group_restarts = self._gauge("penstock_fold_group_restarts", "Times Faust had to be started again")
        self.rereads = self._gauge(
            "penstock_fold_rereads", "Times a partition was read again: offsets with a gap, or torn bytes"
        )

    def _audit(self) -> None:
        self.conservation_error = self._gauge(
            "penstock_conservation_error", "Events by which the cells of the auditor's latest pass are off; must be 0"
        )
        self.audited_cells = self._counter("penstock_audited_cells", "Cells that the auditor has recomputed")

        self.cardinality_exceeded = self._gauge(
            "penstock_cardinality_exceeded",
            "Days, of the last two, on which a metric has more group combinations than its limit; absent is none",
            "tenant",
            "metric",
        )

    def _counter(self, name: str, meaning: str, *labels: str) -> Counter:
        return Counter(name, meaning, labels, registry=self.registry)

    def _gauge(self, name: str, meaning: str, *labels: str) -> Gauge:
        return Gauge(name, meaning, labels, registry=self.registry)

    def _histogram(self, name: str, meaning: str, buckets: Sequence[float], *labels: str) -> Histogram:
        return Histogram(name, meaning, labels, buckets=buckets, registry=self.registry)

    def served(self, owner: str, status: int, seconds: float) -> None:
        """An HTTP request was answered."""
        counter, histogram = self._once(
            (owner, status), lambda: (self.requests.labels(owner, str(status)), self.request_s.labels(owner))
        )
        counter.inc()
        histogram.observe(seconds)

    def answered(self, tenant: str, answer: IngestAnswer, body_bytes: int, seconds: float) -> None:
        label = self.tenant_label(tenant)
        accepted, size = self._once(
            label, lambda: (self.events.labels(label, "accepted"), self.ingest_bytes.labels(label))
        )
        accepted.inc(answer.accepted)
        size.inc(body_bytes)
        self.acknowledgement_s.observe(seconds)
        if not answer.events:
            return
        for verdict, events in answer.counts().items():
            if events and verdict is not Verdict.ACCEPTED:
                self.events.labels(label, verdict.name.lower()).inc(events)
        if answer.rejected:
            for event in answer.events:
                if event.verdict is Verdict.REJECTED:
                    self.rejections.labels(label, kind_of(event.reason).value).inc()

    def appended(self, requests: int, events: int, chunk_bytes: Sequence[int]) -> None:
        self.batch_requests.observe(requests)
        self.batch_events.observe(events)
        for size in chunk_bytes:
            self.chunk_bytes.observe(size)

    def called(self, method: str, status: str) -> None:
        self.calls.labels(method, status).inc()

    def usage_looked_up(self, is_hit: bool) -> None:
        """A usage question was answered, from the cache or not."""
        result = "hit" if is_hit else "miss"
        self._once(("usage", result), partial(self.usage_lookups.labels, result)).inc()

    def audited(self, cells: int, error_events: int) -> None:
        """The auditor has made a pass."""
        self.conservation_error.set(error_events)
        self.audited_cells.inc(cells)

    def exceeded(self, days: Mapping[tuple[str, str], int]) -> None:
        """On how many days each metric (tenant, id) that is beyond its limit is so."""
        self.cardinality_exceeded.clear()
        for (tenant, metric_id), count in days.items():
            self.cardinality_exceeded.labels(self.tenant_label(tenant), metric_id).set(count)

    def _once(self, key: Hashable, labelled: Callable[[], Any]) -> Any:
        """The series of a metric, looked up once: finding it by its labels costs more than counting."""
        if key not in self._series:
            self._series[key] = labelled()
        return self._series[key]

    def tenant_label(self, tenant: str) -> str:
        """The tenant, or one word for all tenants beyond the first `TENANTS_MAX`."""
        if tenant not in self._tenants:
            if len(self._tenants) >= TENANTS_MAX:
                return OTHER_TENANTS
            self._tenants.add(tenant)
        return tenant

    def exposition(self) -> bytes:
        """The text that Prometheus scrapes."""
        return generate_latest(self.registry)
