"""Every process ends in good order and starts again, one after the other, under load: no id is lost or doubled."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from deploy.dev.clickhouse import ClickHouseDev

from faults.conftest import PARTITIONS, Announce, StartServices
from faults.load import Load, acknowledged, under_load
from faults.shop import Shop
from faults.spooled_load import SpooledLoad
from kafka_part import StartKafka
from penstock.app.settings import AGGREGATOR, GATEWAY
from postgres_part import Server
from roles import RoleServer

COPIES = {GATEWAY: 2, AGGREGATOR: 2}
BROKERS = 3
REPLICATED = {"PENSTOCK_KAFKA_REPLICATION": str(BROKERS)}


def restarts(processes: Sequence[RoleServer | ClickHouseDev]) -> list[Callable[[], None]]:
    """For each: SIGTERM, end with 0, start, be ready."""

    def restart(process: RoleServer | ClickHouseDev) -> None:
        process.stop()
        process.start()

    return [lambda process=process: restart(process) for process in processes]  # type: ignore[misc]  # bound now


@pytest.mark.faults
@pytest.mark.timeout(1800)
def test_a_rolling_restart_of_everything_loses_and_doubles_nothing(
    start_services: StartServices,
    start_kafka: StartKafka,
    postgres_server: Server,
    tmp_path: Path,
    announce: Announce,
) -> None:
    chance = announce(
        "every service, the ClickHouse front, PostgreSQL and a broker of three restart in turn under load"
    )
    cluster = start_kafka(BROKERS)
    with ClickHouseDev(tmp_path / "clickhouse") as front:
        services = start_services(cluster.address, front.url, postgres_server.dsn, copies=COPIES, env=REPLICATED)
        gateways = services.every(GATEWAY)
        shop = Shop(services[GATEWAY], PARTITIONS)
        loads = [Load(gateways, random.Random(chance.random()), f"plain{n}-") for n in range(2)]
        spooled = SpooledLoad(gateways[1], random.Random(chance.random()), "spooled-", tmp_path / "spool")
        steps = restarts([*services.every(), front])
        steps += [postgres_server.restart, chance.choice(list(cluster.brokers)).restart]
        chance.shuffle(steps)

        with under_load([*loads, spooled]):
            for step in steps:
                step()

        shop.assert_exact(acknowledged([*loads, spooled]), chance)
        services.stop()
