"""Health tells the truth: what is away is named with its reason, and only what is needed makes a process not ready."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import pytest

from penstock.app import health
from penstock.app.health import Check, Health, NotReady
from penstock.kernel.problems import StoreUnavailable
from penstock.web.route import Principal, Request

ASKED = Request(Principal("", "", frozenset()), {}, {}, b"")


def dependencies(made: Health) -> Any:
    return made.readyz(ASKED).body["dependencies"]


def raising(error: Exception) -> Callable[[], None]:
    def look() -> None:
        raise error

    return look


@contextmanager
def quick() -> Iterator[None]:
    with mock.patch.object(health, "LOOK_EVERY_S", 0.001), mock.patch.object(health, "ANSWER_WITHIN_S", 0.02):
        yield


def test_a_process_without_dependencies_is_ready_while_it_serves() -> None:
    made = Health([])
    assert (made.readyz(ASKED).status, made.readyz(ASKED).body) == (503, {"status": "starting"})

    made.phase = None
    assert (made.readyz(ASKED).status, made.readyz(ASKED).body) == (200, {"status": "ok"})

    made.phase = "draining"
    answer = made.readyz(ASKED)
    assert (answer.status, answer.body, answer.headers) == (503, {"status": "draining"}, (("retry-after", "1"),))


def test_what_is_away_is_named_and_only_what_is_needed_counts() -> None:
    async def scenario() -> None:
        reasons: dict[str, Exception | None] = {"log": None, "rater": NotReady("asleep")}

        async def look_at_log() -> None:
            if error := reasons["log"]:
                raise error

        made = Health([Check("log", look_at_log), Check("rater", raising(NotReady("asleep")), is_needed=False)])
        made.phase = None
        assert made.readyz(ASKED).status == 503  # not looked at yet
        with quick():
            await made.watch()
            assert made.is_ready
            assert dependencies(made) == {
                "log": {"status": "ok", "needed": True},
                "rater": {"status": "away", "needed": False, "reason": "asleep"},
            }

            reasons["log"] = StoreUnavailable("no leader")
            await until(lambda: not made.is_ready)
            assert dependencies(made)["log"] == {"status": "away", "needed": True, "reason": "no leader"}
            assert made.readyz(ASKED).body["status"] == "not ready"

            reasons["log"] = None
            await until(lambda: made.is_ready)
            await made.close()

    asyncio.run(scenario())


def test_a_look_that_hangs_is_told_and_never_made_twice_at_a_time() -> None:
    async def scenario() -> None:
        free, looks = threading.Event(), []

        def look() -> None:
            looks.append(1)
            free.wait()

        made = Health([Check("store", look)])
        made.phase = None
        with quick():
            await made.watch()
            assert dependencies(made)["store"]["reason"] == "no answer in 0.02 s"
            assert len(looks) == 1
            free.set()
            await until(lambda: made.is_ready)
            await made.close()

    asyncio.run(scenario())


def test_a_bug_in_a_look_is_not_health(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario() -> None:
        made = Health([Check("store", raising(KeyError("secret")))])
        made.phase = None
        with quick():
            await made.watch()
        assert dependencies(made)["store"]["reason"] == "the look failed: KeyError"
        await made.close()

    asyncio.run(scenario())
    assert "the look at store failed" in caplog.text


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not holds():  # noqa: ASYNC110  # what is awaited is another task's next turn
            await asyncio.sleep(0.001)
