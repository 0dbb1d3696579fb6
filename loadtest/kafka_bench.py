"""`make bench-kafka`: the four services on a real broker and a ClickHouse front, everything on this machine.

Flat out in batches of 1,000, then at 70 % of that. CPU is that of every process, the broker and the store included.
"""

from __future__ import annotations

import argparse
import contextlib
import secrets
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import msgspec
from deploy.dev.clickhouse import ClickHouseDev
from deploy.dev.kafka import free_ports, kafka
from deploy.dev.kafka_process import BrokerProcess
from loadtest.bench import HEAD, PACED_PERCENT, Bench, Measured, Row, floor, say_row
from loadtest.files import RESULTS
from loadtest.machine import this_machine
from loadtest.options import Options
from loadtest.run import run
from loadtest.terminal import say

Ports = tuple[int, int, int]  # HTTP, gRPC, siblings
ROLES = ("gateway", "aggregator", "rater", "contracts")
READY_WITHIN_S = 90
ROW = Row("Kafka, batches of 1,000", "http", 1_000, 16, 60_000, 150_000)


class Deployment(msgspec.Struct, frozen=True):
    """Where the gateway answers, its key, and every process by name."""

    url: str
    grpc: str
    key: str
    pids: Mapping[str, int]


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--duration", type=int, default=20, metavar="S", help="seconds of sending per row")
    parser.add_argument("--partitions", type=int, default=2, metavar="N", help="of the log: as many as folding cores")
    parser.add_argument("--out", type=Path, metavar="FILE.json", help=f"default: a new file in {RESULTS.name}/")


def bench_kafka(given: argparse.Namespace) -> int:
    """Print the table; 0 where both runs add up, whatever their speed."""
    started = datetime.now(UTC)
    with tempfile.TemporaryDirectory() as folder, deployed(Path(folder), given.partitions) as deployment:
        say(HEAD)
        fastest = _measure(ROW, deployment, given.duration, None)
        rate = fastest.report.visible_per_s * PACED_PERCENT // 100 if fastest.report else None
        slower = msgspec.structs.replace(ROW, name=f"the same at {PACED_PERCENT} % of that")
        paced = _measure(slower, deployment, given.duration, rate)
    out = given.out or RESULTS / f"{started:%Y%m%d-%H%M%S}-bench-kafka.json"
    found = Bench(started.isoformat(timespec="seconds"), this_machine(), (fastest, paced), ())
    out.write_bytes(msgspec.json.encode(found) + b"\n")
    say(f"written to {out}")
    return 0 if all(each.report is not None and each.report.verdict.adds_up for each in (fastest, paced)) else 1


def _measure(row: Row, deployment: Deployment, duration_s: int, rate: int | None) -> Measured:
    options = Options(
        target=deployment.url,
        grpc_target=deployment.grpc,
        protocol=row.protocol,
        batch=row.batch,
        connections=row.connections,
        duration_s=duration_s,
        rate=rate,
        server_pids=deployment.pids,
    )
    measured = Measured(row, floor(options), run(options, deployment.key))
    say_row(measured)
    return measured


@contextlib.contextmanager
def deployed(folder: Path, partitions: int) -> Iterator[Deployment]:
    """One broker, one ClickHouse front, and each service as a process of its own with its tables in SQLite."""
    with contextlib.ExitStack() as up:
        cluster = up.enter_context(kafka(folder / "kafka"))
        front = up.enter_context(ClickHouseDev(folder / "clickhouse"))
        ports = dict(zip(ROLES, zip(*[iter(free_ports(12))] * 3, strict=True), strict=True))
        key, secret = secrets.token_hex(16), secrets.token_hex(16)
        options = _options(ports, f"kafka://{cluster.address}", front.url, partitions, key)
        pids: dict[str, int] = {}
        for role in ROLES:
            process = _role(role, folder / role, ports[role], [*options[role], "--rpc-secret", secret])
            pids[role] = up.enter_context(process).pid
        for role in ROLES:
            _await_ready(role, ports[role][0])
        pids["clickhouse"] = front.pid
        broker = cluster.brokers[0]
        if isinstance(broker, BrokerProcess) and broker.pid is not None:  # a container's CPU is not read
            pids["kafka"] = broker.pid
        http, grpc, _ = ports["gateway"]
        yield Deployment(f"http://127.0.0.1:{http}", f"127.0.0.1:{grpc}", key, pids)


def _options(ports: Mapping[str, Ports], log: str, store: str, partitions: int, key: str) -> dict[str, list[str]]:
    """What each role is told of the others and of the parts."""
    of_log = ["--event-log", log, "--kafka-replication", "1", "--partitions", str(partitions)]
    urls = {role: [f"--{role}-url", f"http://127.0.0.1:{http}"] for role, (http, _, _) in ports.items()}
    rpc = {role: [f"--{role}-rpc", f"127.0.0.1:{port}"] for role, (_, _, port) in ports.items()}
    door = ["--grpc-port", str(ports["gateway"][1]), "--bootstrap-api-key", key]
    return {
        "gateway": [*of_log, *door, *urls["aggregator"], *urls["rater"], *urls["contracts"]],
        "aggregator": [*of_log, "--usage-store", store, *rpc["gateway"], *rpc["contracts"]],
        "rater": [*rpc["gateway"], *rpc["aggregator"]],
        "contracts": [*rpc["gateway"], *rpc["aggregator"], *rpc["rater"]],
    }


@contextlib.contextmanager
def _role(role: str, folder: Path, ports: Ports, options: Sequence[str]) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-m", "penstock", role, "--data-dir", str(folder), "--log-level", "ERROR"]
    command += ["--http-port", str(ports[0]), "--rpc-port", str(ports[2]), *options]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


def _await_ready(role: str, port: int) -> None:
    deadline = time.monotonic() + READY_WITHIN_S
    while time.monotonic() < deadline:
        with contextlib.suppress(urllib.error.URLError, OSError):
            if urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=5).status == 200:
                return
        time.sleep(0.1)
    raise RuntimeError(f"the {role} was not ready within {READY_WITHIN_S} s")
