"""The official Apache Kafka image by testcontainers: one to three brokers on fixed ports of this machine."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

from deploy.dev.kafka_process import READY_LINE, READY_TIMEOUT_S, broker_settings
from testcontainers.core.container import DockerContainer
from testcontainers.core.network import Network
from testcontainers.core.wait_strategies import LogMessageWaitStrategy

IMAGE = "apache/kafka"
CLUSTER_ID = "cGVuc3RvY2stZGV2LWtmaw"
# One listener for clients on this machine, one among the brokers, one among the controllers.
LISTENERS = "PLAINTEXT://:9092,INTERNAL://:9094,CONTROLLER://:9093"
PROTOCOLS = "PLAINTEXT:PLAINTEXT,INTERNAL:PLAINTEXT,CONTROLLER:PLAINTEXT"


class BrokerContainer:
    """One broker. Its port on this machine is fixed, so that a restart does not move it."""

    def __init__(self, image: str, network: Network, port: int, id: int, brokers: int) -> None:
        self._container = DockerContainer(image).with_bind_ports(9092, port).with_network(network)
        self._container.with_network_aliases(f"broker-{id}")
        for name, value in _settings(port, id, brokers).items():
            self._container.with_env("KAFKA_" + name.replace(".", "_").upper(), str(value))
        self._container.with_env("CLUSTER_ID", CLUSTER_ID)
        self._starts = 0

    def launch(self) -> None:
        self._container.start()
        self._starts += 1

    def wait_ready(self) -> None:
        said = LogMessageWaitStrategy(READY_LINE.decode(), times=self._starts)
        said.with_startup_timeout(READY_TIMEOUT_S).wait_until_ready(self._container)

    def stop(self) -> None:
        self._container.get_wrapped_container().stop()

    def kill(self) -> None:
        self._container.get_wrapped_container().kill()

    def restart(self) -> None:
        self._container.get_wrapped_container().restart()
        self._starts += 1
        self.wait_ready()

    def remove(self) -> None:
        self._container.stop()


@contextlib.contextmanager
def containers(version: str, ports: Sequence[int]) -> Iterator[list[BrokerContainer]]:
    """A broker for each port, in a network of their own; all removed on leaving."""
    with contextlib.ExitStack() as stack:
        network = stack.enter_context(Network())
        image = f"{IMAGE}:{version}"
        brokers = [BrokerContainer(image, network, port, i + 1, len(ports)) for i, port in enumerate(ports)]
        for broker in brokers:
            stack.callback(broker.remove)
            broker.launch()
        for broker in brokers:
            broker.wait_ready()
        yield brokers


def _settings(port: int, id: int, brokers: int) -> dict[str, object]:
    return {
        "process.roles": "broker,controller",
        "node.id": id,
        "controller.quorum.voters": ",".join(f"{i}@broker-{i}:9093" for i in range(1, brokers + 1)),
        "listeners": LISTENERS,
        "advertised.listeners": f"PLAINTEXT://127.0.0.1:{port},INTERNAL://broker-{id}:9094",
        "listener.security.protocol.map": PROTOCOLS,
        "inter.broker.listener.name": "INTERNAL",
        "controller.listener.names": "CONTROLLER",
        **broker_settings(brokers),
    }
