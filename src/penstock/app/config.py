"""Settings: one frozen struct, built once; the only reader of the environment.

Every setting has a command-line option and an environment variable `PENSTOCK_<NAME>`; the option wins. What each is
for, and which role reads it, is in `settings.py`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import msgspec

from penstock.kernel.meter import GROUP_COMBINATIONS_MAX

PREFIX = "PENSTOCK_"
LOG_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")


class Config(msgspec.Struct, frozen=True):
    """How one process runs. Units are in the names; what has no unit is a count, a name or an address."""

    host: str = "127.0.0.1"
    http_port: int = 8600
    grpc_port: int = 8601
    data_dir: Path = Path("penstock-data")
    event_log: str = "embedded"
    usage_store: str = "embedded"
    tables: str = "sqlite"
    kafka_replication: int = 3
    kafka_retention_hours: int = 168
    kafka_security_protocol: str = "PLAINTEXT"
    kafka_sasl_mechanism: str = "PLAIN"
    kafka_ca: Path | None = None
    kafka_cert: Path | None = None
    kafka_key: Path | None = None
    kafka_timeout_ms: int = 10_000
    kafka_session_timeout_ms: int = 10_000
    clickhouse_replicated: bool = False
    clickhouse_timeout_ms: int = 30_000
    start_timeout_ms: int = 60_000
    rpc_port: int = 8602
    rpc_secret: str | None = None
    rpc_cert: Path | None = None
    rpc_key: Path | None = None
    rpc_ca: Path | None = None
    rpc_timeout_ms: int = 10_000
    rpc_drain_ms_max: int = 5_000
    gateway_rpc: str = "127.0.0.1:8602"
    aggregator_rpc: str = "127.0.0.1:8612"
    rater_rpc: str = "127.0.0.1:8622"
    contracts_rpc: str = "127.0.0.1:8632"
    aggregator_url: str = "http://127.0.0.1:8610"
    rater_url: str = "http://127.0.0.1:8620"
    contracts_url: str = "http://127.0.0.1:8630"
    forward_timeout_ms: int = 60_000
    key_age_ms_max: int = 300_000
    owned_partitions: str = "group"
    ready_lag_records_max: int = 10_000
    fold_drain_ms_max: int = 10_000
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
    fold_lag_ms_max: int = 1_500
    dedupe_ids_max: int = 2_000_000
    compile_after_bytes: int = 0
    memory_ids_max: int = 4_000_000
    usage_cache_bytes_max: int = 64 * 2**20
    group_combinations_max: int = GROUP_COMBINATIONS_MAX
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
        for name in ("http_port", "grpc_port", "rpc_port"):
            _demand(0 <= getattr(self, name) <= 65_535, f"{name} must be from 0 to 65535")
        for name in ("tls", "rpc", "kafka"):
            together = (getattr(self, f"{name}_cert") is None) == (getattr(self, f"{name}_key") is None)
            _demand(together, f"{name}_cert and {name}_key are given together")
        _demand(self.tls_ca is None or self.tls_cert is not None, "tls_ca needs tls_cert and tls_key")
        _demand((self.rpc_ca is None) == (self.rpc_cert is None), "rpc_ca, rpc_cert and rpc_key are given together")
        _demand(self.log_level in LOG_LEVELS, f"log_level must be one of {', '.join(LOG_LEVELS)}")
        _demand(self.log_format in ("text", "json"), "log_format must be text or json")
        _demand(1 <= self.partitions <= 64, "partitions must be from 1 to 64")
        for name in _AT_LEAST_1:
            _demand(getattr(self, name) >= 1, f"{name} must be at least 1")
        for name, schemes in _ADAPTERS.items():
            scheme, is_url, _ = getattr(self, name).partition("://")
            known = schemes[1:] if is_url else schemes[:1]
            _demand(scheme in known, f"{name} must be {schemes[0]} or start with {schemes[1]}://")
        self.partitions_owned()

    def partitions_owned(self) -> tuple[int, ...] | None:
        """What this aggregator folds, ascending, or None: the group says. Raise `ValueError` for what names none."""
        if self.owned_partitions == "group":
            return None
        if self.owned_partitions == "all":
            return tuple(range(self.partitions))
        owned: set[int] = set()
        for part in self.owned_partitions.split(","):
            first, _, last = part.strip().partition("-")
            last = last or first
            _demand(first.isdecimal() and last.isdecimal(), "owned_partitions must be group, all, or as in 0,2-5")
            in_order = int(first) <= int(last) < self.partitions
            _demand(in_order, f"owned_partitions must be among the partitions 0 to {self.partitions - 1}")
            owned |= set(range(int(first), int(last) + 1))
        return tuple(sorted(owned))


_AT_LEAST_1 = (
    "group_combinations_max",
    "request_bytes_max",
    "request_events_max",
    "arrow_events_max",
    "body_timeout_ms",
    "rpc_timeout_ms",
    "forward_timeout_ms",
    "kafka_timeout_ms",
    "kafka_session_timeout_ms",
    "clickhouse_timeout_ms",
)
# The adapter that needs nothing else, then the schemes of the one that many processes share.
_ADAPTERS = {
    "event_log": ("embedded", "kafka"),
    "usage_store": ("embedded", "clickhouse", "clickhouses", "http", "https"),
    "tables": ("sqlite", "postgresql", "postgres"),
}
# Where a role listens unless told otherwise, so that all of them fit on one machine.
PORTS: dict[str, dict[str, object]] = {
    "aggregator": {"http_port": 8610, "rpc_port": 8612},
    "rater": {"http_port": 8620, "rpc_port": 8622},
    "contracts": {"http_port": 8630, "rpc_port": 8632},
}


def _demand(holds: bool, otherwise: str) -> None:
    if not holds:
        raise ValueError(otherwise)


def load(environment: Mapping[str, str], options: Mapping[str, object], role: str = "up") -> Config:
    """Settings from `options`, else the environment, else the role's default. Raise `ValueError` naming a bad one."""
    values = dict(PORTS.get(role, {}))
    for field in msgspec.structs.fields(Config):
        if options.get(field.name) is not None:
            values[field.name] = options[field.name]
        elif PREFIX + field.name.upper() in environment:
            values[field.name] = environment[PREFIX + field.name.upper()]
    try:
        return msgspec.convert(values, Config, strict=False, dec_hook=_path)
    except msgspec.ValidationError as exc:
        raise ValueError(f"a setting is wrong: {exc}") from exc


def from_environment(options: Mapping[str, object], role: str = "up") -> Config:
    return load(os.environ, options, role)


def variable(name: str) -> str | None:
    """The environment's `PENSTOCK_<name>`, for a command that has no `Config`."""
    return os.environ.get(PREFIX + name)


def _path(kind: type, value: object) -> Path:
    if kind is Path:
        return Path(str(value))
    raise TypeError(f"no setting is a {kind}")
