"""The disk of a `penstock up` is full: 429, nothing acknowledged is lost, and with room it goes on by itself."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from builders import Body
from faults.conftest import Announce
from faults.load import Load
from faults.protocols import Unanswered
from faults.shop import Shop
from faults.small_disk import SmallDisk, small_disk
from server import PenstockServer, eventually

MIB = 2**20
DISK_BYTES = 96 * MIB
PARTITIONS = 2
REFUSALS = 8
BATCHES_MAX = 3_000
SETTINGS = {"PENSTOCK_PARTITIONS": str(PARTITIONS), "PENSTOCK_TICK_INTERVAL_MS": "500"}
ROUNDS = 6


def send_until_full(load: Load, disk: SmallDisk, chance: random.Random) -> list[list[Body]]:
    """Fill the disk by what is sent, then send on; return the batches that were refused, each with 429."""
    disk.fill(leaving_bytes=chance.randrange(MIB // 4, 3 * MIB))
    refused: list[list[Body]] = []
    reasons: set[str] = set()
    for _ in range(BATCHES_MAX):
        batch = load.batch()
        try:
            load.try_once(batch)
        except Unanswered as exc:
            reasons.add(exc.why)
            refused.append(batch)
            disk.fill(leaving_bytes=0)  # whatever a merge gave back
        if len(refused) == REFUSALS:
            break
    assert len(refused) == REFUSALS
    assert reasons <= {"429", "RESOURCE_EXHAUSTED"}
    return refused


def assert_refused_by_name(server: PenstockServer, batch: list[Body]) -> None:
    """It names the full log, and says when to come back; the process itself lives."""

    def told() -> tuple[int, str, bool]:
        answer = server.raw.post("/v1/ingest", batch)
        return answer.status, answer.json.get("type", ""), int(answer.headers.get("retry-after", 0)) > 0

    eventually(told, (429, "urn:penstock:problem:log-full", True))
    assert server.raw.get("/healthz").status == 200


def fill_again_and_again(folder: Path, rounds: int, chance: random.Random) -> None:
    """The disk is full so many times; in every other round the process is killed while it is."""
    with small_disk(folder, DISK_BYTES) as disk, PenstockServer(disk.folder, env=SETTINGS) as server:
        shop, load = Shop(server, PARTITIONS), Load([server], chance, "e")
        load.send(load.batch())
        for n in range(rounds):
            refused = send_until_full(load, disk, chance)
            assert_refused_by_name(server, refused[-1])
            if n % 2:
                server.kill9()
            disk.empty()
            if n % 2:
                server.start()
            for batch in refused:
                load.send(batch)
            shop.assert_exact(load.acknowledged, chance)
        server.stop()


@pytest.mark.slow
def test_a_full_disk_refuses_loses_nothing_and_recovers(tmp_path: Path, announce: Announce) -> None:
    chance = announce(f"a disk of {DISK_BYTES // MIB} MiB is filled under load, and emptied")
    fill_again_and_again(tmp_path / "disk", 1, chance)


@pytest.mark.faults
def test_a_disk_that_is_full_again_and_again_loses_nothing_even_by_a_kill(tmp_path: Path, announce: Announce) -> None:
    chance = announce(f"a disk of {DISK_BYTES // MIB} MiB is filled {ROUNDS} times; kill -9 on it in every other round")
    fill_again_and_again(tmp_path / "disk", ROUNDS, chance)
