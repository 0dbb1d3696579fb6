"""How to reach the brokers, and what the topic must be like."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
from aiokafka.helpers import create_ssl_context

# The largest chunk the gateway makes is far below it; one record is one chunk.
RECORD_BYTES_MAX = 16 * 2**20
# Appends that come while a request is under way share the next one, up to this many bytes in a partition.
BATCH_BYTES_MAX = 2**20
DAY_MS = 24 * 60 * 60 * 1_000


class KafkaSettings(msgspec.Struct, frozen=True, kw_only=True):
    """`bootstrap_servers` are host:port, separated by commas. The partition count is fixed for the life of the topic.

    `retention_ms` is the broker's own bound (-1 for none); the owner of a partition trims what it has folded anyway.
    `linger_ms` is what an append may wait for others; `append_timeout_ms` is when its outcome is given up as unknown.
    """

    bootstrap_servers: str
    topic: str = "penstock.events"
    partitions: int = 8
    replication: int = 3
    retention_ms: int = 7 * DAY_MS
    linger_ms: int = 0
    in_flight_bytes_max: int = 32 * 2**20
    append_timeout_ms: int = 10_000
    request_timeout_ms: int = 10_000
    security_protocol: str = "PLAINTEXT"
    sasl_mechanism: str = "PLAIN"
    sasl_username: str | None = None
    sasl_password: str | None = None
    ssl_cafile: Path | None = None
    ssl_certfile: Path | None = None
    ssl_keyfile: Path | None = None

    def __repr__(self) -> str:
        return f"KafkaSettings({self.topic} at {self.bootstrap_servers})"  # never the password

    @property
    def min_insync(self) -> int:
        """How many replicas an append must reach at least."""
        return 2 if self.replication >= 3 else 1

    def connection(self) -> dict[str, Any]:
        """What every client of aiokafka is told."""
        with_tls = self.security_protocol in ("SSL", "SASL_SSL")
        return {
            "bootstrap_servers": self.bootstrap_servers.split(","),
            "client_id": "penstock",
            "request_timeout_ms": self.request_timeout_ms,
            "security_protocol": self.security_protocol,
            "ssl_context": self._ssl_context() if with_tls else None,
            "sasl_mechanism": self.sasl_mechanism,
            "sasl_plain_username": self.sasl_username,
            "sasl_plain_password": self.sasl_password,
        }

    def _ssl_context(self) -> Any:
        files = {"cafile": self.ssl_cafile, "certfile": self.ssl_certfile, "keyfile": self.ssl_keyfile}
        return create_ssl_context(**{name: str(path) for name, path in files.items() if path is not None})
