"""kill -9 of a gateway when the log has taken what nobody was told of: clients send it again, and it counts once."""

from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from faults import dying_gateway
from faults.conftest import PARTITIONS, Announce, StartServices
from faults.load import Load, acknowledged, under_load
from faults.shop import Shop
from faults.spooled_load import SpooledLoad
from penstock.app.settings import GATEWAY
from roles import RoleServer

SEEDS = 3
DEATHS = 4  # of each of two gateways
CHUNKS_MAX = 12  # of a life


def die_again_and_again(gateway: RoleServer, chance: random.Random) -> None:
    """Each life ends by itself with chunks in the log that it answered to nobody; the last one stays."""
    gateway.kill9()
    for _ in range(DEATHS):
        gateway.start({dying_gateway.DIE_AFTER: str(chance.randint(1, CHUNKS_MAX))}, may_die=True)
        gateway.wait_until_gone()
    gateway.start()


@pytest.mark.faults
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("seed_number", range(SEEDS))
def test_gateways_that_die_between_append_and_answer_change_no_figure(
    start_services: StartServices,
    kafka_address: str,
    clickhouse_url: str,
    postgres_database_dsn: str,
    tmp_path: Path,
    announce: Announce,
    seed_number: int,
) -> None:
    forgets = seed_number % 2 == 1  # then every copy of an earlier life is left to the aggregator
    chance = announce(
        f"two gateways, {DEATHS} times each, die with unanswered chunks in the log; they forget: {forgets}"
    )
    env = {"PENSTOCK_DEDUPE_IDS_MAX": "0"} if forgets else {}
    services = start_services(kafka_address, clickhouse_url, postgres_database_dsn, copies={GATEWAY: 2}, env=env)
    gateways = services.every(GATEWAY)
    shop = Shop(services[GATEWAY], PARTITIONS)
    plain = [Load(gateways, random.Random(chance.random()), f"plain{n}-") for n in range(2)]
    spooled = [
        SpooledLoad(gateway, random.Random(chance.random()), f"spooled{n}-", tmp_path / f"spool-{n}")
        for n, gateway in enumerate(gateways)
    ]

    with under_load([*plain, *spooled]), ThreadPoolExecutor(len(gateways)) as threads:
        for gateway in gateways:
            gateway.program = (dying_gateway.__file__,)
        chances = [random.Random(chance.random()) for _ in gateways]
        list(threads.map(die_again_and_again, gateways, chances))

    assert sum(load.unanswered for load in plain) > 0
    shop.assert_exact(acknowledged([*plain, *spooled]), chance)
    twice_in_the_log = services[GATEWAY].outcomes()["duplicate"]  # a gateway that remembers sends no copy there
    assert twice_in_the_log > 0 or not forgets
    services.stop()
