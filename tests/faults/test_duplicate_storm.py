"""Each event 1 to 50 times, shuffled, over gateways and protocols, and again when both services have forgotten."""

from __future__ import annotations

import shutil

import pytest

from builders import batches
from faults.conftest import PARTITIONS, Announce, StartServices
from faults.load import Load
from faults.protocols import WAYS
from faults.shop import Shop
from penstock.app.settings import AGGREGATOR, GATEWAY
from roles import RoleServer

COPIES = {GATEWAY: 2, AGGREGATOR: 2}
EVENTS = 1_000
COPIES_MAX = 50
BATCH = 500
FEW_IDS = {"PENSTOCK_MEMORY_IDS_MAX": "400"}  # in memory: most are in files
FORGETTING = {"PENSTOCK_DEDUPE_IDS_MAX": "0"}


def lose_the_files(aggregator: RoleServer) -> None:
    """Kill it, and let its successor begin with an empty disk: what is known of ids is in the usage store."""
    aggregator.kill9()
    shutil.rmtree(aggregator.data_dir / "ids")
    aggregator.start()


@pytest.mark.faults
@pytest.mark.timeout(1800)
def test_a_storm_of_duplicates_counts_each_event_once(
    start_services: StartServices,
    kafka_address: str,
    clickhouse_url: str,
    postgres_database_dsn: str,
    announce: Announce,
) -> None:
    chance = announce(f"{EVENTS} events, 1 to {COPIES_MAX} copies each, over 2 gateways in {len(WAYS)} ways, twice")
    services = start_services(kafka_address, clickhouse_url, postgres_database_dsn, copies=COPIES, env=FEW_IDS)
    gateways = services.every(GATEWAY)
    shop, load = Shop(services[GATEWAY], PARTITIONS), Load(gateways, chance, "e")
    copies = [event for event in load.batch(EVENTS) for _ in range(chance.randint(1, COPIES_MAX))]

    for lives in range(2):
        chance.shuffle(copies)
        for batch in batches(copies, BATCH):
            load.send(batch)
        shop.assert_exact(load.acknowledged, chance)
        if lives == 0:
            for aggregator in services.every(AGGREGATOR):
                lose_the_files(aggregator)
            for gateway in gateways:
                gateway.stop()
                gateway.start(FORGETTING)

    assert load.duplicates > 0  # a gateway knew it
    assert services[GATEWAY].outcomes()["duplicate"] >= EVENTS  # nobody but an owner of its partition did
    services.stop()
