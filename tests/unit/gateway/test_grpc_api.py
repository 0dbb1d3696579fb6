"""A batch over gRPC: its receipt, a verdict for each event, and the status of what went wrong."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import grpc
import pytest

from penstock.gateway.coalescer import CoalescerSettings
from penstock.gateway.ingest import GatewaySettings
from penstock.wire.usage_pb2 import (
    VERDICT_CONFLICT,
    VERDICT_DUPLICATE,
    VERDICT_REJECTED,
    ArrowBatch,
    Event,
    EventBatch,
    IngestReceipt,
    Position,
)
from unit.gateway.givens import logged_ids
from unit.gateway.grpc_givens import (
    KEY,
    TIME_US,
    World,
    an_arrow_batch,
    an_event,
    columns,
    rows,
    serve,
    status,
    trailers,
    verdicts,
)

US_PER_DAY = 86_400_000_000
forms = pytest.mark.parametrize("form", [rows, columns])


@forms
def test_a_batch_gets_a_receipt_once_its_events_are_in_the_log(form: Callable[..., EventBatch]) -> None:
    async def story(world: World) -> None:
        receipt = await world.stub.Ingest(form(*(an_event(f"id-{n}") for n in range(10)), batch_id=7), metadata=KEY)

        offsets = {p.partition: p.offset for p in receipt.positions}  # behind a tick, if that came first
        assert receipt == IngestReceipt(
            batch_id=7, accepted=10, positions=[Position(partition=n, offset=offsets[n]) for n in (0, 1)]
        )
        assert await logged_ids(world.log) == [f"id-{n}" for n in range(10)]

    serve(story)


@forms
def test_what_was_not_accepted_is_told_event_by_event(form: Callable[..., EventBatch]) -> None:
    async def story(world: World) -> None:
        await world.stub.Ingest(rows(an_event("a"), an_event("b")), metadata=KEY)
        sent = an_event("a"), an_event("b", customer_id="else"), an_event(""), an_event("c")

        receipt = await world.stub.Ingest(form(*sent), metadata=KEY)

        assert verdicts(receipt) == (1, 1, 1, 1)
        assert [(e.index, e.transaction_id, e.verdict, e.reason) for e in receipt.not_accepted] == [
            (0, "a", VERDICT_DUPLICATE, "this transaction_id was accepted before"),
            (1, "b", VERDICT_CONFLICT, "this transaction_id was accepted before with another body; the first stays"),
            (2, "", VERDICT_REJECTED, "transaction_id is empty"),
        ]

    serve(story)


def test_rows_columns_and_arrow_are_one_event() -> None:
    async def story(world: World) -> None:
        first = await world.stub.Ingest(rows(an_event("a")), metadata=KEY)
        second = await world.stub.Ingest(columns(an_event("a")), metadata=KEY)
        third = await world.stub.IngestArrow(an_arrow_batch("a", batch_id=3), metadata=KEY)

        assert [verdicts(receipt) for receipt in (first, second, third)] == [(1, 0, 0, 0), (0, 1, 0, 0), (0, 1, 0, 0)]
        assert third.batch_id == 3

    serve(story)


def test_every_call_is_told_with_its_status() -> None:
    async def story(world: World) -> None:
        await world.stub.Ingest(rows(an_event("a")), metadata=KEY)
        await status(world.stub.Ingest(rows(an_event("b"))))
        await status(world.stub.IngestArrow(ArrowBatch(ipc_stream=b"none"), metadata=KEY))
        async with asyncio.timeout(60):
            while len(world.gateway.noted.calls) < 3:  # noqa: ASYNC110  # noted when the answer is on its way
                await asyncio.sleep(0.01)

        assert world.gateway.noted.calls == [
            ("Ingest", "OK"),
            ("Ingest", "UNAUTHENTICATED"),
            ("IngestArrow", "INVALID_ARGUMENT"),
        ]

    serve(story)


def test_another_tenant_s_ids_are_its_own() -> None:
    async def story(world: World) -> None:
        await world.stub.Ingest(rows(an_event("a")), metadata=KEY)

        receipt = await world.stub.Ingest(rows(an_event("a")), metadata=(("authorization", "Bearer other"),))

        assert verdicts(receipt) == (1, 0, 0, 0)

    serve(story)


BAD: dict[str, tuple[Event, str]] = {
    "an empty id": (an_event(""), "transaction_id is empty"),
    "an id of 129 characters": (an_event("x" * 129), "transaction_id has 129 characters"),
    "no customer": (an_event("bad", customer_id=""), "customer_id is empty"),
    "a customer of 257 characters": (an_event("bad", customer_id="é" * 257), "customer_id has 257 characters"),
    "no event type": (an_event("bad", event_type=""), "event_type is empty"),
    "no time": (an_event("bad", time_us=0), "34 days ago"),
    "a time of 35 days ago": (an_event("bad", time_us=TIME_US - 35 * US_PER_DAY), "34 days ago"),
    "a time in 25 hours": (an_event("bad", time_us=TIME_US + US_PER_DAY * 25 // 24), "24 hours ahead"),
    "the first time there is": (an_event("bad", time_us=-(2**63)), "34 days ago"),
    "the last time there is": (an_event("bad", time_us=2**63 - 1), "24 hours ahead"),
    "NaN": (an_event("bad", properties_json=b'{"units": NaN}'), "cannot be read"),
    "a list": (an_event("bad", properties_json=b"[1]"), "must be a JSON object"),
    "a number": (an_event("bad", properties_json=b"17"), "must be a JSON object"),
    "65 KiB": (an_event("bad", properties_json=b'{"a":"' + b"x" * 65 * 1024 + b'"}'), "at most 65536"),
    "200 levels": (an_event("bad", properties_json=b'{"a":' + b"[" * 200 + b"]" * 200 + b"}"), "64 levels"),
    "30,000 levels": (an_event("bad", properties_json=b'{"a":' + b"[" * 30_000 + b"]" * 30_000 + b"}"), "64 levels"),
}


@forms
@pytest.mark.parametrize("name", BAD)
def test_a_bad_event_is_rejected_with_its_reason_and_its_batch_mates_are_taken(
    form: Callable[..., EventBatch], name: str
) -> None:
    async def story(world: World) -> None:
        bad, reason = BAD[name]

        receipt = await world.stub.Ingest(form(an_event("mate-1"), bad, an_event("mate-2")), metadata=KEY)

        assert verdicts(receipt) == (2, 0, 0, 1)
        (event,) = receipt.not_accepted
        assert (event.index, event.verdict) == (1, VERDICT_REJECTED)
        assert reason in event.reason
        assert await logged_ids(world.log) == ["mate-1", "mate-2"]

    serve(story)


def test_an_id_that_is_no_utf8_is_rejected_alone() -> None:
    async def story(world: World) -> None:
        body = rows(an_event("mate"), an_event("HERE"), batch_id=9).SerializeToString().replace(b"HERE", b"\xff\xfe!!")

        receipt = await world.raw("Ingest")(body, metadata=KEY)

        assert (receipt.batch_id, verdicts(receipt)) == (9, (1, 0, 0, 1))
        assert "UTF-8" in receipt.not_accepted[0].reason

    serve(story)


@pytest.mark.parametrize(
    ("metadata", "code"),
    [
        ((), grpc.StatusCode.UNAUTHENTICATED),
        ((("authorization", "ingest"),), grpc.StatusCode.UNAUTHENTICATED),
        ((("authorization", "Bearer wrong"),), grpc.StatusCode.UNAUTHENTICATED),
        ((("authorization", "Bearer reader"),), grpc.StatusCode.PERMISSION_DENIED),
    ],
)
def test_every_method_needs_a_key_that_may_ingest(metadata: Any, code: grpc.StatusCode) -> None:
    async def story(world: World) -> None:
        # Nothing is written: a write to a call that has just ended makes the client tell an error of its own.
        stream = world.stub.IngestStream(metadata=metadata)
        calls = [
            world.stub.Ingest(rows(an_event()), metadata=metadata),
            world.stub.IngestArrow(an_arrow_batch("a"), metadata=metadata),
            stream.read(),
        ]

        assert [(await status(call)).code() for call in calls] == [code] * 3
        assert await logged_ids(world.log) == []

    serve(story)


@pytest.mark.parametrize(
    ("method", "message", "reason"),
    [
        ("Ingest", b"\xff\xff\xff", "not a penstock.v1.EventBatch"),
        ("Ingest", b'[{"transaction_id": "a"}]', "not a penstock.v1.EventBatch"),
        ("Ingest", rows(*(an_event(str(n)) for n in range(10_001))).SerializeToString(), "10001 events"),
        ("Ingest", columns(an_event(), customer_ids=[]).SerializeToString(), "unlike length"),
        ("IngestArrow", b"\xff\xff\xff", "not a penstock.v1.ArrowBatch"),
        ("IngestArrow", ArrowBatch(ipc_stream=b"no arrow").SerializeToString(), ""),
        ("IngestArrow", ArrowBatch(ipc_stream=an_arrow_batch("a").ipc_stream[:-100]).SerializeToString(), ""),
    ],
)
def test_a_message_that_is_wrong_as_a_whole_is_an_invalid_argument(method: str, message: bytes, reason: str) -> None:
    async def story(world: World) -> None:
        error = await status(world.raw(method)(message, metadata=KEY))

        assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert reason in (error.details() or "")
        assert trailers(error)["penstock-problem"] == "bad-request"
        assert await logged_ids(world.log) == []

    serve(story)


def test_exactly_10_000_events_are_taken() -> None:
    async def story(world: World) -> None:
        receipt = await world.stub.Ingest(columns(*(an_event(str(n)) for n in range(10_000))), metadata=KEY)

        assert verdicts(receipt) == (10_000, 0, 0, 0)

    serve(story)


def test_when_the_queue_is_full_the_status_says_how_long_to_wait() -> None:
    async def story(world: World) -> None:
        world.log.held.clear()
        first = asyncio.ensure_future(world.stub.Ingest(rows(an_event("a")), metadata=KEY))
        await world.gateway.arrivals(1)

        error = await status(world.stub.Ingest(rows(an_event("b")), metadata=KEY))

        assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert trailers(error) == {"penstock-problem": "too-many", "retry-after": "1"}
        world.log.held.set()
        assert verdicts(await first) == (1, 0, 0, 0)
        assert verdicts(await world.stub.Ingest(rows(an_event("b")), metadata=KEY)) == (1, 0, 0, 0)

    serve(story, GatewaySettings(coalescer=CoalescerSettings(linger_ms=0, queue_bytes_max=60)))


def test_when_the_log_does_not_answer_the_outcome_is_unknown_and_a_retry_counts_once() -> None:
    async def story(world: World) -> None:
        world.log.failing = {0, 1}

        error = await status(world.stub.Ingest(rows(an_event("a")), metadata=KEY))

        assert error.code() is grpc.StatusCode.UNAVAILABLE
        assert trailers(error)["penstock-problem"] == "log-unavailable"
        world.log.failing = set()
        assert verdicts(await world.stub.Ingest(rows(an_event("a")), metadata=KEY)) == (1, 0, 0, 0)
        assert await logged_ids(world.log) == ["a"]

    serve(story)


def test_a_fault_of_ours_is_internal_and_tells_no_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story(world: World) -> None:
        monkeypatch.setattr(world.log, "append", None)

        error = await status(world.stub.Ingest(rows(an_event("a")), metadata=KEY))

        assert (error.code(), error.details()) == (
            grpc.StatusCode.INTERNAL,
            "an internal error; the server's log has its cause",
        )
        monkeypatch.undo()

    serve(story)
