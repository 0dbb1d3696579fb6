"""A record that cannot be read: the fold goes on behind it, it is kept with its reason, and is mended and replayed."""

from __future__ import annotations

import asyncio

import pytest

from builders import a_chunk, an_event
from penstock.aggregator.consume import Owner
from penstock.aggregator.quarantine import Quarantine
from penstock.aggregator.rebuild import from_log
from penstock.aggregator.store.memory import MemoryUsageStore
from penstock.kernel.cell import CONSERVATION
from penstock.kernel.ports.event_log import Appended, LogDamaged
from penstock.kernel.problems import BadRequest, LogUnavailable, NotFound
from penstock.kernel.record import Kind
from penstock.log.memory import MemoryLog

NOT_A_CHUNK = b"this is no chunk"


async def a_log(*payloads: bytes) -> MemoryLog:
    log = MemoryLog(1)
    for payload in payloads:
        await log.append(0, Kind.CHUNK, 7, payload)
    return log


async def folded(log: MemoryLog, store: MemoryUsageStore, quarantine: Quarantine | None) -> Owner:
    owner = Owner(0, log, store, retention_us=10**15, quarantine=quarantine)
    await owner.restore()
    while await owner.step(0):
        pass
    return owner


def counted(store: MemoryUsageStore) -> int:
    return sum(cell.events for key, cell in store._cells.items() if key.metric == CONSERVATION)


def a_quarantine(kept_in: MemoryLog) -> Quarantine:
    async def opened() -> MemoryLog:
        return kept_in

    return Quarantine(opened)


def chunk_of(*names: str, log: MemoryLog | None = None) -> bytes:
    """A chunk as the gateway of the log would make it, or of some other log."""
    events = [an_event(name) for name in names]
    return (a_chunk(events, hash_key=log.identity.hash_key) if log else a_chunk(events)).encode()


def test_a_poison_record_is_kept_with_its_reason_and_its_neighbours_are_counted() -> None:
    async def story() -> None:
        store, quarantine = MemoryUsageStore(), a_quarantine(MemoryLog(1))
        log = await a_log(chunk_of("a"), NOT_A_CHUNK, chunk_of("b"))
        owner = await folded(log, store, quarantine)

        assert (owner.offset, owner.quarantined, counted(store)) == (2, 1, 2)
        [entry] = await quarantine.entries()
        assert (entry.kept.partition, entry.kept.offset, entry.kept.payload) == (0, 1, NOT_A_CHUNK)
        assert (entry.kept.reason, entry.replayed_at) == ("not a chunk", None)

    asyncio.run(story())


def test_a_rebuild_from_the_log_passes_what_is_in_quarantine() -> None:
    async def story() -> None:
        store = MemoryUsageStore()
        log = await a_log(chunk_of("a"), NOT_A_CHUNK, chunk_of("b"))
        await folded(log, store, a_quarantine(MemoryLog(1)))

        found = await from_log(store, log, 0)

        assert found.differences == []
        assert found.cells > 0

    asyncio.run(story())


def test_a_record_that_is_not_ours_is_kept_too() -> None:
    async def story() -> None:
        store, quarantine = MemoryUsageStore(), a_quarantine(MemoryLog(1))
        log = await a_log(chunk_of("a"))
        await log.append(0, Kind.FOREIGN, 7, b"hello")
        await folded(log, store, quarantine)

        assert [entry.kept.reason for entry in await quarantine.entries()] == ["not a record of Penstock"]
        assert counted(store) == 1

    asyncio.run(story())


def test_an_owner_that_folds_it_again_lists_it_once() -> None:
    async def story() -> None:
        kept_in = MemoryLog(1)
        log = await a_log(NOT_A_CHUNK, chunk_of("a"))
        for _ in range(2):
            await folded(log, MemoryUsageStore(), a_quarantine(kept_in))

        assert len(await a_quarantine(kept_in).entries()) == 1

    asyncio.run(story())


def test_the_marker_does_not_pass_a_record_that_could_not_be_put_away() -> None:
    class Away(MemoryLog):
        async def append(self, *args: object) -> None:  # type: ignore[override]  # it takes none
            raise LogUnavailable("no broker")

    async def story() -> None:
        store = MemoryUsageStore()
        log = await a_log(chunk_of("a"), NOT_A_CHUNK)
        with pytest.raises(LogUnavailable):
            await folded(log, store, a_quarantine(Away(1)))
        assert store.marker(0) is None

        await folded(log, store, a_quarantine(MemoryLog(1)))
        assert counted(store) == 1

    asyncio.run(story())


