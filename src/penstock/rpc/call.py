"""What one call carries along: until when an answer is wanted, and the id of the request that it serves."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

REQUEST_ID_HEADER = "x-request-id"
# Of the call that this thread is answering, on the clock of `time.monotonic`; None where nobody waits.
_DEADLINE_S: ContextVar[float | None] = ContextVar("deadline_s", default=None)


def time_left_s(timeout_s: float) -> float:
    """How long a call made now may take: `timeout_s`, or less where the caller of this thread waits for less."""
    deadline_s = _DEADLINE_S.get()
    return timeout_s if deadline_s is None else min(timeout_s, deadline_s - time.monotonic())


@contextmanager
def wanted_within(seconds: float | None) -> Iterator[None]:
    """What is called inside, in this thread, is wanted within `seconds`; None is no limit."""
    token = _DEADLINE_S.set(None if seconds is None else time.monotonic() + seconds)
    try:
        yield
    finally:
        _DEADLINE_S.reset(token)
