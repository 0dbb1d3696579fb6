"""How long to wait before the next try: exponential, with jitter, and never less than the server asks."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import msgspec

# A server, or a proxy with a wrong clock, may ask for less patience than a day.
RETRY_AFTER_S_MAX = 3_600


class Backoff(msgspec.Struct, frozen=True):
    """The wait doubles from `first_ms` up to `longest_ms`; each is drawn from its upper half."""

    first_ms: int = 100
    longest_ms: int = 30_000

    def wait_s(self, failures: int, retry_after_s: float | None, chance: Callable[[], float]) -> float:
        """Seconds to wait after `failures` in a row, at least 1. `chance` gives a number in [0, 1)."""
        whole_ms = min(self.longest_ms, self.first_ms << min(failures - 1, 30))
        drawn_s = whole_ms * (1 + chance()) / 2_000
        if retry_after_s is None:
            return drawn_s
        # On top of what was asked, so that clients told to wait for the same time do not come back together.
        return retry_after_s + self.first_ms * chance() / 1_000


def parse_retry_after(text: str | None, now: datetime) -> float | None:
    """The seconds of a Retry-After header, given as such or as a date; None where there is none or it is no time."""
    if text is None:
        return None
    if (digits := text.strip()).isdecimal():
        return min(int(digits), RETRY_AFTER_S_MAX) if len(digits) < 10 else RETRY_AFTER_S_MAX
    try:
        until = parsedate_to_datetime(text)
    except ValueError:
        return None
    asked_s = ((until if until.tzinfo else until.replace(tzinfo=UTC)) - now).total_seconds()
    return min(max(asked_s, 0), RETRY_AFTER_S_MAX)
