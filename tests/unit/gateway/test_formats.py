"""Requests of every format meet in one batch, and each gets the answer that it would have got alone."""

from __future__ import annotations

import asyncio
import json

import pyarrow as pa
import pytest

from penstock.gateway.coalescer import CoalescerSettings
from penstock.gateway.formats import Format, format_of
from penstock.gateway.ingest import Gateway, GatewaySettings
from penstock.gateway.rate_limit import RateLimits
from penstock.kernel.chunk import Chunk
from penstock.kernel.event import Verdict
from penstock.kernel.ports.event_log import EventLog
from penstock.kernel.problems import BadRequest, TooMany, UnsupportedMedia
from penstock.kernel.record import Kind
from penstock.log.memory import MemoryLog
from unit.gateway.arrow_bodies import AT, UTC_US, a_column_set, a_stream
from unit.gateway.givens import TestClock, a_body, a_gateway, an_event, counts, logged_ids, play

LINGER = GatewaySettings(coalescer=CoalescerSettings(linger_ms=50))


def lines(*events: object) -> bytes:
    return b"\n".join(json.dumps(event).encode() for event in events)


def columns_of(*ids: str, **changed: pa.Array) -> bytes:
    ids_column = pa.array(ids, pa.string())
    return a_stream(a_column_set(len(ids), **({"transaction_id": ids_column} | changed)))


@pytest.mark.parametrize(
    ("content_type", "form"),
    [
        (None, Format.JSON),
        ("", Format.JSON),
        ("*/*", Format.JSON),
        ("Application/JSON; charset=utf-8", Format.JSON),
        ("application/cloudevents-batch+json", Format.JSON),
        ("application/x-www-form-urlencoded", Format.JSON),
        ("application/x-ndjson", Format.NDJSON),
        ("application/ndjson", Format.NDJSON),
        ("application/jsonl;charset=utf-8", Format.NDJSON),
        ("application/vnd.apache.arrow.stream", Format.ARROW),
    ],
)
def test_the_content_type_names_the_format(content_type: str | None, form: Format) -> None:
    assert format_of(content_type) is form


@pytest.mark.parametrize(
    "content_type", ["text/csv", "application/xml", "application/vnd.apache.arrow.file", "nonsense"]
)
def test_another_content_type_is_refused_naming_what_is_taken(content_type: str) -> None:
    with pytest.raises(UnsupportedMedia, match=r"json, application/x-ndjson, application/vnd\.apache\.arrow\.stream"):
        format_of(content_type)


def test_requests_of_every_format_share_a_batch_and_keep_their_own_answers() -> None:
    async def story(gateway: Gateway, log: MemoryLog) -> None:
        bad_customer = pa.array(["acme", "x" * 300, "acme"])
        answers = await asyncio.gather(
            gateway.ingest("t", a_body(an_event("a"), an_event("b", timestamp="noon"), an_event("c"))),
            gateway.ingest("t", columns_of("d", "e", "f", customer_id=bad_customer), Format.ARROW),
            gateway.ingest("u", lines(an_event("a"), "bad", an_event("g")), Format.NDJSON),
            gateway.ingest("u", columns_of("h", "a", "g"), Format.ARROW),
            gateway.ingest("t", columns_of("c", "i"), Format.ARROW),
        )
        assert [counts(answer) for answer in answers] == [
            (2, 0, 0, 1),
            (2, 0, 0, 1),
            (2, 0, 0, 1),
            (1, 0, 2, 0),  # the same ids, with other properties
            (1, 0, 1, 0),
        ]
        assert [[(e.index, e.transaction_id) for e in answer.events] for answer in answers] == [
            [(1, "b")],
            [(1, "e")],
            [(1, None)],
            [(1, "a"), (2, "g")],
            [(0, "c")],
        ]
        assert await logged_ids(log) == ["a", "a", "c", "d", "f", "g", "h", "i"]
        assert (await log.bounds(0))[1] + (await log.bounds(1))[1] <= 2 + 2  # a chunk and a tick in each partition

    play(story, LINGER)


