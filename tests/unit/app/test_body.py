"""Reading a body: its limit, its time, its end, and the budget that large ones share while they arrive."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

import pytest
from granian.rsgi import ProtocolClosed  # type: ignore[attr-defined]  # its module re-exports it without saying so

from penstock.app.body import WHOLE_BYTES_MAX, BodyReader
from penstock.gateway.budget import Budget
from penstock.kernel.problems import BadRequest, Problem, TooLarge, TooMany, TooSlow

LIMIT = 1_000_000


class Scope:
    def __init__(self, length: object) -> None:
        self.headers = {} if length is None else {"content-length": str(length)}


class Protocol:
    """A connection on which the body comes in parts; `hangs` before its end, or is `closed` there."""

    def __init__(self, parts: Sequence[bytes], *, hangs: bool = False, closed: bool = False) -> None:
        self._parts, self._hangs, self._closed = parts, hangs, closed
        self.read_bytes = 0

    async def __call__(self) -> bytes:
        await self._end()
        if self._closed:
            raise ProtocolClosed
        return b"".join(self._parts)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for part in self._parts:
            self.read_bytes += len(part)
            yield part
        await self._end()

    async def _end(self) -> None:
        if self._hangs:
            await asyncio.Event().wait()


def read(protocol: Protocol, length: object, budget: Budget | None = None) -> bytes:
    reader = BodyReader(budget or Budget(10 * LIMIT), LIMIT, 50)
    return asyncio.run(reader.read(Scope(length), protocol))


def refused(protocol: Protocol, length: object, kind: type[Problem], budget: Budget | None = None) -> str:
    with pytest.raises(kind) as caught:
        read(protocol, length, budget)
    return caught.value.detail


LARGE = [b"x" * 40_000] * 5


@pytest.mark.parametrize("length", [200_000, None])
def test_a_large_body_is_gathered_from_its_parts(length: int | None) -> None:
    assert read(Protocol(LARGE), length) == b"x" * 200_000


def test_a_small_body_is_read_at_once() -> None:
    assert read(Protocol([b"ab", b"c"]), 3) == b"abc"
    assert read(Protocol([]), None) == b""


def test_a_body_that_says_it_is_too_large_is_not_read() -> None:
    protocol = Protocol([b"x"])
    assert refused(protocol, LIMIT + 1, TooLarge) == f"a body may have {LIMIT} bytes"
    assert protocol.read_bytes == 0


def test_a_body_that_does_not_say_so_is_read_no_further_than_its_limit() -> None:
    protocol = Protocol([b"x" * 400_000] * 10)
    refused(protocol, None, TooLarge)
    assert protocol.read_bytes == 1_200_000


@pytest.mark.parametrize("length", ["ten", "-1", "1e3", ""])
def test_a_length_that_is_no_number_is_refused(length: str) -> None:
    refused(Protocol([]), length, TooLarge)


@pytest.mark.parametrize("length", [3, 200_000, None])
def test_a_body_that_does_not_arrive_in_time_is_too_slow(length: int | None) -> None:
    assert refused(Protocol(LARGE, hangs=True), length, TooSlow) == "the body did not arrive within 50 ms"


@pytest.mark.parametrize("length", [WHOLE_BYTES_MAX, 200_001])
def test_a_body_that_ends_early_is_refused(length: int) -> None:
    assert "ended early" in refused(Protocol(LARGE, closed=True), length, BadRequest)


def test_large_bodies_that_arrive_share_the_budget_and_give_it_back() -> None:
    budget = Budget(100_000)
    assert refused(Protocol(LARGE), 200_000, TooMany, budget) == "the gateway has as much waiting as it may hold"
    assert budget.held_bytes == 0
    assert len(read(Protocol(LARGE[:2]), 80_000, budget)) == 80_000
    refused(Protocol(LARGE[:2], hangs=True), 80_001, TooSlow, budget)
    assert budget.held_bytes == 0
