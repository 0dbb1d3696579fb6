"""The services as processes of their own, on one Kafka, one ClickHouse and one PostgreSQL, behind one address."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlencode

from deploy.dev.kafka import free_ports
from psycopg.conninfo import conninfo_to_dict

from penstock.app.settings import AGGREGATOR, CONTRACTS, GATEWAY, RATER
from server import PenstockServer, RawClient

ROLES = (GATEWAY, AGGREGATOR, RATER, CONTRACTS)
SECRET = "the-secret-between-the-services"


class RoleServer(PenstockServer):
    """`penstock <role>`. The client is that of `PenstockServer`, on this process's own address."""

    def __init__(self, role: str, data_dir: Path, ports: tuple[int, int, int], env: Mapping[str, str]) -> None:
        super().__init__(data_dir, env=env, ports=ports[:2])
        self.role, self.rpc_port = role, ports[2]
        self.program: Sequence[str] = ("-m", "penstock")

    def _command(self) -> list[str]:
        command = [sys.executable, *self.program, self.role, "--http-port", str(self.port)]
        command += ["--rpc-port", str(self.rpc_port), "--data-dir", str(self.data_dir)]
        command += ["--grpc-port", str(self.grpc_port)] if self.role == GATEWAY else []
        return command + (["--test-clock"] if self.role == CONTRACTS else [])

    def readyz(self) -> tuple[int, Any]:
        """Status, and the dependencies that are away with their reasons."""
        answer = RawClient(self.port, None).get("/readyz")
        found = answer.json["dependencies"].items()
        return answer.status, {name: each["reason"] for name, each in found if each["status"] != "ok"}


class Services:
    """All four. `tables` is the address of their PostgreSQL. Leaving the context kills what still runs.

    `copies` says of which roles there are several; siblings and forwarded requests go to the first. `env` is for all.
    """

    def __init__(
        self,
        folder: Path,
        kafka: str,
        clickhouse: str,
        postgres: str,
        partitions: int,
        *,
        copies: Mapping[str, int] | None = None,
        env: Mapping[str, str] | None = None,
    ) -> None:
        self.tables = url_of(postgres)
        names = [(role, n) for role in ROLES for n in range((copies or {}).get(role, 1))]
        numbers = iter(free_ports(3 * len(names)))
        ports = {name: (next(numbers), next(numbers), next(numbers)) for name in names}  # HTTP, gRPC, siblings
        common = {
            "PENSTOCK_EVENT_LOG": kafka,
            "PENSTOCK_KAFKA_REPLICATION": "1",
            "PENSTOCK_PARTITIONS": str(partitions),
            "PENSTOCK_USAGE_STORE": clickhouse,
            "PENSTOCK_TABLES": self.tables,
            "PENSTOCK_RPC_SECRET": SECRET,
            "PENSTOCK_RPC_TIMEOUT_MS": "5000",
        }
        for role in ROLES:
            http, _, rpc = ports[role, 0]
            common[f"PENSTOCK_{role.upper()}_RPC"] = f"127.0.0.1:{rpc}"
            common[f"PENSTOCK_{role.upper()}_URL"] = f"http://127.0.0.1:{http}"
        self._servers = {
            (role, n): RoleServer(
                role, folder / (f"{role}-{n}" if n else role), ports[role, n], common | dict(env or {})
            )
            for role, n in names
        }

    def __getitem__(self, role: str) -> RoleServer:
        return self._servers[role, 0]

    def every(self, *roles: str) -> list[RoleServer]:
        """All processes of these roles, of all where none is named."""
        return [server for (role, _), server in self._servers.items() if role in (roles or ROLES)]

    def __enter__(self) -> Self:
        try:
            for server in self._servers.values():
                server.data_dir.parent.mkdir(exist_ok=True)
                server.launch()
            for server in self._servers.values():
                server.wait_ready()
        except BaseException:
            self._leave()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        self._leave()

    def _leave(self) -> None:
        for server in self._servers.values():
            server.leave()

    def stop(self) -> None:
        """SIGTERM to all: each must drain and exit 0."""
        for server in self._servers.values():
            server.stop()


def url_of(dsn: str) -> str:
    """A libpq connection string as the URL that the settings take."""
    return f"postgresql:///?{urlencode(conninfo_to_dict(dsn))}"