def test_an_event_is_a_duplicate_of_itself_in_another_format() -> None:
    async def story(gateway: Gateway, _log: MemoryLog) -> None:
        event = an_event("txn-0", properties={"tokens": 0})
        compact = json.dumps([event], separators=(",", ":")).encode()
        assert counts(await gateway.ingest("t", columns_of("txn-0"), Format.ARROW)) == (1, 0, 0, 0)
        assert counts(await gateway.ingest("t", compact)) == (0, 1, 0, 0)
        assert counts(await gateway.ingest("t", compact[1:-1], Format.NDJSON)) == (0, 1, 0, 0)

    play(story)


def test_a_chunk_holds_nothing_of_events_that_were_not_accepted() -> None:
    async def story(gateway: Gateway, log: MemoryLog) -> None:
        customers = pa.array(["acme", "y" * 1_000, "beta"])
        answer = await gateway.ingest("t", columns_of("a", "b", "c", customer_id=customers), Format.ARROW)
        assert counts(answer) == (2, 0, 0, 1)
        customers_logged = set()
        for chunk in await chunks_of(log):
            customers_logged |= set(chunk.codes("customer")[1])
        assert customers_logged == {"acme", "beta"}

    play(story)


async def chunks_of(log: EventLog) -> list[Chunk]:
    chunks: list[Chunk] = []
    for partition in range(log.identity.partitions):
        first, end = await log.bounds(partition)
        records = await log.read(partition, first, 1 << 20, 0) if end > first else []
        chunks += [Chunk.decode(record.payload) for record in records if record.kind is Kind.CHUNK]
    return chunks


def test_arrow_has_a_limit_of_events_of_its_own() -> None:
    async def story(gateway: Gateway, _log: MemoryLog) -> None:
        ids = [str(number) for number in range(6)]
        assert (await gateway.ingest("t", columns_of(*ids), Format.ARROW)).accepted == 6
        with pytest.raises(BadRequest, match="has 7 events, at most 6"):
            await gateway.ingest("t", columns_of(*ids, "7"), Format.ARROW)
        with pytest.raises(BadRequest, match="has 6 events, at most 5"):
            await gateway.ingest("t", lines(*map(an_event, ids)), Format.NDJSON)

    play(story, GatewaySettings(request_events_max=5, arrow_events_max=6))


def test_an_age_out_of_reach_is_rejected_in_arrow_too() -> None:
    async def story(gateway: Gateway, _log: MemoryLog) -> None:
        times = pa.array([AT, AT.replace(year=2025), AT.replace(year=2027)], UTC_US)
        answer = await gateway.ingest("t", columns_of("a", "b", "c", timestamp=times), Format.ARROW)
        assert [(event.index, event.verdict, event.reason) for event in answer.events] == [
            (1, Verdict.REJECTED, "timestamp is more than 34 days ago"),
            (2, Verdict.REJECTED, "timestamp is more than 24 hours ahead"),
        ]

    play(story)


def test_a_tenant_over_its_limit_is_refused_before_its_body_is_read_and_others_are_not() -> None:
    async def run() -> None:
        clock, log = TestClock(), MemoryLog()
        settings = GatewaySettings(tenant=RateLimits(events_per_s_max=2), coalescer=CoalescerSettings(linger_ms=0))
        async with a_gateway(log, clock, settings) as gateway:
            assert (await gateway.ingest("t", a_body(*(an_event(str(n)) for n in range(6))))).accepted == 6
            with pytest.raises(TooMany, match="2 events a second") as refused:
                await gateway.ingest("t", b"{nonsense")
            assert refused.value.retry_after_s == 2
            assert (await gateway.ingest("u", a_body(an_event("a")))).accepted == 1
        await log.close()

    asyncio.run(run())
