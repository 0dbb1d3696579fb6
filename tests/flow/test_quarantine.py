"""`penstock quarantine`: what no fold could read is listed, shown, mended and replayed, on either log."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from builders import HASH_KEY, a_chunk, an_event
from kafka_part import a_topic
from penstock.aggregator.consume import Owner
from penstock.aggregator.quarantine import Quarantine
from penstock.aggregator.store.memory import MemoryUsageStore
from penstock.app.adapters import open_log
from penstock.app.cli import main
from penstock.app.config import Config
from penstock.app.quarantine_command import quarantine_log
from penstock.kernel.cell import CONSERVATION
from penstock.kernel.record import Kind

NOT_A_CHUNK = b"this is no chunk"


def chunk_of(name: str, hash_key: bytes = HASH_KEY) -> bytes:
    return a_chunk([an_event(name)], hash_key=hash_key).encode()


@pytest.fixture(params=["embedded", "kafka"])
def config(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Config:
    """What the command reads from the environment, and the test uses itself."""
    event_log = "embedded"
    if request.param == "kafka":
        event_log = f"kafka://{request.getfixturevalue('kafka_address')}/{a_topic()}"
    monkeypatch.setenv("PENSTOCK_EVENT_LOG", event_log)
    monkeypatch.setenv("PENSTOCK_KAFKA_REPLICATION", "1")
    monkeypatch.setenv("PENSTOCK_DATA_DIR", str(tmp_path))
    return Config(event_log=event_log, kafka_replication=1, data_dir=tmp_path)


async def send(config: Config, *payloads: bytes) -> None:
    log = await open_log(config)
    for payload in payloads:
        await log.append(0, Kind.CHUNK, 7, payload)
    await log.close()


async def hash_key_of(config: Config) -> bytes:
    log = await open_log(config)
    await log.close()
    return log.identity.hash_key


async def fold(config: Config, store: MemoryUsageStore) -> None:
    log, quarantine = await open_log(config), Quarantine(quarantine_log(config))
    owner = Owner(0, log, store, retention_us=10**15, quarantine=quarantine)
    await owner.restore()
    while await owner.step(100):
        pass
    await quarantine.close()
    await log.close()


def counted(store: MemoryUsageStore) -> int:
    return sum(cell.events for key, cell in store._cells.items() if key.metric == CONSERVATION)


def test_a_poison_chunk_is_listed_shown_mended_and_replayed(
    config: Config, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store, shown, mended = MemoryUsageStore(), tmp_path / "shown", tmp_path / "mended"
    asyncio.run(send(config, chunk_of("before"), NOT_A_CHUNK, chunk_of("after")))
    asyncio.run(fold(config, store))
    assert counted(store) == 2

    assert main(["quarantine", "list"]) == 0
    assert "0:1  " in (listed := capsys.readouterr().out)
    assert "16 bytes  not a chunk" in listed
    assert main(["quarantine", "show", "0:1", "--out", str(shown)]) == 0
    assert shown.read_bytes() == NOT_A_CHUNK
    assert main(["quarantine", "replay", "0:1"]) == 1
    assert "it cannot be replayed: not a chunk" in capsys.readouterr().err
    assert main(["quarantine", "show", "0:0"]) == 1

    mended.write_bytes(chunk_of("mended", asyncio.run(hash_key_of(config))))
    assert main(["quarantine", "replay", "0:1", "--file", str(mended)]) == 0
    assert "appended to partition 0 at offset 3" in capsys.readouterr().out
    assert main(["quarantine", "list"]) == 0
    assert "replayed at offset 3" in capsys.readouterr().out
    asyncio.run(fold(config, store))
    assert counted(store) == 3
