"""What only a log on a disk can suffer: torn writes, damaged bytes, a full disk, a second process, growth."""

from __future__ import annotations

import asyncio
import random
import resource
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Awaitable
from pathlib import Path

import pytest

from penstock.kernel.ports.event_log import LogDamaged
from penstock.kernel.problems import LogUnavailable
from penstock.kernel.record import Kind
from penstock.log.embedded import EmbeddedLog, LogRefused
from penstock.log.high_water import HighWater

KILOBYTE = 1_024


async def append(log: EmbeddedLog, payload: bytes, partition: int = 0) -> int:
    return (await log.append(partition, Kind.CHUNK, 1, payload)).offset


async def read_all(log: EmbeddedLog, partition: int = 0) -> list[bytes]:
    first, end = await log.bounds(partition)
    out: list[bytes] = []
    while first + len(out) < end:
        out += [r.payload for r in await log.read(partition, first + len(out), 64 * KILOBYTE, 0)]
    return out


async def tried(appending: Awaitable[int]) -> int | str:
    try:
        return await appending
    except LogUnavailable as exc:
        return exc.detail


def payload_of(number: int) -> bytes:
    return random.Random(number).randbytes(200 + 997 * (number % 23))


async def a_log_with_its_wal(folder: Path, records: int) -> list[int]:
    """Leave `crashed.db` and its WAL as a crash would; return the WAL's length at each acknowledgement."""
    log = EmbeddedLog.open(folder / "log.db", 1)
    lengths = []
    for number in range(records):
        await append(log, payload_of(number))
        lengths.append((folder / "log.db-wal").stat().st_size)
    shutil.copy(folder / "log.db", folder / "crashed.db")
    shutil.copy(folder / "log.db-wal", folder / "crashed.db-wal")
    await log.close()
    return lengths


async def check_survivors(path: Path, acknowledged: int) -> None:
    """At least the acknowledged records are there, none is wrong, and the log goes on."""
    log = EmbeddedLog.open(path, 1)
    survivors = await read_all(log)
    assert len(survivors) >= acknowledged
    assert survivors == [payload_of(number) for number in range(len(survivors))]
    assert await append(log, b"after") == len(survivors)
    assert (await read_all(log))[-1] == b"after"
    await log.close()


@pytest.mark.parametrize("seed", range(25))
def test_a_torn_last_write_is_cut_and_every_synced_record_survives(seed: int, tmp_path: Path) -> None:
    dice = random.Random(seed)
    lengths = asyncio.run(a_log_with_its_wal(tmp_path, 30))
    cut = dice.randrange(lengths[-1])
    with (tmp_path / "crashed.db-wal").open("r+b") as wal:
        wal.truncate(cut)
        if seed % 2:  # the other way a write tears: the length is there, the bytes are not
            wal.seek(cut)
            wal.write(dice.randbytes(lengths[-1] - cut))
    asyncio.run(check_survivors(tmp_path / "crashed.db", sum(length <= cut for length in lengths)))


