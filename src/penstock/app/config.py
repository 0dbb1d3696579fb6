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
    fold_lag_ms_max: int = 1_000
    dedupe_ids_max: int = 2_000_000
    log_retention_hours: int = 24
    finalize_interval_ms: int = 5_000
    log_level: str = "INFO"
    crash_at: str | None = None

    def __post_init__(self) -> None:
        for name in ("http_port", "grpc_port"):
            if not 0 <= getattr(self, name) <= 65_535:
                raise ValueError(f"{name} must be from 0 to 65535")
        if not 1 <= self.partitions <= 64:
            raise ValueError("partitions must be from 1 to 64")


HELP = {
    "host": "address to listen on",
    "http_port": "port of the HTTP API",
    "grpc_port": "port kept for gRPC ingest, which this version does not serve yet",
    "data_dir": "folder that holds the log, the usage store and the definitions",
    "partitions": "partitions of a new log; fixed for its life",
    "test_clock": "let POST /v1/test-clock/advance move the time that contracts see",
    "bootstrap_api_key": "the first admin key; made and printed once where it is not given",
    "tick_interval_ms": "milliseconds between the ticks that give an idle partition a clock",
    "ingest_linger_ms": "milliseconds for which requests wait to share a chunk",
    "ingest_queue_bytes_max": "bytes of accepted requests in memory, beyond which the answer is 429",
    "fold_lag_ms_max": "milliseconds that usage may lag before ingest is slowed down",
    "dedupe_ids_max": "ids that the gateway's own window remembers; the aggregator's is exact over 37 days",
    "log_retention_hours": "hours that folded records stay in the log",
    "finalize_interval_ms": "milliseconds between two looks for invoices that are due",
    "log_level": "DEBUG, INFO, WARNING or ERROR",
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


def _path(kind: type, value: object) -> Path:
    if kind is Path:
        return Path(str(value))
    raise TypeError(f"no setting is a {kind}")
