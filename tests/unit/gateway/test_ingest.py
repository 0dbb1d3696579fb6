"""The gateway as its callers see it: verdicts, durability, repeats, failures, limits, restart, drain."""

from __future__ import annotations

import asyncio
import json

import pytest

from penstock.gateway.answer import EventVerdict, IngestAnswer, Receipt
from penstock.gateway.coalescer import CoalescerSettings
from penstock.gateway.ingest import Gateway, GatewaySettings
from penstock.gateway.watch import Unwatched
from penstock.kernel.chunk import Chunk
from penstock.kernel.event import Verdict
from penstock.kernel.problems import BadRequest, TooLarge
from penstock.kernel.record import Kind
from penstock.kernel.window import to_us
from penstock.log.memory import MemoryLog
from unit.gateway.givens import NO_LINGER, NOON, TestClock, a_body, a_gateway, an_event, counts, logged_ids, play

GOOD = json.dumps(an_event("good")).encode()


async def chunks(log: MemoryLog, partition: int = 0) -> list[Chunk]:
    records = await log.read(partition, 0, 1 << 30, 0)
    return [Chunk.decode(record.payload) for record in records if record.kind is Kind.CHUNK]


def test_accepted_events_are_in_the_log_as_they_were_sent() -> None:
    async def story() -> None:
        log = MemoryLog()
        async with a_gateway(log) as gateway:
            body = a_body(an_event("a"), an_event("b", timestamp="2026-07-01T11:59:00.5+01:00", properties={"x": 0.1}))
            answer = await gateway.ingest("acme-inc", body)
        assert counts(answer) == (2, 0, 0, 0)
        assert answer.events == ()
        (chunk,) = await chunks(log)
        assert chunk.ids() == ["a", "b"]
        assert chunk.codes("tenant")[1] == ["acme-inc"]
        assert chunk.codes("customer")[1] == ["acme"]
        assert chunk.codes("event_type")[1] == ["llm"]
        assert chunk.times_us.tolist() == [to_us(NOON) - 60_000_000, to_us(NOON) - 3_659_500_000]
        assert chunk.properties == [b'{"tokens": 12}', b'{"x": 0.1}']
        (receipt,) = answer.receipts
        (record,) = await log.read(receipt.partition, receipt.offset, 1, 0)
        assert record.kind is Kind.CHUNK
        assert record.stamped_at_us == to_us(NOON)

    asyncio.run(story())


def test_events_spread_over_partitions_and_receipts_name_each_record() -> None:
    async def story(gateway: Gateway, log: MemoryLog) -> None:
        answer = await gateway.ingest("t", a_body(*(an_event(str(number)) for number in range(100))))
        assert answer.accepted == 100
        assert [receipt.partition for receipt in answer.receipts] == [0, 1]
        assert len(await logged_ids(log)) == 100

    play(story)


def test_a_duplicate_within_a_request_is_dropped() -> None:
    async def story(gateway: Gateway, log: MemoryLog) -> None:
        answer = await gateway.ingest("t", a_body(an_event("a"), an_event("b"), an_event("a")))
        assert counts(answer) == (2, 1, 0, 0)
        assert answer.events == (EventVerdict(2, "a", Verdict.DUPLICATE, "this transaction_id was accepted before"),)
        assert await logged_ids(log) == ["a", "b"]

    play(story)


def test_a_duplicate_in_a_later_request_is_dropped() -> None:
    async def story(gateway: Gateway, log: MemoryLog) -> None:
        await gateway.ingest("t", a_body(an_event("a")))
        answer = await gateway.ingest("t", a_body(an_event("b"), an_event("a")))
        assert counts(answer) == (1, 1, 0, 0)
        assert await logged_ids(log) == ["a", "b"]

    play(story)


def test_copies_in_requests_at_the_same_time_are_accepted_once() -> None:
    async def story(gateway: Gateway, log: MemoryLog) -> None:
        body = a_body(*(an_event(str(number)) for number in range(50)))
        answers = await asyncio.gather(*(gateway.ingest("t", body) for _ in range(20)))
        assert sum(answer.accepted for answer in answers) == 50
        assert sum(answer.duplicate for answer in answers) == 950
        assert len(await logged_ids(log)) == 50

    play(story)


