"""The system's clock, for shells; pure functions are told the time."""

from __future__ import annotations

from datetime import UTC, datetime


class SystemClock:
    """`Clock` by the operating system."""

    def now(self) -> datetime:
        return datetime.now(UTC)
