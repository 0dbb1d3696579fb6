"""The event loop of one process under virtual time: its tasks take turns as chance will have it.

It has what the product's shells use of `asyncio`. A call in a thread happens at once, but others may act before it,
after it, and wherever it pauses in the store; so may the other tasks of its own process.
"""

from __future__ import annotations

import asyncio
import inspect
import random
import types
from collections.abc import Awaitable, Callable, Collection, Coroutine, Generator
from typing import Any

from penstock.kernel.ports.event_log import LogTrimmed
from penstock.kernel.problems import Problem, Refused

STEPS_TO_END_MAX = 20


class Died(Exception):
    """Where the process ended."""


class Wait:
    """What a task waits for. Without a condition it only lets others go first."""

    def __init__(self, is_over: Callable[[], bool] = lambda: True) -> None:
        self.is_over = is_over

    def __await__(self) -> Generator[Wait, None, None]:
        yield self


class Event:
    """An `asyncio.Event`."""

    def __init__(self) -> None:
        self._is_set = False

    def set(self) -> None:
        self._is_set = True

    def clear(self) -> None:
        self._is_set = False

    def is_set(self) -> bool:
        return self._is_set

    async def wait(self) -> None:
        await Wait(self.is_set)


class Task:
    """A coroutine that a loop resumes whenever what it waits for has happened."""

    def __init__(self, coroutine: Coroutine[Wait, None, Any]) -> None:
        self.coroutine = coroutine
        self.wait: Wait | None = None  # until it is begun
        self.is_running = self.is_done = self._is_cancelled = False
        self.value: Any = None
        self.failure: Exception | None = None

    def __await__(self) -> Generator[Wait, None, Any]:
        if not self.is_done:
            yield Wait(lambda: self.is_done)
        return self.result()

    def done(self) -> bool:
        return self.is_done

    def cancelled(self) -> bool:
        return self._is_cancelled

    def cancel(self) -> None:
        """End it where it waits; one that is running ends with its process."""
        self._is_cancelled = True
        if not self.is_running:
            self.is_done = True
            _end(self.coroutine)

    def result(self) -> Any:
        if self.failure is not None:
            raise self.failure
        return self.value

    def close(self) -> None:
        self.coroutine.close()
        self.is_done = True


class Loop:
    """The tasks of one process. `is_dead` once it was killed, from outside or by a write that it did not survive."""

    current: Loop

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self._tasks: list[Task] = []
        self.is_dead = False

    def create_task(self, coroutine: Coroutine[Wait, None, Any]) -> Task:
        task = Task(coroutine)
        self._tasks.append(task)
        return task

    def turn(self) -> None:
        """Let one task go on to where it waits next, if any can."""
        self._tasks = [task for task in self._tasks if not task.is_done]
        new = [task for task in self._tasks if task.wait is None]
        able = [task for task in self._tasks if task.wait is not None and not task.is_running and task.wait.is_over()]
        if new:
            self._resume(new[0])  # as in asyncio: before anything that a task waits for now
        elif able:
            self._resume(self._chance.choice(able))

    def _resume(self, task: Task) -> None:
        task.wait = task.wait or Wait()
        outer = getattr(Loop, "current", self)  # a turn may be taken in the middle of another loop's
        Loop.current, task.is_running = self, True
        try:
            task.wait = task.coroutine.send(None)
        except StopIteration as done:
            task.value = done.value
        except (Problem, Refused, OSError, LogTrimmed, Died) as exc:
            task.failure = exc
            self.is_dead = self.is_dead or isinstance(exc, Died)
        finally:
            Loop.current, task.is_running = outer, False
            task.is_done = inspect.getcoroutinestate(task.coroutine) == inspect.CORO_CLOSED
        if self.is_dead:
            self.kill()

    def kill(self) -> None:
        """End every task where it waits; one that is running ends where it waits next."""
        self.is_dead = True
        for task in self._tasks:
            if not task.is_running and not task.is_done:  # the end of one may have ended another
                task.is_done = True
                _end(task.coroutine)


def _end(coroutine: Coroutine[Wait, None, Any]) -> None:
    for _ in range(STEPS_TO_END_MAX):
        try:
            coroutine.throw(Died())
        except (Died, StopIteration, Problem, Refused, OSError, LogTrimmed):  # it had failed before, perhaps
            return
    raise AssertionError("a task did not end with its process")


async def _to_thread(call: Callable[..., Any], *args: Any) -> Any:
    await Wait()
    result = call(*args)
    await Wait()
    return result


async def _sleep(seconds: float) -> None:
    await Wait()


async def _wait(tasks: Collection[Task], return_when: str) -> None:
    assert return_when == asyncio.FIRST_COMPLETED
    await Wait(lambda: any(task.is_done for task in tasks))


async def _wait_for(coroutine: Coroutine[Wait, None, Any], limit_s: float | None) -> Any:
    """It may always take too long, where there is a limit."""
    task = Loop.current.create_task(coroutine)
    await Wait(lambda: task.is_done or limit_s is not None)
    if not task.is_done:
        task.close()
        raise TimeoutError
    return await task


async def _gather(*awaitables: Awaitable[Any], return_exceptions: bool = False) -> list[Any]:
    """One after the other; each is done, whatever became of those before it."""
    outcomes: list[Any] = []
    for awaitable in awaitables:
        try:
            outcomes.append(await awaitable)
        except Exception as exc:
            outcomes.append(exc)
    failed = [outcome for outcome in outcomes if isinstance(outcome, Exception)]
    if failed and not return_exceptions:
        raise failed[0]
    return outcomes


ASYNCIO = types.SimpleNamespace(
    Event=Event,
    FIRST_COMPLETED=asyncio.FIRST_COMPLETED,
    create_task=lambda coroutine: Loop.current.create_task(coroutine),
    gather=_gather,
    sleep=_sleep,
    to_thread=_to_thread,
    wait=_wait,
    wait_for=_wait_for,
)
