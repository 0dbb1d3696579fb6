"""One Kafka broker (and controller) as a child process: started, stopped, killed and started again on its own ports."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from deploy.dev.kafka_jars import NoBroker

READY_TIMEOUT_S = 180
STOP_TIMEOUT_S = 30
POLL_S = 0.05
READY_LINE = b"Kafka Server started"
# A broker of minutes on two cores never earns back what the optimizing compiler and a parallel collector cost it.
JAVA = ("java", "-Xms128m", "-Xmx384m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC")
LOG_LEVEL = "-Dorg.apache.logging.log4j.level=INFO"


@dataclass(frozen=True)
class Node:
    """Where one broker of a cluster lives: its id, counted from 1, its ports on loopback, its folder."""

    id: int
    port: int
    controller_port: int
    folder: Path


class BrokerProcess:
    """A broker by its pid. `start` formats the storage where it is new and returns when the broker serves."""

    def __init__(self, node: Node, cluster: Sequence[Node], cluster_id: str, classpath: str) -> None:
        self.node = node
        self._cluster_id, self._classpath = cluster_id, classpath
        self._process: subprocess.Popen[bytes] | None = None
        self._properties = node.folder / "server.properties"
        self.log = node.folder / "broker.log"
        node.folder.mkdir(parents=True, exist_ok=True)
        self._properties.write_text(_properties(node, cluster))

    @property
    def pid(self) -> int | None:
        """Of the process, while it runs."""
        return None if self._process is None else self._process.pid

    def launch(self) -> None:
        """Start the process; `wait_ready` tells when it serves."""
        assert self._process is None, "a broker is started once at a time"
        if not (self.node.folder / "data" / "meta.properties").exists():
            self._format()
        with self.log.open("wb") as log:
            command = [*JAVA, LOG_LEVEL, "-cp", self._classpath, "kafka.Kafka", str(self._properties)]
            self._process = subprocess.Popen(command, stdout=log, stderr=log, cwd=self.node.folder)

    def wait_ready(self) -> None:
        """Return when the broker serves. Raise `NoBroker` with the end of its log where it does not."""
        deadline = time.monotonic() + READY_TIMEOUT_S
        while READY_LINE not in self.log.read_bytes():
            if self._process is None or self._process.poll() is not None or time.monotonic() > deadline:
                end = self.log.read_bytes()[-2_000:].decode(errors="replace")
                self.kill()
                raise NoBroker(f"broker {self.node.id} did not start; the end of {self.log}:\n{end}")
            time.sleep(POLL_S)

    def stop(self) -> None:
        """SIGTERM, and SIGKILL where that is not enough. Idempotent."""
        if self._process is not None:
            self._process.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(STOP_TIMEOUT_S)
        self.kill()

    def kill(self) -> None:
        """SIGKILL: what a power cut or the kernel does, but for the page cache. Idempotent."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def restart(self) -> None:
        """Stop it where it runs, and start it again with its data and ports."""
        self.stop()
        self.launch()
        self.wait_ready()

    def _format(self) -> None:
        arguments = ["format", "-t", self._cluster_id, "-c", str(self._properties)]
        command = ["java", "-Xmx128m", "-XX:TieredStopAtLevel=1", "-cp", self._classpath, "kafka.tools.StorageTool"]
        done = subprocess.run([*command, *arguments], capture_output=True, text=True, timeout=READY_TIMEOUT_S)
        if done.returncode:
            raise NoBroker(f"the storage could not be formatted: {(done.stdout + done.stderr)[-500:]}")


def _properties(node: Node, cluster: Sequence[Node]) -> str:
    voters = ",".join(f"{other.id}@127.0.0.1:{other.controller_port}" for other in cluster)
    settings = {
        "process.roles": "broker,controller",
        "node.id": node.id,
        "controller.quorum.voters": voters,
        "listeners": f"PLAINTEXT://127.0.0.1:{node.port},CONTROLLER://127.0.0.1:{node.controller_port}",
        "advertised.listeners": f"PLAINTEXT://127.0.0.1:{node.port}",
        "controller.listener.names": "CONTROLLER",
        "log.dirs": node.folder / "data",
        **broker_settings(len(cluster)),
    }
    return "".join(f"{name}={value}\n" for name, value in settings.items())


def broker_settings(brokers: int) -> dict[str, object]:
    """What every broker of a development cluster is told, however it is started."""
    return {
        "auto.create.topics.enable": "false",
        "unclean.leader.election.enable": "false",
        "default.replication.factor": brokers,
        "min.insync.replicas": 2 if brokers >= 3 else 1,
        "offsets.topic.replication.factor": brokers,
        "offsets.topic.num.partitions": 4,
        "transaction.state.log.replication.factor": brokers,
        "transaction.state.log.min.isr": 1,
        "group.initial.rebalance.delay.ms": 0,
        "group.min.session.timeout.ms": 1_000,  # a dead aggregator is noticed soon, too
        "num.network.threads": 2,
        "num.io.threads": 4,
        "log.cleaner.dedupe.buffer.size": 16 * 2**20,
        # A dead broker is noticed soon: fault tests wait for it.
        "broker.heartbeat.interval.ms": 500,
        "broker.session.timeout.ms": 3_000,
    }
