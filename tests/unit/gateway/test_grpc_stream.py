"""A stream of batches over gRPC: receipts in order, and what ends it."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import pytest

from penstock.gateway.grpc_server import GrpcSettings
from unit.gateway.givens import logged_ids
from unit.gateway.grpc_givens import KEY, KEYS, World, an_event, columns, rows, serve, status, verdicts


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
