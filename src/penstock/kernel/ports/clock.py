"""Where the time comes from."""

from __future__ import annotations

from datetime import datetime
from typing import Protocol


class Clock(Protocol):
    """Where the time comes from. Only shells ask; pure functions are told."""

    def now(self) -> datetime:
        """The present instant, aware UTC."""
        ...
