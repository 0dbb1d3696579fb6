"""The gRPC server around the gateway: what it takes off the wire, how it is, and an end that loses no receipt."""

from __future__ import annotations

import asyncio

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from penstock.gateway.grpc_server import GrpcServer, GrpcSettings
from unit.gateway.givens import logged_ids
from unit.gateway.grpc_givens import KEY, World, an_event, authenticate, rows, serve, status, trailers, verdicts

MIB = 2**20


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
