"""Apache Kafka for development and tests: one to three brokers in Docker where it answers, else from the Maven jars.

`python -m deploy.dev.kafka [--brokers N] [--port P] [--data-dir DIR]` runs it in the foreground (`make kafka`).
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

from deploy.dev.kafka_docker import containers
from deploy.dev.kafka_jars import NoBroker, classpath, version
from deploy.dev.kafka_process import BrokerProcess, Node

__all__ = ["Broker", "Cluster", "NoBroker", "kafka"]


class Broker(Protocol):
    """One broker of a cluster. All but `kill` return when it is so."""

    def stop(self) -> None:
        """Let it end in good order."""
        ...

    def kill(self) -> None:
        """End it at once."""
        ...

    def restart(self) -> None:
        """Start it again with its data and address; stop it first where it runs. Returns when it serves."""
        ...


class Cluster:
    """Brokers that run. `address` is what clients bootstrap from: host:port, separated by commas."""

    def __init__(self, brokers: Sequence[Broker], address: str) -> None:
        self.brokers, self.address = brokers, address


@contextlib.contextmanager
def kafka(folder: Path, brokers: int = 1, port: int | None = None) -> Iterator[Cluster]:
    """A cluster of `brokers` with its data and logs in `folder`, stopped on leaving. Raise `NoBroker`."""
    ports = free_ports(2 * brokers)
    if port is not None:
        ports[0] = port
    address = ",".join(f"127.0.0.1:{each}" for each in ports[:brokers])
    if docker_answers():
        with containers(version(), ports[:brokers]) as started:
            yield Cluster(started, address)
        return
    nodes = [Node(i + 1, ports[i], ports[brokers + i], folder / f"broker-{i + 1}") for i in range(brokers)]
    cluster_id, jars = _cluster_id(folder), classpath()
    processes = [BrokerProcess(node, nodes, cluster_id, jars) for node in nodes]
    with contextlib.ExitStack() as stack:
        for process in processes:
            stack.callback(process.kill if brokers > 1 else process.stop)  # the last two of three have no quorum
            process.launch()
        for process in processes:
            process.wait_ready()
        yield Cluster(processes, address)


def docker_answers() -> bool:
    """Whether a Docker daemon can be asked to run a container."""
    if shutil.which("docker") is None:
        return False
    try:
        done = subprocess.run(["docker", "info"], capture_output=True, timeout=20, check=False)
    except subprocess.TimeoutExpired:
        return False
    return done.returncode == 0 and b"Server Version" in done.stdout  # some clients end with 0 all the same


def free_ports(count: int) -> list[int]:
    """Loopback ports that are free now; all are held until the last is found, so that they differ."""
    with contextlib.ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def _cluster_id(folder: Path) -> str:
    """The id under which the storage in `folder` was or will be formatted."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "cluster-id"
    if not path.exists():
        path.write_text(base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("="))
    return path.read_text()


def main(arguments: Sequence[str]) -> int:
    """Run a cluster until SIGINT or SIGTERM."""
    parser = argparse.ArgumentParser(prog="make kafka", description=__doc__)
    parser.add_argument("--brokers", type=int, choices=(1, 2, 3), default=1)
    parser.add_argument("--port", type=int, help="the first broker's port; a free one otherwise")
    parser.add_argument("--data-dir", type=Path, help="kept afterwards; a temporary folder otherwise")
    options = parser.parse_args(arguments)
    stopped = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopped.set())
    with tempfile.TemporaryDirectory(prefix="penstock-kafka-") as temporary:
        folder = (options.data_dir or Path(temporary)).absolute()
        try:
            with kafka(folder, options.brokers, options.port) as cluster:
                sys.stdout.write(f"Apache Kafka {version()} answers at {cluster.address}\n")
                sys.stdout.write(f"Its data and logs are in {folder}. Stop it with Ctrl-C.\n")
                sys.stdout.flush()
                stopped.wait()
        except NoBroker as exc:
            sys.stderr.write(f"No Kafka: {exc}\n")
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