@pytest.mark.parametrize(
    "changed",
    [{"customer_id": "other"}, {"event_type": "other"}, {"timestamp": "2026-07-01T11:59:00.001Z"}, {"properties": {}}],
)
def test_the_same_id_with_another_body_is_a_conflict_and_the_first_stays(changed: dict[str, object]) -> None:
    async def story(gateway: Gateway, log: MemoryLog) -> None:
        await gateway.ingest("t", a_body(an_event("a")))
        answer = await gateway.ingest("t", a_body(an_event("b"), an_event("a", **changed)))
        assert counts(answer) == (1, 0, 1, 0)
        assert (answer.events[0].index, answer.events[0].verdict) == (1, Verdict.CONFLICT)
        assert await logged_ids(log) == ["a", "b"]

    play(story)


def test_the_same_id_of_two_tenants_is_two_events() -> None:
    async def story(gateway: Gateway, log: MemoryLog) -> None:
        answers = await asyncio.gather(*(gateway.ingest(t, a_body(an_event("a"))) for t in ("one", "two", "three")))
        assert [answer.accepted for answer in answers] == [1, 1, 1]
        assert await logged_ids(log) == ["a", "a", "a"]

    play(story)


@pytest.mark.parametrize(
    "bad",
    [
        GOOD.replace(b'"transaction_id": "good", ', b""),
        GOOD.replace(b"good", b""),
        GOOD.replace(b"good", b"x" * 300),
        GOOD.replace(b"12", b"NaN"),
        GOOD.replace(b"12", b"Infinity"),
        GOOD.replace(b"59:00Z", b"59:00"),
        json.dumps(an_event("old", timestamp="2026-05-27T11:00:00Z")).encode(),
        json.dumps(an_event("ahead", timestamp="2026-07-02T13:00:00Z")).encode(),
        GOOD.replace(b"12", b"[" * 200 + b"]" * 200),
        GOOD.replace(b"12", b"[" * 20_000 + b"]" * 20_000),
        GOOD.replace(b"good", b"\xff"),
        GOOD.replace(b"12", b'"' + b"x" * 66_000 + b'"'),
        b"{malformed}",
    ],
)
def test_a_bad_event_is_rejected_with_its_reason_and_its_batch_mates_are_counted(bad: bytes) -> None:
    async def story(gateway: Gateway, log: MemoryLog) -> None:
        mates = [json.dumps(an_event(id)).encode() for id in "ab"]
        answer = await gateway.ingest("t", b"[" + b",".join([mates[0], bad, mates[1]]) + b"]")
        assert counts(answer) == (2, 0, 0, 1)
        assert [(event.index, event.verdict) for event in answer.events] == [(1, Verdict.REJECTED)]
        assert answer.events[0].reason
        assert await logged_ids(log) == ["a", "b"]

    play(story)


@pytest.mark.parametrize(
    "properties",
    [
        b'{"n": 1e400}',
        b'{"n": ' + b"9" * 60 + b"}",
        b'{"n": true}',
        b'{"n": "text"}',
        b'{"n": "\xff"}',
        b'{"n": 1, "n": 2}',
        b'{"\\u006e": 1}',
    ],
)
def test_what_the_fold_has_to_judge_is_accepted_byte_for_byte(properties: bytes) -> None:
    async def story() -> None:
        log = MemoryLog()
        async with a_gateway(log) as gateway:
            odd = GOOD.replace(b'{"tokens": 12}', properties)
            answer = await gateway.ingest("t", b"[" + odd + b"," + json.dumps(an_event("mate")).encode() + b"]")
        assert counts(answer) == (2, 0, 0, 0)
        (chunk,) = await chunks(log)
        assert chunk.properties == [properties, b'{"tokens": 12}']

    asyncio.run(story())


def test_a_rejected_copy_does_not_make_a_duplicate_of_the_good_one() -> None:
    async def story(gateway: Gateway, log: MemoryLog) -> None:
        answer = await gateway.ingest("t", a_body(an_event("a", timestamp="noon"), an_event("a")))
        assert counts(answer) == (1, 0, 0, 1)

    play(story)


