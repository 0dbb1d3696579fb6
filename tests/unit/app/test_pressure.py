"""How long a batch is held back while the fold of the same process is behind."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest

from penstock.app import pressure
from penstock.app.pressure import FoldPressure
from penstock.kernel.window import to_us

NOW = datetime(2026, 7, 1, tzinfo=UTC)

Look = Callable[[Any], None]


def held_ms(monkeypatch: pytest.MonkeyPatch, *lags_ms: int, after_each_look: Look | None = None) -> int:
    """For how long a batch waits where owners are folding records of these ages, 0 for none; at most 1,000 allowed."""
    owners: list[Any] = [SimpleNamespace(folding_since_us=to_us(NOW) - 1_000 * lag if lag else 0) for lag in lags_ms]
    held: list[float] = []

    async def sleep(seconds: float) -> None:
        held.append(seconds)
        if after_each_look is not None:
            after_each_look(owners)

    monkeypatch.setattr("penstock.app.pressure.asyncio.sleep", sleep)
    of_process: Any = FoldPressure(owners, SimpleNamespace(now=lambda: NOW), lag_ms_max=1_000)
    asyncio.run(of_process.room())
    return round(1_000 * sum(held))


def test_a_fold_that_keeps_up_holds_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    assert held_ms(monkeypatch, 0) == held_ms(monkeypatch, 999, 0, 1_000) == 0


def test_the_further_it_is_behind_the_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    assert held_ms(monkeypatch, 0, 1_100) == 20
    assert held_ms(monkeypatch, 1_500, 1_100) == 100


def test_never_for_long_for_the_log_has_room(monkeypatch: pytest.MonkeyPatch) -> None:
    assert held_ms(monkeypatch, 3_600_000) == pressure.DELAY_MS_MAX


def test_no_longer_than_it_is_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    def catches_up(owners: Any) -> None:
        owners[0].folding_since_us += 500_000

    assert held_ms(monkeypatch, 3_000, after_each_look=catches_up) == 20