def test_an_owner_without_a_quarantine_stops_at_it() -> None:
    async def story() -> None:
        log = await a_log(NOT_A_CHUNK)
        with pytest.raises(LogDamaged, match="partition 0, offset 0: not a chunk"):
            await folded(log, MemoryUsageStore(), None)

    asyncio.run(story())


def test_a_mended_record_is_replayed_once_however_often() -> None:
    async def story() -> None:
        store, quarantine = MemoryUsageStore(), a_quarantine(MemoryLog(1))
        log = await a_log(NOT_A_CHUNK)
        await folded(log, store, quarantine)
        entry = await quarantine.entry(0, 0)
        for _ in range(2):
            await quarantine.replay(entry, chunk_of("a", log=log), log, now_us=7)
        await folded(log, store, quarantine)

        assert (await quarantine.entry(0, 0)).replayed_at == 2
        outcomes = {k.groups[0]: c.events for k, c in store._cells.items() if k.metric == CONSERVATION}
        assert outcomes == {"UNMATCHED": 1, "DUPLICATE": 1}

    asyncio.run(story())


def test_what_is_no_chunk_of_the_partition_cannot_be_replayed() -> None:
    async def story() -> None:
        quarantine = a_quarantine(MemoryLog(1))
        log = MemoryLog(2)
        await log.append(0, Kind.CHUNK, 7, NOT_A_CHUNK)
        await folded(log, MemoryUsageStore(), quarantine)
        entry = await quarantine.entry(0, 0)
        with pytest.raises(BadRequest, match="not a chunk"):
            await quarantine.replay(entry, NOT_A_CHUNK, log, now_us=7)
        both = chunk_of(*(f"e{n}" for n in range(20)), log=log)
        with pytest.raises(BadRequest, match="not all of partition 0"):
            await quarantine.replay(entry, both, log, now_us=7)
        with pytest.raises(NotFound):
            await quarantine.entry(0, 1)
        assert await log.bounds(0) == (0, 1)

    asyncio.run(story())


def test_a_chunk_with_the_identities_of_other_events_cannot_be_replayed() -> None:
    async def story() -> None:
        quarantine, log = a_quarantine(MemoryLog(1)), await a_log(NOT_A_CHUNK)
        await folded(log, MemoryUsageStore(), quarantine)
        entry = await quarantine.entry(0, 0)
        with pytest.raises(BadRequest, match="an identity is not that of its tenant and transaction_id"):
            await quarantine.replay(entry, chunk_of("a"), log, now_us=7)

    asyncio.run(story())


def test_the_largest_record_of_a_log_is_kept_in_parts_and_comes_back_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("penstock.aggregator.quarantine.PART_BYTES_MAX", 7)

    async def story() -> None:
        kept_in, log = MemoryLog(1), await a_log(NOT_A_CHUNK, b"")
        for _ in range(2):
            await folded(log, MemoryUsageStore(), a_quarantine(kept_in))

        entries = await a_quarantine(kept_in).entries()

        assert [entry.kept.payload for entry in entries] == [NOT_A_CHUNK, b""]
        assert await kept_in.bounds(0) == (0, 2 * (3 + 1))

    asyncio.run(story())


def test_a_record_of_which_a_part_was_kept_is_not_listed_until_it_is_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("penstock.aggregator.quarantine.PART_BYTES_MAX", 7)

    class Full(MemoryLog):
        async def append(self, partition: int, kind: Kind, stamped_at_us: int, payload: bytes) -> Appended:
            if (await self.bounds(0))[1] == 2:
                raise LogUnavailable("no room")
            return await super().append(partition, kind, stamped_at_us, payload)

    async def story() -> None:
        kept_in, log = Full(1), await a_log(NOT_A_CHUNK)
        with pytest.raises(LogUnavailable):
            await folded(log, MemoryUsageStore(), a_quarantine(kept_in))

        assert await a_quarantine(kept_in).entries() == []

    asyncio.run(story())


def test_two_owners_that_need_it_at_once_open_it_once() -> None:
    opened = []

    async def open_log() -> MemoryLog:
        opened.append(MemoryLog(1))
        await asyncio.sleep(0)
        return opened[-1]

    async def story() -> None:
        quarantine, log = Quarantine(open_log), await a_log(NOT_A_CHUNK)
        await asyncio.gather(*(folded(log, MemoryUsageStore(), quarantine) for _ in range(2)))

        assert len(opened) == 1
        assert len(await quarantine.entries()) == 1

    asyncio.run(story())
