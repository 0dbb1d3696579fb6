"""The gateway over gRPC: receipts, verdicts, statuses, streams, and an end that loses no receipt."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from penstock.gateway.coalescer import CoalescerSettings
from penstock.gateway.grpc_server import GrpcServer, GrpcSettings
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
    KEYS,
    TIME_US,
    World,
    an_arrow_batch,
    an_event,
    authenticate,
    columns,
    rows,
    serve,
    status,
    trailers,
    verdicts,
)

MIB = 2**20
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
        stream = world.stub.IngestStream(iter([rows(an_event())]), metadata=metadata)
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


@pytest.mark.parametrize("compression", [grpc.Compression.NoCompression, grpc.Compression.Gzip])
def test_a_message_over_the_limit_is_refused_however_small_it_was_packed(compression: grpc.Compression) -> None:
    async def story(world: World) -> None:
        huge = rows(an_event(properties_json=b" " * (33 * MIB)))

        error = await status(world.stub.Ingest(huge, metadata=KEY, compression=compression))

        assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "retry-after" not in trailers(error)
        assert verdicts(await world.stub.Ingest(rows(an_event()), metadata=KEY)) == (1, 0, 0, 0)

    serve(story)


def test_gzip_is_taken_on_single_batches_and_on_streams() -> None:
    async def story(world: World) -> None:
        packed = {"metadata": KEY, "compression": grpc.Compression.Gzip}
        one = await world.stub.Ingest(rows(an_event("a")), **packed)
        stream = [receipt async for receipt in world.stub.IngestStream(iter([rows(an_event("b"))]), **packed)]

        assert [verdicts(receipt) for receipt in (one, *stream)] == [(1, 0, 0, 0)] * 2

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


def test_a_stream_answers_every_batch_in_order() -> None:
    async def story(world: World) -> None:
        batches = [columns(*(an_event(f"{number}-{n}") for n in range(3)), batch_id=number) for number in range(40)]

        receipts = [receipt async for receipt in world.stub.IngestStream(iter(batches), metadata=KEY)]

        assert [receipt.batch_id for receipt in receipts] == list(range(40))
        assert {verdicts(receipt) for receipt in receipts} == {(3, 0, 0, 0)}

    serve(story)


def test_a_repeat_on_the_same_stream_is_a_duplicate_though_both_are_under_way() -> None:
    async def story(world: World) -> None:
        batches = [rows(an_event("a"), batch_id=1), rows(an_event("a"), batch_id=2)]

        receipts = [receipt async for receipt in world.stub.IngestStream(iter(batches), metadata=KEY)]

        assert [verdicts(receipt) for receipt in receipts] == [(1, 0, 0, 0), (0, 1, 0, 0)]

    serve(story)


def test_a_bad_event_in_a_stream_is_a_verdict_and_the_stream_goes_on() -> None:
    async def story(world: World) -> None:
        batches = [rows(an_event("")), rows(an_event("b"))]

        receipts = [receipt async for receipt in world.stub.IngestStream(iter(batches), metadata=KEY)]

        assert [verdicts(receipt) for receipt in receipts] == [(0, 0, 0, 1), (1, 0, 0, 0)]

    serve(story)


def test_a_batch_that_is_no_batch_ends_the_stream_after_the_receipts_before_it() -> None:
    async def story(world: World) -> None:
        good = [rows(an_event(f"{number}"), batch_id=number).SerializeToString() for number in range(3)]
        call = world.raw_stream()(iter([*good, b"\xff\xff"]), metadata=KEY)

        assert [(await call.read()).batch_id for _ in good] == [0, 1, 2]
        error = await status(call.read())
        assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert await logged_ids(world.log) == ["0", "1", "2"]

    serve(story)


def test_a_key_that_is_revoked_ends_its_open_streams(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story(world: World) -> None:
        call = world.stub.IngestStream(metadata=KEY)
        await call.write(rows(an_event("a")))
        assert verdicts(await call.read()) == (1, 0, 0, 0)
        monkeypatch.delitem(KEYS, "Bearer ingest")
        await call.write(rows(an_event("b")))

        assert (await status(call.read())).code() is grpc.StatusCode.UNAUTHENTICATED
        assert await logged_ids(world.log) == ["a"]

    serve(story)


def test_a_message_over_the_limit_ends_the_stream_as_grpc_does() -> None:
    async def story(world: World) -> None:
        huge = rows(an_event(properties_json=b" " * (33 * MIB)))
        call = world.stub.IngestStream(metadata=KEY)
        await call.write(rows(an_event("a"), batch_id=1))
        assert (await call.read()).batch_id == 1
        sending = asyncio.ensure_future(call.write(huge))

        error = await status(call.read())

        assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        await asyncio.gather(sending, return_exceptions=True)
        assert verdicts(await world.stub.Ingest(rows(an_event("b")), metadata=KEY)) == (1, 0, 0, 0)

    serve(story)


def test_no_more_batches_of_a_stream_are_under_way_than_the_limit() -> None:
    async def story(world: World) -> None:
        world.log.held.clear()
        call = world.stub.IngestStream(metadata=KEY)
        sending = asyncio.ensure_future(_send(call, 10))
        await world.gateway.arrivals(3)
        await asyncio.sleep(0.05)  # time enough to take more, if it did

        assert world.gateway.under_way == 3
        world.log.held.set()
        await sending
        assert [receipt.batch_id async for receipt in call] == list(range(10))
        assert world.gateway.under_way == 0

    serve(story, grpc_settings=GrpcSettings(batches_in_flight_max=3))


async def _send(call: Any, batches: int) -> None:
    for number in range(batches):
        await call.write(rows(an_event(f"{number}"), batch_id=number))
    await call.done_writing()


def test_a_client_that_leaves_before_the_answer_and_sends_again_is_counted_once() -> None:
    async def story(world: World) -> None:
        world.log.held.clear()
        call = world.stub.IngestStream(metadata=KEY)
        await call.write(rows(an_event("a"), an_event("b")))
        await world.gateway.arrivals(1)
        call.cancel()
        world.log.held.set()

        receipt = await world.stub.Ingest(rows(an_event("a"), an_event("b"), an_event("c")), metadata=KEY)

        assert verdicts(receipt) == (1, 2, 0, 0)
        assert await logged_ids(world.log) == ["a", "b", "c"]

    serve(story)


def test_a_drain_answers_what_was_read_and_then_ends_the_stream() -> None:
    async def story(world: World) -> None:
        world.log.held.clear()
        call = world.stub.IngestStream(metadata=KEY)
        for number in range(3):
            await call.write(rows(an_event(f"{number}"), batch_id=number))
        await world.gateway.arrivals(3)
        draining = asyncio.ensure_future(world.server.drain())
        await asyncio.sleep(0.01)
        refused = await status(world.stub.Ingest(rows(an_event("late")), metadata=KEY))
        world.log.held.set()

        assert [(await call.read()).batch_id for _ in range(3)] == [0, 1, 2]
        error = await status(call.read())
        assert [each.code() for each in (refused, error)] == [grpc.StatusCode.UNAVAILABLE] * 2
        assert trailers(error)["retry-after"] == "1"
        await draining
        assert await logged_ids(world.log) == ["0", "1", "2"]

    serve(story)


def test_a_stream_that_was_answered_to_its_end_while_draining_ends_well() -> None:
    async def story(world: World) -> None:
        world.log.held.clear()
        call = world.stub.IngestStream(metadata=KEY)
        await call.write(rows(an_event("a")))
        await call.done_writing()
        reading = asyncio.ensure_future(call.read())
        await world.gateway.arrivals(1)
        for _ in range(3):  # once these are answered, the server has seen the end of the stream before them
            await health_pb2_grpc.HealthStub(world.channel).Check(health_pb2.HealthCheckRequest())
        draining = asyncio.ensure_future(world.server.drain())
        await asyncio.sleep(0.01)
        world.log.held.set()

        assert verdicts(await reading) == (1, 0, 0, 0)
        assert await call.code() is grpc.StatusCode.OK
        await draining

    serve(story)


def test_a_drain_waits_for_single_batches_too() -> None:
    async def story(world: World) -> None:
        world.log.held.clear()
        call = asyncio.ensure_future(world.stub.Ingest(rows(an_event("a")), metadata=KEY))
        await world.gateway.arrivals(1)
        draining = asyncio.ensure_future(world.server.drain())
        await asyncio.sleep(0.01)
        world.log.held.set()

        assert verdicts(await call) == (1, 0, 0, 0)
        await draining

    serve(story)


def test_a_drain_ends_though_nobody_reads_the_receipts_and_the_log_does_not_answer() -> None:
    async def story(world: World) -> None:
        world.log.held.clear()
        call = world.stub.IngestStream(metadata=KEY)
        await call.write(rows(an_event("a")))
        await world.gateway.arrivals(1)

        await world.server.drain()

        assert (await status(call.read())).code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)
        world.log.held.set()

    serve(story, grpc_settings=GrpcSettings(drain_ms_max=10))


def test_health_says_serving_and_then_not_serving() -> None:
    async def story(world: World) -> None:
        stub = health_pb2_grpc.HealthStub(world.channel)
        request = health_pb2.HealthCheckRequest(service="penstock.v1.Usage")
        watch = stub.Watch(health_pb2.HealthCheckRequest())

        assert (await stub.Check(request)).status == health_pb2.HealthCheckResponse.SERVING
        assert (await watch.read()).status == health_pb2.HealthCheckResponse.SERVING
        world.log.held.clear()
        open_stream = world.stub.IngestStream(metadata=KEY)
        await open_stream.write(rows(an_event("a")))
        await world.gateway.arrivals(1)
        draining = asyncio.ensure_future(world.server.drain())
        assert (await watch.read()).status == health_pb2.HealthCheckResponse.NOT_SERVING
        assert (await stub.Check(request)).status == health_pb2.HealthCheckResponse.NOT_SERVING
        world.log.held.set()
        await draining

    serve(story)


def test_reflection_names_the_services_and_gives_the_proto() -> None:
    async def story(world: World) -> None:
        requests = [
            reflection_pb2.ServerReflectionRequest(list_services=""),
            reflection_pb2.ServerReflectionRequest(file_containing_symbol="penstock.v1.Usage"),
        ]
        stub = reflection_pb2_grpc.ServerReflectionStub(world.channel)

        services, file = [answer async for answer in stub.ServerReflectionInfo(iter(requests))]

        assert {service.name for service in services.list_services_response.service} == {
            "penstock.v1.Usage",
            "grpc.health.v1.Health",
            "grpc.reflection.v1alpha.ServerReflection",
        }
        assert b"penstock/v1/usage.proto" in file.file_descriptor_response.file_descriptor_proto[0]

    serve(story)


def test_a_port_in_use_is_refused_by_name() -> None:
    async def story(world: World) -> None:
        port = int(world.address.rpartition(":")[2])
        with pytest.raises(OSError, match=f"cannot listen on {world.address} for gRPC"):
            await GrpcServer(world.gateway, authenticate).start("127.0.0.1", port)

    serve(story)


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


def test_an_unknown_compression_is_answered_by_grpc_and_the_next_call_is_taken() -> None:
    """HTTP/2 by hand, since no client library sends one."""
    fields = {
        b":method": b"POST",
        b":scheme": b"http",
        b":path": b"/penstock.v1.Usage/Ingest",
        b":authority": b"penstock",
        b"te": b"trailers",
        b"content-type": b"application/grpc",
        b"grpc-encoding": b"brotli",
    }
    head = b"".join(b"\0" + bytes([len(n)]) + n + bytes([len(v)]) + v for n, v in fields.items())
    packed = b"\x01" + (4).to_bytes(4, "big") + b"\x0b\x01\x80\x03"

    async def story(world: World) -> None:
        host, _, port = world.address.rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + _frame(4, 0, 0, b"")
        writer.write(preface + _frame(1, 4, 1, head) + _frame(0, 1, 1, packed))
        answer = await reader.readuntil(b"grpc-message") + await reader.readuntil(b"metadata")
        writer.close()

        assert b"grpc-status" in answer
        assert b"grpc-encoding" in answer
        assert verdicts(await world.stub.Ingest(rows(an_event()), metadata=KEY)) == (1, 0, 0, 0)

    serve(story)
