"""Settings: one frozen struct, built once; the only reader of the environment.

Every setting has a command-line option and an environment variable `PENSTOCK_<NAME>`; the option wins.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import msgspec

PREFIX = "PENSTOCK_"


class Config(msgspec.Struct, frozen=True):
    """How one process runs. Units are in the names; `help_of` says what each is for."""

    host: str = "127.0.0.1"
    http_port: int = 8600
    grpc_port: int = 8601
    data_dir: Path = Path("penstock-data")
    partitions: int = 1
    test_clock: bool = False
    bootstrap_api_key: str | None = None
    tick_interval_ms: int = 5_000
    ingest_linger_ms: int = 5
    ingest_queue_bytes_max: int = 64 * 2**20
    request_bytes_max: int = 32 * 2**20
    request_events_max: int = 10_000
    arrow_events_max: int = 100_000
    event_properties_bytes_max: int = 64 * 2**10
    tenant_events_per_s_max: int = 0
    tenant_bytes_per_s_max: int = 0
    body_timeout_ms: int = 30_000
    fold_lag_ms_max: int = 600
    dedupe_ids_max: int = 2_000_000
    memory_ids_max: int = 4_000_000
    usage_cache_bytes_max: int = 64 * 2**20
    log_retention_hours: int = 24
    finalize_interval_ms: int = 5_000
    audit_interval_ms: int = 60_000
    audit_events_max: int = 100_000
    grpc_drain_ms_max: int = 10_000
    tls_cert: Path | None = None
    tls_key: Path | None = None
    tls_ca: Path | None = None
    log_level: str = "INFO"
    log_format: str = "text"
    crash_at: str | None = None

    def __post_init__(self) -> None:
        for name in ("http_port", "grpc_port"):
            if not 0 <= getattr(self, name) <= 65_535:
                raise ValueError(f"{name} must be from 0 to 65535")
        if (self.tls_cert is None) != (self.tls_key is None):
            raise ValueError("tls_cert and tls_key are given together")
        if self.tls_ca is not None and self.tls_cert is None:
            raise ValueError("tls_ca needs tls_cert and tls_key")
        if self.log_format not in ("text", "json"):
            raise ValueError("log_format must be text or json")
        if not 1 <= self.partitions <= 64:
            raise ValueError("partitions must be from 1 to 64")
        for name in ("request_bytes_max", "request_events_max", "arrow_events_max", "body_timeout_ms"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1")


HELP = {
    "host": "address to listen on",
    "http_port": "port of the HTTP API",
    "grpc_port": "port of the gRPC API",
    "data_dir": "folder that holds the log, the usage store and the definitions",
    "partitions": "partitions of a new log; fixed for its life",
    "test_clock": "let POST /v1/test-clock/advance move the time that contracts see",
    "bootstrap_api_key": "the first admin key; made and printed once where it is not given",
    "tick_interval_ms": "milliseconds between the ticks that give an idle partition a clock",
    "ingest_linger_ms": "milliseconds for which requests wait to share a chunk",
    "ingest_queue_bytes_max": "bytes of accepted requests in memory, beyond which the answer is 429",
    "request_bytes_max": "bytes of one request's body, packed and unpacked",
    "request_events_max": "events of one request of JSON or NDJSON",
    "arrow_events_max": "events of one request of Arrow IPC",
    "event_properties_bytes_max": "bytes of one event's properties",
    "tenant_events_per_s_max": "events a second of one tenant, beyond which the answer is 429; 0 is no limit",
    "tenant_bytes_per_s_max": "bytes a second of one tenant's bodies, unpacked; 0 is no limit",
    "body_timeout_ms": "milliseconds in which a request's body must arrive, beyond which the answer is 408",
    "fold_lag_ms_max": "milliseconds that usage may lag before ingest is slowed down",
    "dedupe_ids_max": "ids that the gateway's own window remembers; the aggregator's is exact over 37 days",
    "memory_ids_max": "ids of the aggregator's window in memory, 26 bytes each; older ones are in files",
    "usage_cache_bytes_max": "bytes of answers to usage questions that are kept for the next time; 0 keeps none",
    "log_retention_hours": "hours that folded records stay in the log",
    "finalize_interval_ms": "milliseconds between two looks for invoices that are due",
    "audit_interval_ms": "milliseconds between two passes of the auditor over a sample of cells; 0 makes none",
    "audit_events_max": "stored events that one pass of the auditor counts again, about",
    "grpc_drain_ms_max": "milliseconds that gRPC clients get to read their receipts before the process ends",
    "tls_cert": "PEM file of the certificate for HTTP and gRPC; TLS is off without it",
    "tls_key": "PEM file of the certificate's private key",
    "tls_ca": "PEM file of the authority whose client certificates are demanded",
    "log_level": "DEBUG, INFO, WARNING or ERROR",
    "log_format": "text, or json for one JSON object a line",
    "crash_at": "for fault tests: STEP:N kills the process when a flush reaches STEP for the Nth time",
}


def load(environment: Mapping[str, str], options: Mapping[str, object]) -> Config:
    """Settings from `options`, else the environment, else the default. Raise `ValueError` naming a bad one."""
    values: dict[str, object] = {}
    for field in msgspec.structs.fields(Config):
        if options.get(field.name) is not None:
            values[field.name] = options[field.name]
        elif PREFIX + field.name.upper() in environment:
            values[field.name] = environment[PREFIX + field.name.upper()]
    try:
        return msgspec.convert(values, Config, strict=False, dec_hook=_path)
    except msgspec.ValidationError as exc:
        raise ValueError(f"a setting is wrong: {exc}") from exc


def from_environment(options: Mapping[str, object]) -> Config:
    return load(os.environ, options)


def variable(name: str) -> str | None:
    """The environment's `PENSTOCK_<name>`, for a command that has no `Config`."""
    return os.environ.get(PREFIX + name)


def _path(kind: type, value: object) -> Path:
    if kind is Path:
        return Path(str(value))
    raise TypeError(f"no setting is a {kind}")