def test_every_event_of_a_request_has_exactly_one_verdict() -> None:
    told: list[tuple[str, Verdict, int]] = []

    class Noting(Unwatched):
        def answered(self, tenant: str, answer: IngestAnswer, body_bytes: int, seconds: float) -> None:
            told.extend((tenant, verdict, events) for verdict, events in answer.counts().items() if events)

    async def story() -> None:
        log = MemoryLog(2)
        gateway = Gateway(log, TestClock(), NO_LINGER, Noting())
        await gateway.start()
        await gateway.ingest("t", a_body(an_event("a")))
        body = a_body(an_event(""), an_event("a"), an_event("b"), an_event("a", customer_id="x"), {}, an_event("c"))
        answer = await gateway.ingest("t", body)
        assert counts(answer) == (2, 1, 1, 2)
        assert [(event.index, event.transaction_id, event.verdict.name) for event in answer.events] == [
            (0, "", "REJECTED"),
            (1, "a", "DUPLICATE"),
            (3, "a", "CONFLICT"),
            (4, None, "REJECTED"),
        ]
        await gateway.drain()

    asyncio.run(story())
    assert told == [
        ("t", Verdict.ACCEPTED, 1),
        ("t", Verdict.ACCEPTED, 2),
        ("t", Verdict.DUPLICATE, 1),
        ("t", Verdict.CONFLICT, 1),
        ("t", Verdict.REJECTED, 2),
    ]


def test_a_request_without_events_is_answered_with_zeros() -> None:
    async def story(gateway: Gateway, log: MemoryLog) -> None:
        assert await gateway.ingest("t", b"[]") == IngestAnswer()
        assert counts(await gateway.ingest("t", b"[{}]")) == (0, 0, 0, 1)
        assert await logged_ids(log) == []

    play(story)


def test_a_request_over_its_limits_is_refused_whole() -> None:
    async def story(gateway: Gateway, log: MemoryLog) -> None:
        with pytest.raises(BadRequest, match="10001 events, at most 10000"):
            await gateway.ingest("t", a_body(*(an_event(str(number)) for number in range(10_001))))
        with pytest.raises(TooLarge):
            await gateway.ingest("t", b" " * (33 << 20))
        with pytest.raises(BadRequest):
            await gateway.ingest("t", b"{malformed")
        assert counts(await gateway.ingest("t", a_body(an_event("a")))) == (1, 0, 0, 0)

    play(story)


def test_many_small_requests_share_few_records_and_a_large_one_is_cut() -> None:
    settings = GatewaySettings(coalescer=CoalescerSettings(linger_ms=5, piece_bytes_max=1_000))

    async def story() -> None:
        log = MemoryLog()
        async with a_gateway(log, settings=settings) as gateway:
            await asyncio.gather(*(gateway.ingest("t", a_body(an_event(str(number)))) for number in range(50)))
            assert [len(chunk) for chunk in await chunks(log)] == [50]
            large = await gateway.ingest("t", a_body(*(an_event(f"large-{number}") for number in range(500))))
            assert len(large.receipts) == 8  # 500 x 14 bytes of properties
            assert [len(chunk) for chunk in await chunks(log)] == [50] + [63] * 4 + [62] * 4

    asyncio.run(story())


def test_every_partition_ticks() -> None:
    settings = GatewaySettings(tick_interval_ms=1)

    async def story() -> None:
        log = MemoryLog(3)
        async with a_gateway(log, settings=settings):
            for partition in range(3):
                (tick, *_) = await log.read(partition, 1, 1 << 20, 10_000)
                assert (tick.kind, tick.payload, tick.stamped_at_us) == (Kind.TICK, b"", to_us(NOON))

    asyncio.run(story())


def test_a_receipt_is_shared_by_the_requests_of_one_record() -> None:
    async def story() -> None:
        log = MemoryLog()
        async with a_gateway(log, settings=GatewaySettings()) as gateway:
            answers = await asyncio.gather(*(gateway.ingest("t", a_body(an_event(id))) for id in "abc"))
        offsets = {answer.receipts for answer in answers}
        assert len(offsets) == 1
        assert offsets.pop()[0].partition == Receipt(0, 0).partition

    asyncio.run(story())
