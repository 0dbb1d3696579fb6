"""The test clock: the time that contracts see, moved forward from outside, so that an invoice can be final today.

Its offset survives a restart. It never goes back: what was finalized stays finalized.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from threading import Lock

import msgspec

from penstock.contracts.definitions import Definitions
from penstock.kernel.ports.catalog import Catalog
from penstock.kernel.ports.clock import Clock
from penstock.kernel.problems import BadRequest

# There is one test clock for all tenants.
_TENANT, _ID = "penstock", "test-clock"


class Setting(msgspec.Struct, frozen=True):
    """How far the clock is ahead, in microseconds, and when (by the base clock) it was last moved."""

    offset_us: int
    moved_at: datetime


class TestClock:
    """A `Clock` ahead of its base."""

    __test__ = False  # pytest would take it for a test

    def __init__(self, base: Clock, catalog: Catalog) -> None:
        self._base = base
        self._catalog = catalog
        self._settings = Definitions(catalog, "test_clock", Setting)
        self._lock = Lock()
        stored = self._settings.get(_TENANT, _ID)
        self._setting = Setting(0, base.now()) if stored is None else stored.value

    def now(self) -> datetime:
        return self._base.now() + timedelta(microseconds=self._setting.offset_us)

    def advance(self, to: datetime) -> None:
        """Let it be `to` now. Raise `BadRequest` for an instant that has passed."""
        with self._lock:
            real = self._base.now()
            now = real + timedelta(microseconds=self._setting.offset_us)
            if to < now:
                raise BadRequest(f"the test clock only moves forward; it is {now.isoformat()}", field="to")
            setting = Setting((to - real) // timedelta(microseconds=1), real)
            stored = self._settings.get(_TENANT, _ID)
            new = self._settings.new(_TENANT, _ID, setting) if stored is None else stored.changed(setting)
            self._catalog.put([new], real)
            self._setting = setting

    def on_log_clock(self, instant: datetime) -> datetime:
        """The instant on the log's clock by which every event that counts before `instant` here is in the log.

        The log does not know this clock. Where the clock jumped over `instant`, that is the jump: what was accepted
        before it must be folded. Where it ran through `instant` after a jump, it is `instant` less the offset.
        """
        setting = self._setting
        return min(instant, max(setting.moved_at, instant - timedelta(microseconds=setting.offset_us)))
