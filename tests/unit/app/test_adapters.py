"""Adapters: what is away at a start is waited for, as long as the settings say."""

from __future__ import annotations

import asyncio
from unittest import mock

import pytest

from penstock.app.adapters import patiently
from penstock.kernel.problems import LogUnavailable, Refused, StoreUnavailable


def opened(*answers: Exception | str, timeout_ms: int = 20_000) -> str:
    left = list(answers)

    async def opening() -> str:
        answer = left.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def no_pause(_seconds: float) -> None:
        """Comes back at once."""

    with mock.patch("asyncio.sleep", no_pause):
        return asyncio.run(patiently(opening, timeout_ms))


def test_what_is_away_is_asked_again() -> None:
    assert opened(StoreUnavailable("away"), LogUnavailable("no leader"), "there") == "there"


def test_what_stays_away_is_raised_in_the_end() -> None:
    with pytest.raises(StoreUnavailable, match="away"):
        opened(StoreUnavailable("away"), "there", timeout_ms=-1)


def test_what_is_refused_is_not_asked_again() -> None:
    with pytest.raises(Refused, match="newer"):
        opened(Refused("newer"), "there")
