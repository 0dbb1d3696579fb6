"""The gateway when things go wrong: a log that does not answer, a full queue, callers who leave, restart, drain."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from penstock.gateway.coalescer import LINGER_EVENTS_MAX, CoalescerSettings
from penstock.gateway.ingest import Gateway, GatewaySettings
from penstock.kernel.problems import LogUnavailable, TooMany
from penstock.log.memory import MemoryLog
from unit.gateway.givens import NO_LINGER, FailingLog, TestClock, a_body, a_gateway, an_event, counts, logged_ids


def test_after_a_failed_append_the_whole_batch_is_503_and_accepted_again() -> None:
    async def story() -> None:
        log = FailingLog(2)
        async with a_gateway(log) as gateway:
            log.failing = {1}
            bodies = [a_body(*(an_event(f"{request}-{n}") for n in range(10))) for request in range(3)]
            outcomes = await asyncio.gather(*(gateway.ingest("t", body) for body in bodies), return_exceptions=True)
            assert [type(outcome) for outcome in outcomes] == [LogUnavailable] * 3
            log.failing = set()
            answers = await asyncio.gather(*(gateway.ingest("t", body) for body in bodies))
            assert [counts(answer) for answer in answers] == [(10, 0, 0, 0)] * 3
            # What partition 0 took the first time is there twice: the fold's exact set drops it.
            assert len(set(await logged_ids(log))) == 30

    asyncio.run(story())


def test_a_copy_of_an_id_in_flight_gets_the_outcome_of_that_append() -> None:
    async def story() -> None:
        log = FailingLog()
        async with a_gateway(log) as gateway:
            log.held.clear()
            first = asyncio.create_task(gateway.ingest("t", a_body(an_event("a"))))
            await asyncio.sleep(0.01)
            copy = asyncio.create_task(gateway.ingest("t", a_body(an_event("a"))))
            await asyncio.sleep(0.01)
            assert not first.done()
            assert not copy.done()
            log.held.set()
            assert [counts(await first), counts(await copy)] == [(1, 0, 0, 0), (0, 1, 0, 0)]

    asyncio.run(story())


def many(name: str, *others: object) -> bytes:
    """As many events as are worth an append beside another."""
    return a_body(*(an_event(f"{name}-{n}") for n in range(LINGER_EVENTS_MAX)), *others)


def test_few_events_wait_for_the_append_under_way_and_share_the_next() -> None:
    async def story() -> None:
        log = FailingLog()
        async with a_gateway(log) as gateway:
            log.held.clear()
            sent = []
            for name in "abcd":
                sent.append(asyncio.create_task(gateway.ingest("t", a_body(an_event(name)))))
                await asyncio.sleep(0.01)
            assert log.appends == 1
            log.held.set()
            assert [counts(await answer) for answer in sent] == [(1, 0, 0, 0)] * 4
            assert log.appends == 2

    asyncio.run(story())


def test_other_ids_are_appended_while_an_append_is_under_way() -> None:
    async def story() -> None:
        log = FailingLog()
        async with a_gateway(log) as gateway:
            log.held.clear()
            sent = []
            for name in "abcd":
                sent.append(asyncio.create_task(gateway.ingest("t", many(name))))
                await asyncio.sleep(0.05)
            assert log.appends == NO_LINGER.coalescer.appends_max == 3
            log.held.set()
            assert [counts(await answer) for answer in sent] == [(LINGER_EVENTS_MAX, 0, 0, 0)] * 4

    asyncio.run(story())


def test_a_copy_of_an_id_whose_append_failed_is_appended_itself() -> None:
    async def story() -> None:
        log = FailingLog()
        async with a_gateway(log) as gateway:
            log.held.clear()
            log.failing = {0}
            first = asyncio.create_task(gateway.ingest("t", many("a")))
            await asyncio.sleep(0.05)
            copy = asyncio.create_task(gateway.ingest("t", many("b", an_event("a-7"))))
            await asyncio.sleep(0.05)
            assert log.appends == 1
            log.failing = set()
            log.held.set()
            with pytest.raises(LogUnavailable):
                await first
            assert counts(await copy) == (LINGER_EVENTS_MAX + 1, 0, 0, 0)
            assert len(await logged_ids(log)) == LINGER_EVENTS_MAX + 1

    asyncio.run(story())


def test_more_bytes_than_the_queue_may_hold_are_too_many_and_then_taken_again() -> None:
    body = a_body(an_event("a"))
    settings = GatewaySettings(coalescer=CoalescerSettings(linger_ms=0, queue_bytes_max=2 * len(body)))

    async def story() -> None:
        log = FailingLog()
        async with a_gateway(log, settings=settings) as gateway:
            log.held.clear()
            waiting = [asyncio.create_task(gateway.ingest("t", body)) for _ in range(2)]
            await asyncio.sleep(0.01)
            with pytest.raises(TooMany) as refused:
                await gateway.ingest("t", body)
            assert refused.value.retry_after_s == 1
            log.held.set()
            assert [answer.accepted for answer in await asyncio.gather(*waiting)] == [1, 0]
            assert (await gateway.ingest("t", body)).duplicate == 1

    asyncio.run(story())


def test_a_caller_who_goes_away_does_no_harm_to_the_others() -> None:
    async def story() -> None:
        log = FailingLog()
        async with a_gateway(log) as gateway:
            log.held.clear()
            gone = asyncio.create_task(gateway.ingest("t", a_body(an_event("a"))))
            other = asyncio.create_task(gateway.ingest("t", a_body(an_event("b"))))
            await asyncio.sleep(0.01)
            gone.cancel()
            log.held.set()
            assert (await other).accepted == 1
            assert (await gateway.ingest("t", a_body(an_event("a")))).duplicate == 1

    asyncio.run(story())


def test_a_restart_remembers_the_newest_ids_of_the_log() -> None:
    async def story() -> None:
        log, clock = MemoryLog(2), TestClock()
        async with a_gateway(log, clock) as gateway:
            await gateway.ingest("t", a_body(an_event("old")))
            clock.advance(timedelta(days=2))
            for number in range(600):
                await gateway.ingest("t", a_body(an_event(str(number))))
        async with a_gateway(log, clock) as gateway:
            known = await gateway.ingest("t", a_body(*(an_event(str(number)) for number in range(600))))
            assert counts(known) == (0, 600, 0, 0)
            conflict = await gateway.ingest("t", a_body(an_event("7", customer_id="x"), an_event("new")))
            assert counts(conflict) == (1, 0, 1, 0)
            # Beyond the gateway's window an id is the aggregator's to know.
            assert (await gateway.ingest("t", a_body(an_event("old")))).accepted == 1

    asyncio.run(story())


def test_a_restart_reads_no_more_of_the_log_than_its_window_holds() -> None:
    settings = GatewaySettings(window_ids_max=10, coalescer=CoalescerSettings(linger_ms=0))

    async def story() -> None:
        log = MemoryLog()
        async with a_gateway(log) as gateway:
            for number in range(600):
                await gateway.ingest("t", a_body(an_event(str(number))))
        async with a_gateway(log, settings=settings) as gateway:
            answer = await gateway.ingest("t", a_body(an_event("0"), an_event("599")))
            assert [event.index for event in answer.events] == [1]

    asyncio.run(story())


def test_drain_takes_nothing_new_and_answers_what_waits() -> None:
    async def story() -> None:
        log = FailingLog()
        gateway = Gateway(log, TestClock(), NO_LINGER)
        await gateway.start()
        log.held.clear()
        waiting = [asyncio.create_task(gateway.ingest("t", a_body(an_event(str(number))))) for number in range(5)]
        await asyncio.sleep(0.01)
        draining = asyncio.create_task(gateway.drain())
        await asyncio.sleep(0.01)
        with pytest.raises(LogUnavailable, match="shutting down"):
            await gateway.ingest("t", a_body(an_event("late")))
        assert not draining.done()
        log.held.set()
        await draining
        assert [(await task).accepted for task in waiting] == [1] * 5
        assert await logged_ids(log) == ["0", "1", "2", "3", "4"]
        await gateway.drain()

    asyncio.run(story())