def test_a_process_that_is_killed_loses_nothing_it_acknowledged(tmp_path: Path) -> None:
    script = (
        "import asyncio, pathlib, sys\n"
        "from penstock.log.embedded import EmbeddedLog\n"
        "async def main():\n"
        "    log = EmbeddedLog.open(pathlib.Path(sys.argv[1]), 1)\n"
        "    async def forever():\n"
        "        while True:\n"
        "            print((await log.append(0, 1, 1, b'x' * 5000)).offset, flush=True)\n"
        "    await asyncio.gather(*(forever() for _ in range(8)))\n"
        "asyncio.run(main())\n"
    )
    command = [sys.executable, "-c", script, str(tmp_path / "log.db")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        acknowledged = [int(process.stdout.readline()) for _ in range(500)]
        process.kill()
        acknowledged += [int(line) for line in process.stdout.read().splitlines() if line]

    async def check() -> None:
        log = EmbeddedLog.open(tmp_path / "log.db", 1)
        assert len(await read_all(log)) > max(acknowledged)
        await log.close()

    asyncio.run(check())


@pytest.mark.parametrize(
    ("statement", "reason"),
    [
        ("UPDATE record SET payload = CAST('forged' AS BLOB) WHERE offset = 2", "offset 2: the checksum"),
        ("UPDATE record SET stamped_at_us = 99 WHERE offset = 2", "offset 2: the checksum"),
        ("UPDATE record SET kind = 9 WHERE offset = 2", "offset 2: unknown kind"),
        ("DELETE FROM record WHERE offset = 2", "offset 2 is missing"),
        ("UPDATE record SET offset = -offset WHERE offset > 1", "offset 2 is missing"),
    ],
)
def test_a_damaged_record_is_named_and_never_returned(statement: str, reason: str, tmp_path: Path) -> None:
    async def story() -> None:
        log = EmbeddedLog.open(tmp_path / "log.db", 1)
        for number in range(5):
            await append(log, payload_of(number))
        await log.close()
        with sqlite3.connect(tmp_path / "log.db") as connection:
            connection.execute(statement)
        connection.close()
        log = EmbeddedLog.open(tmp_path / "log.db", 1)
        assert [r.payload for r in await log.read(0, 0, 1_000, 0)] == [payload_of(0)]
        with pytest.raises(LogDamaged, match=reason):
            await log.read(0, 2, 1, 0)
        await log.close()

    asyncio.run(story())


@pytest.mark.parametrize("seed", range(10))
def test_flipped_bytes_in_the_file_are_damage_or_harmless_but_never_a_wrong_record(seed: int, tmp_path: Path) -> None:
    path = tmp_path / "log.db"

    async def write() -> None:
        log = EmbeddedLog.open(path, 1)
        for number in range(30):
            await append(log, payload_of(number))
        await log.close()

    async def read() -> int:
        log = EmbeddedLog.open(path, 1)
        damaged = 0
        for offset in range(30):
            try:
                assert [r.payload for r in await log.read(0, offset, 1, 0)] == [payload_of(offset)]
            except LogDamaged:
                damaged += 1
        await log.close()
        return damaged

    asyncio.run(write())
    # The first pages hold the schema and the identity; a log whose header is broken does not open at all.
    content = bytearray(path.read_bytes())
    at = content.index(payload_of(seed)[:100])
    content[at : at + 50] = random.Random(seed).randbytes(50)
    path.write_bytes(content)
    assert asyncio.run(read()) == 1


def test_a_full_log_refuses_keeps_what_it_has_and_recovers(tmp_path: Path) -> None:
    async def story() -> None:
        log = EmbeddedLog.open(tmp_path / "log.db", 1, bytes_max=1_000 * KILOBYTE)
        outcomes = [await tried(append(log, number.to_bytes(9_000))) for number in range(200)]
        kept = outcomes.index("the log cannot be written: database or disk is full")
        assert outcomes[:kept] == list(range(kept))
        assert await read_all(log) == [number.to_bytes(9_000) for number in range(kept)]
        await log.trim(0, kept // 2)
        assert await append(log, b"room again") == kept
        await log.close()
        log = EmbeddedLog.open(tmp_path / "log.db", 1)
        assert await log.bounds(0) == (kept // 2, kept + 1)
        await log.close()

    asyncio.run(story())


def test_a_disk_that_takes_no_more_bytes_loses_nothing_acknowledged(tmp_path: Path) -> None:
    async def story() -> None:
        log = EmbeddedLog.open(tmp_path / "log.db", 1)
        for number in range(20):
            await append(log, payload_of(number))
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, ((tmp_path / "log.db-wal").stat().st_size + 20_000, hard))
        try:
            outcomes = await asyncio.gather(
                *(append(log, payload_of(number)) for number in range(20, 40)), return_exceptions=True
            )
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert any(isinstance(outcome, LogUnavailable) for outcome in outcomes)
        end = (await log.bounds(0))[1]
        assert await append(log, b"recovered") == end
        assert (await read_all(log))[:20] == [payload_of(number) for number in range(20)]
        await log.close()

    asyncio.run(story())


def test_another_partition_count_is_refused_by_name(tmp_path: Path) -> None:
    asyncio.run(EmbeddedLog.open(tmp_path / "log.db", 2).close())
    with pytest.raises(LogRefused, match="has 2 partitions, not 4"):
        EmbeddedLog.open(tmp_path / "log.db", 4)
    asyncio.run(EmbeddedLog.open(tmp_path / "log.db", 2).close())


def test_a_file_that_is_no_log_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "log.db").write_bytes(b"something else entirely" * 1_000)
    with pytest.raises(LogRefused, match="cannot be opened as an event log"):
        EmbeddedLog.open(tmp_path / "log.db", 1)


def test_a_second_process_is_refused_while_the_first_is_open(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    log = EmbeddedLog.open(path, 1)
    script = (
        f"import pathlib; from penstock.log.sqlite_file import LogFile; LogFile.open(pathlib.Path({str(path)!r}), 1)"
    )
    second = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert "LogRefused" in second.stderr
    assert "is in use by another process" in second.stderr
    asyncio.run(log.close())
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


def test_every_commit_is_synced_before_it_is_acknowledged(tmp_path: Path) -> None:
    # Only a power cut would show the difference; so the setting itself is held.
    log = EmbeddedLog.open(tmp_path / "log.db", 1)
    assert log._file._writer.execute("PRAGMA synchronous").fetchone() == (2,)
    assert log._file._writer.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    asyncio.run(log.close())


def test_an_append_between_a_readers_look_and_its_wait_is_not_missed() -> None:
    class Late(HighWater):
        def _register(
            self, partition: int, offset: int, loop: asyncio.AbstractEventLoop
        ) -> asyncio.Future[None] | None:
            self.advance({partition: offset + 1})
            return super()._register(partition, offset, loop)

    async def story() -> bool:
        async with asyncio.timeout(30):
            return await Late([0]).passed(0, 0, 3_600_000)

    assert asyncio.run(story())


def test_the_wal_stays_bounded_and_the_file_shrinks_after_a_trim(tmp_path: Path) -> None:
    async def story() -> None:
        log = EmbeddedLog.open(tmp_path / "log.db", 1)
        for _ in range(300):
            await append(log, b"\x5a" * 200 * KILOBYTE)
        assert (tmp_path / "log.db-wal").stat().st_size < 24 * KILOBYTE * KILOBYTE
        await log.trim(0, 295)
        for _ in range(5):
            await append(log, b"small")
            await log.trim(0, (await log.bounds(0))[1])
        await log.close()
        assert (tmp_path / "log.db").stat().st_size < 30 * KILOBYTE * KILOBYTE

    asyncio.run(story())
